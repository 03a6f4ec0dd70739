/** What a video was made from, and what was made from it. */

import { library } from "./library.svelte";
import type { Video } from "./types";

export interface Ancestor {
  id: string;
  /** null: the video is deleted. */
  video: Video | null;
  sources: Ancestor[];
}

const MAX_DEPTH = 12;

export function sourceIds(video: Video): string[] {
  const ids = (video.kinema.sources ?? []).map((source) => source.id);
  const remixed = video.remixed_from_video_id;
  return [...new Set(remixed ? [...ids, remixed] : ids)];
}

export function ancestors(id: string, depth = 0): Ancestor {
  const video = library.videos.get(id) ?? null;
  const ids = video && depth < MAX_DEPTH ? sourceIds(video) : [];
  return { id, video, sources: ids.map((source) => ancestors(source, depth + 1)) };
}

export function madeFrom(id: string): Video[] {
  return library.sorted.filter((video) => sourceIds(video).includes(id));
}

/** Videos of the same request with other seeds. */
export function siblings(video: Video): Video[] {
  const key = (other: Video) =>
    [other.prompt, other.kinema.task, other.seconds, other.kinema.width, other.kinema.height, sourceIds(other)].join("\n");
  return library.sorted.filter(
    (other) => other.id !== video.id && other.status === "completed" && key(other) === key(video) && other.kinema.seed !== video.kinema.seed,
  );
}
