/** The state of a video in a few words. */

import { clock } from "./clock.svelte";
import { duration } from "./format";
import { library, type Pending } from "./library.svelte";
import { t } from "./texts";
import type { Video } from "./types";

export function pendingText(pending: Pending): string {
  return { sending: t.status.sending, offline: t.status.offline, full: t.status.queueFull, key: t.status.needsKey }[
    pending.state
  ];
}

export function statusText(video: Video): string {
  if (video.status === "failed") return video.error?.code === "cancelled" ? t.status.cancelled : t.status.failed;
  if (video.status === "completed") return t.status.done;
  if (video.status === "queued") {
    const place = library.place(video);
    return place === 1 && !library.unfinished.some((other) => other.status === "in_progress") ? t.status.next : t.status.place(place);
  }
  switch (video.kinema.stage) {
    case "text":
    case "images":
    case "decode":
    case "write":
      return t.status[video.kinema.stage];
    default:
      return t.status.running(video.progress);
  }
}

export function timeLeftText(video: Video): string {
  const left = library.timeLeft(video, clock.tick);
  return left === null || left < 0 ? "" : t.status.left(duration(left));
}
