/** Addresses of videos and images. */

export type Variant = "video" | "thumbnail" | "spritesheet";

export function contentPath(id: string, variant: Variant): string {
  return `/v1/videos/${id}/content${variant === "video" ? "" : `?variant=${variant}`}`;
}

/** Sets `src` of an image or video: `use:media={[id, variant]}`. */
export function media(node: HTMLImageElement | HTMLVideoElement, content: [string, Variant]) {
  const apply = ([id, variant]: [string, Variant]) => {
    const path = contentPath(id, variant);
    if (node.getAttribute("src") !== path) node.src = path;
  };
  apply(content);
  return {
    update: apply,
    destroy() {
      node.removeAttribute("src");
      // Without this the browser keeps the decoder of a video that is gone.
      if (node instanceof HTMLVideoElement) node.load();
    },
  };
}

export function download(id: string): void {
  const link = document.createElement("a");
  link.href = contentPath(id, "video");
  link.download = `${id}.mp4`;
  link.click();
}
