/** A live video: its state by server-sent events, its frames in step with the clock, and the steps back. */

import { api, ApiError, events } from "./api";
import { library } from "./library.svelte";
import { router } from "./route.svelte";
import { session } from "./session.svelte";
import { t } from "./texts";
import { toasts } from "./toasts.svelte";
import type { LiveChange, LiveFrames, LiveVideo, Transition } from "./types";

/** Seconds of frames that are kept before the first is shown: the network is not even. */
const BUFFER_S = 0.12;
/** Seconds of frames above which the oldest are left out: what was typed must be seen soon. */
const MAX_BEHIND_S = 0.75;
const RETRY_MS = 800;

export interface Place {
  branch: number;
  frame: number;
}

interface Waiting extends Place {
  image: Promise<ImageBitmap>;
}

class Live {
  video = $state.raw<LiveVideo | null>(null);
  /** The frame on the screen. */
  shown = $state.raw<Place | null>(null);
  /** While the person looks back: the frame they look at. The live video stands still meanwhile. */
  looking = $state.raw<Place | null>(null);
  busy = $state(false);
  prompt = $state("");
  transition = $state<Transition>("cut");
  private queue: Waiting[] = [];
  private due = 0;
  private follower: AbortController | null = null;

  get playing(): boolean {
    return this.video?.status === "playing";
  }

  /** Number of frames of a branch, as far as it is known. */
  length(branch: number): number {
    const { video } = this;
    if (!video) return 0;
    const known = branch === video.branch ? video.frames : (video.branches.find((one) => one.branch === branch)?.frames ?? 0);
    return this.shown?.branch === branch ? Math.max(known, this.shown.frame + 1) : known;
  }

  /** Takes up the live video that runs already, if there is one. */
  async resume(): Promise<void> {
    await session.ready();
    await this.attempt(async () => {
      const running = (await api.live.list()).data[0];
      if (running) this.take(running);
      else if (this.video?.status !== "ended") this.video = null;
    });
  }

  async start(prompt: string): Promise<void> {
    this.busy = true;
    await this.attempt(async () => {
      try {
        this.take(await api.live.create({ prompt }));
      } catch (error) {
        if (!(error instanceof ApiError && error.code === "live_exists")) throw error;
        await this.resume();
        await this.change({ prompt, transition: "cut" });
      }
    });
    this.busy = false;
  }

  /** Sends what the field holds: a new video, or the next prompt; from where the person looks, if they look back. */
  async submit(): Promise<void> {
    const prompt = this.prompt.trim();
    if (!prompt) {
      toasts.error(t.errors.emptyPrompt);
      return;
    }
    if (!this.video || this.video.status === "ended") await this.start(prompt);
    else await this.change({ prompt, transition: this.transition, paused: false, ...this.place() });
  }

  async togglePause(): Promise<void> {
    if (!this.video) return;
    await this.change(this.playing ? { paused: true } : { paused: false, ...this.place() });
  }

  /** Looks at a frame; the live video stands still until it goes on from there or from its end. */
  look(place: Place): void {
    const last = this.length(place.branch) - 1;
    this.looking = { branch: place.branch, frame: Math.max(0, Math.min(last, place.frame)) };
    this.queue = [];
    if (this.playing) void this.change({ paused: true });
  }

  /** Goes on where the stream stopped. */
  async toEnd(): Promise<void> {
    this.looking = null;
    await this.change({ paused: false });
  }

  async save(): Promise<void> {
    const { video } = this;
    if (!video) return;
    const branch = this.looking?.branch ?? video.branch;
    await this.attempt(async () => {
      const saved = await api.live.save(video.id, { branch });
      library.put(saved);
      toasts.show(t.live.saved, { action: { label: t.actions.open, run: () => router.go(`/video/${saved.id}`) } });
    });
  }

  async end(): Promise<void> {
    const { video } = this;
    if (!video) return;
    await this.attempt(async () => this.take(await api.live.end(video.id)));
  }

  /** Stops following; the server pauses a video that nobody watches. */
  leave(): void {
    this.follower?.abort();
    this.follower = null;
    this.queue = [];
  }

  /** The frame that is due now, if one is. */
  next(now: number): Waiting | null {
    const fps = this.video?.fps ?? 8;
    const first = this.queue[0];
    if (!first || now < this.due || this.looking) return null;
    this.queue.shift();
    const late = now - this.due > 1000 / fps;
    this.due = (late ? now : this.due) + 1000 / fps;
    this.shown = { branch: first.branch, frame: first.frame };
    return first;
  }

  /** The branch and frame that a change continues from; nothing at the end of the stream. */
  private place(): { branch?: number; frame?: number } {
    const place = this.looking;
    if (!place) return {};
    // So many frames are kept: those up to the one that is looked at.
    return { branch: place.branch, frame: place.frame + 1 };
  }

  private async change(change: LiveChange): Promise<void> {
    const { video } = this;
    if (!video) return;
    await this.attempt(async () => {
      const changed = await api.live.change(video.id, change);
      if (change.frame !== undefined || change.paused === false) this.looking = null;
      if (change.frame !== undefined) this.queue = [];
      this.take(changed);
    });
  }

  private take(video: LiveVideo): void {
    this.video = video;
    if (video.status === "ended") {
      if (video.error) toasts.error(video.error.message);
      this.leave();
    } else if (!this.follower) {
      void this.follow(video.id);
    }
  }

  private async follow(id: string): Promise<void> {
    const follower = new AbortController();
    this.follower = follower;
    while (!follower.signal.aborted) {
      try {
        for await (const { name, data } of events(`/v1/live/${id}/events`, follower.signal)) {
          if (name === "state") this.take(data as LiveVideo);
          else if (name === "frames") this.receive(data as LiveFrames);
        }
      } catch (error) {
        if (follower.signal.aborted) return;
        if (error instanceof ApiError && error.status === 404) {
          if (this.video) this.video = { ...this.video, status: "ended" };
          this.leave();
          return;
        }
        if (session.note(error)) await session.ready();
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  private receive({ branch, first, images }: LiveFrames): void {
    if (this.looking) return;
    const fps = this.video?.fps ?? 8;
    if (this.queue.length && this.queue[0]!.branch !== branch) this.queue = [];
    if (this.queue.length === 0) this.due = Math.max(this.due, performance.now() + BUFFER_S * 1000);
    this.queue.push(...images.map((image, index) => ({ branch, frame: first + index, image: decode(image) })));
    const excess = this.queue.length - Math.max(images.length, Math.ceil(MAX_BEHIND_S * fps));
    if (excess > 0) this.queue.splice(0, excess).forEach(({ image }) => void image.then((bitmap) => bitmap.close()));
  }

  private async attempt(call: () => Promise<void>): Promise<void> {
    try {
      await call();
    } catch (error) {
      if (!session.note(error)) toasts.error((error as Error).message);
    }
  }
}

function decode(image: string): Promise<ImageBitmap> {
  const bytes = Uint8Array.from(atob(image), (character) => character.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
}

export const live = new Live();
