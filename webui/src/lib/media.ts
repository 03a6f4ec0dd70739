/** Addresses of videos and images. With an API key they are fetched with it, and shown from memory. */

import { hasKey, request } from "./api";

export type Variant = "video" | "thumbnail" | "spritesheet";

const MAX_BLOBS = 400;
const blobs = new Map<string, Promise<string>>();

export function contentPath(id: string, variant: Variant): string {
  return `/v1/videos/${id}/content${variant === "video" ? "" : `?variant=${variant}`}`;
}

/** An address for `src`, at once where the server asks for no key. */
export function mediaUrl(id: string, variant: Variant): string | Promise<string> {
  const path = contentPath(id, variant);
  if (!hasKey()) return path;
  const known = blobs.get(path);
  if (known) {
    // The oldest are dropped first: used again means young.
    blobs.delete(path);
    blobs.set(path, known);
    return known;
  }
  const loading = request(path)
    .then((response) => response.blob())
    .then((blob) => URL.createObjectURL(blob));
  blobs.set(path, loading);
  loading.catch(() => blobs.delete(path));
  if (blobs.size > MAX_BLOBS) {
    const [oldest, url] = blobs.entries().next().value!;
    blobs.delete(oldest);
    url.then(URL.revokeObjectURL, () => undefined);
  }
  return loading;
}

/** Sets `src` of an image or video: `use:media={[id, variant]}`. */
export function media(node: HTMLImageElement | HTMLVideoElement, content: [string, Variant]) {
  let current = "";
  const apply = ([id, variant]: [string, Variant]) => {
    const path = contentPath(id, variant);
    if (path === current) return;
    current = path;
    const url = mediaUrl(id, variant);
    if (typeof url === "string") node.src = url;
    else url.then((loaded) => current === path && (node.src = loaded), () => undefined);
  };
  apply(content);
  return {
    update: apply,
    destroy() {
      current = "";
      node.removeAttribute("src");
      // Without this the browser keeps the decoder of a video that is gone.
      if (node instanceof HTMLVideoElement) node.load();
    },
  };
}

export async function download(id: string): Promise<void> {
  const link = document.createElement("a");
  link.href = await mediaUrl(id, "video");
  link.download = `${id}.mp4`;
  link.click();
}
