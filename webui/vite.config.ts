import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

/** The page is served under /studio/ by the API's server; `npm run dev` forwards the API to a running one. */
export default defineConfig({
  base: "/studio/",
  plugins: [svelte()],
  build: {
    outDir: "../src/kinema/webui/static",
    emptyOutDir: true,
    target: "es2022",
    // The content security policy allows no data: fonts or scripts; small files stay files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { "/v1": "http://127.0.0.1:8000", "/healthz": "http://127.0.0.1:8000" } },
});
