// Writes the digest of the sources beside the built files; tests/webui/test_static.py computes it again.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const OUTPUT = "../src/kinema/webui/static";

function files(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = folder === "." ? entry.name : `${folder}/${entry.name}`;
    return entry.isDirectory() ? files(path) : [path];
  });
}

const top = ["index.html", "manifest.mjs", "package-lock.json", "package.json", "svelte.config.js", "tsconfig.json", "vite.config.ts"];
const digest = createHash("sha256");
for (const path of [...top, ...files("src"), ...files("public")].sort()) {
  digest.update(`${path}\n${createHash("sha256").update(readFileSync(path)).digest("hex")}\n`);
}
writeFileSync(join(OUTPUT, "manifest.json"), `${JSON.stringify({ sources: digest.digest("hex") })}\n`);
