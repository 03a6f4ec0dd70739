/** The user's videos: loaded, kept up to date by events, searched, changed and deleted. */

import { SvelteMap } from "svelte/reactivity";
import { api, ApiError, events, type ServerEvent, type Submission } from "./api";
import { session } from "./session.svelte";
import { t } from "./texts";
import { toasts } from "./toasts.svelte";
import type { PreviewEvent, ProgressEvent, Video } from "./types";

const FIRST_PAGE = 60;
const PAGE = 100;
const POLL_MS = 700;
const IDLE_POLL_MS = 8000;
const MAX_STREAMS = 2;

/** A request that the server has not confirmed yet. */
export interface Pending {
  id: string;
  submission: Submission;
  prompt: string;
  aspect: number;
  createdAt: number;
  state: "sending" | "offline" | "full" | "key";
}

/** What a tile of the wall shows. */
export type Entry = { kind: "video"; video: Video } | { kind: "pending"; pending: Pending };

interface Progress {
  preview?: string;
  /** First progress that was seen, and when: the speed is measured from there. */
  startedAt: number;
  startedWith: number;
}

export type Collection = { kind: "all" } | { kind: "favorites" } | { kind: "folder"; name: string };

export const isUnfinished = (video: Video) => video.status === "queued" || video.status === "in_progress";

class Library {
  readonly videos = new SvelteMap<string, Video>();
  readonly progress = new SvelteMap<string, Progress>();
  pending = $state.raw<Pending[]>([]);
  loaded = $state(false);
  query = $state("");
  collection = $state.raw<Collection>({ kind: "all" });
  /** Folders that were created here and hold nothing yet. */
  private newFolders = $state.raw<string[]>([]);
  /** The video that is being dragged. */
  dragging = $state<string | null>(null);
  /** The first of two videos to connect, while the second is chosen. */
  picking = $state.raw<Video | null>(null);
  /** Said to screen readers. */
  announcement = $state("");
  /** Seconds that the last videos took, to estimate the queue. */
  private durations: number[] = [];
  /** Videos deleted here, the last one at the end, each with the answer of the server. */
  private removed = new Map<string, Promise<boolean>>();
  private following = false;
  private streams = new Map<string, AbortController>();
  private wake: () => void = () => undefined;

  sorted = $derived([...this.videos.values()].sort((a, b) => (a.id < b.id ? 1 : -1)));
  folders = $derived(
    [...new Set([...this.newFolders, ...this.sorted.map((video) => video.kinema.folder ?? "")])]
      .filter(Boolean)
      .sort((a, b) => a.localeCompare(b)),
  );
  unfinished = $derived(this.sorted.filter(isUnfinished).reverse());

  entries = $derived.by<Entry[]>(() => {
    const words = this.query.toLowerCase().split(/\s+/).filter(Boolean);
    const { collection } = this;
    const videos = this.sorted.filter((video) => {
      if (collection.kind === "favorites" && !video.kinema.favorite) return false;
      if (collection.kind === "folder" && video.kinema.folder !== collection.name) return false;
      const prompt = (video.prompt ?? "").toLowerCase();
      return words.every((word) => prompt.includes(word));
    });
    const entries: Entry[] = videos.map((video) => ({ kind: "video", video }));
    if (words.length || collection.kind !== "all") return entries;
    return [...this.pending.map((pending): Entry => ({ kind: "pending", pending })).reverse(), ...entries];
  });

  /** Loads all videos, the newest first; the wall shows each page as it comes. */
  async load(): Promise<void> {
    const seen = new Set<string>();
    let after: string | null = null;
    try {
      do {
        const page = await api.list(after, after === null ? FIRST_PAGE : PAGE);
        for (const video of page.data) {
          seen.add(video.id);
          this.put(video);
        }
        this.loaded = true;
        after = page.has_more ? page.last_id : null;
      } while (after);
    } catch (error) {
      if (!session.note(error)) toasts.error((error as Error).message);
      return;
    }
    const newest = [...seen].reduce((a, b) => (a > b ? a : b), "");
    for (const id of this.videos.keys()) if (!seen.has(id) && id < newest) this.videos.delete(id);
    if (!this.following) void this.follow();
  }

  put(video: Video): void {
    if (this.removed.has(video.id)) return;
    const before = this.videos.get(video.id);
    if (!video.kinema.settings && before?.kinema.settings) {
      video = { ...video, kinema: { ...video.kinema, settings: before.kinema.settings } };
    }
    if (before && JSON.stringify(before) === JSON.stringify(video)) return;
    this.videos.set(video.id, video);
    if (video.status === "in_progress" && !this.progress.has(video.id)) {
      this.progress.set(video.id, { startedAt: performance.now(), startedWith: video.progress });
    }
    if (before && isUnfinished(before) && !isUnfinished(video)) this.finished(before, video);
  }

  private finished(before: Video, video: Video): void {
    const progress = this.progress.get(video.id);
    const prompt = video.prompt ?? "";
    if (progress && before.status === "in_progress" && progress.startedWith < 30 && video.status === "completed") {
      this.durations = [...this.durations.slice(-4), (performance.now() - progress.startedAt) / 1000];
    }
    this.progress.delete(video.id);
    this.announcement = video.status === "completed" ? t.status.finished(prompt) : t.status.failedNote(prompt);
    if (video.status === "failed" && video.error && video.error.code !== "cancelled") {
      toasts.error(video.error.message);
    }
  }

  /** Sends a request; it is kept and sent again while the server is away. */
  async submit(submission: Submission, prompt: string, aspect: number): Promise<Video | null> {
    const pending: Pending = {
      id: `pending-${crypto.randomUUID()}`,
      submission,
      prompt,
      aspect,
      createdAt: Date.now(),
      state: "sending",
    };
    const update = (state: Pending["state"]) => {
      this.pending = this.pending.map((item) => (item.id === pending.id ? { ...item, state } : item));
    };
    this.pending = [...this.pending, pending];
    this.announcement = t.status.queued(prompt);
    try {
      while (this.pending.some((item) => item.id === pending.id)) {
        try {
          const video = await api.submit(submission, pending.id);
          this.put(video);
          this.wake();
          return video;
        } catch (error) {
          if (error instanceof ApiError && error.code === "queue_full") {
            update("full");
            await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs ?? 2000));
          } else if (session.note(error)) {
            update(session.state === "key" ? "key" : "offline");
            await session.ready();
          } else {
            toasts.error((error as Error).message);
            throw error;
          }
        }
      }
      return null;
    } finally {
      this.withdraw(pending.id);
    }
  }

  withdraw(pendingId: string): void {
    this.pending = this.pending.filter((item) => item.id !== pendingId);
  }

  async cancel(id: string): Promise<void> {
    await this.attempt(async () => this.put(await api.cancel(id)));
  }

  /** Deletes at once; the toast and `undo` take it back, also before the server has answered. */
  remove(id: string): void {
    const video = this.videos.get(id);
    if (!video) return;
    this.videos.delete(id);
    this.removed.set(id, this.removeOnServer(video));
    toasts.show(t.actions.removed, { action: { label: t.actions.undo, run: () => void this.restore(id) } });
    this.announcement = t.actions.removed;
  }

  /** False if the video is still there. */
  private async removeOnServer(video: Video): Promise<boolean> {
    try {
      await session.persist(() => api.remove(video.id));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return true;
      this.removed.delete(video.id);
      this.put(video);
      toasts.error((error as Error).message);
      return false;
    }
    return true;
  }

  /** Restores the video that was deleted last; false if none was. */
  undo(): boolean {
    const id = [...this.removed.keys()].at(-1);
    if (id !== undefined) void this.restore(id);
    return id !== undefined;
  }

  private async restore(id: string): Promise<void> {
    const removal = this.removed.get(id);
    if (!removal) return;
    this.removed.delete(id);
    toasts.dismissText(t.actions.removed);
    try {
      if (!(await removal)) return;
      this.put(await session.persist(() => api.restore(id)));
      this.announcement = t.actions.restored;
    } catch {
      toasts.error(t.errors.cantUndo);
    }
  }

  async update(id: string, changes: { favorite?: boolean; folder?: string | null }): Promise<void> {
    const video = this.videos.get(id);
    if (!video) return;
    this.videos.set(id, { ...video, kinema: { ...video.kinema, ...changes } });
    try {
      this.put(await session.persist(() => api.update(id, changes)));
    } catch (error) {
      this.videos.set(id, video);
      toasts.error((error as Error).message);
    }
  }

  /** The video with its settings. */
  async withSettings(video: Video): Promise<Video> {
    if (video.kinema.settings) return video;
    const complete = await session.persist(() => api.retrieve(video.id));
    this.put(complete);
    return complete;
  }

  addFolder(name: string): void {
    this.newFolders = [...this.newFolders, name];
  }

  private async attempt(call: () => Promise<void>): Promise<void> {
    try {
      await call();
    } catch (error) {
      if (!session.note(error)) toasts.error((error as Error).message);
    }
  }

  /** Place in the queue among the user's videos: 1 is next. What the server said may be out of date. */
  place(video: Video): number {
    return this.unfinished.filter((other) => other.status === "queued" && other.id <= video.id).length;
  }

  /** Seconds until a video is finished; null where nothing is known yet. */
  timeLeft(video: Video, now: number): number | null {
    const mean = this.durations.length ? this.durations.reduce((a, b) => a + b) / this.durations.length : null;
    if (video.status === "in_progress") return this.runningTimeLeft(video, now) ?? mean;
    if (mean === null) return video.kinema.eta_seconds;
    const running = this.unfinished.find((other) => other.status === "in_progress");
    const first = running ? (this.runningTimeLeft(running, now) ?? mean) : 0;
    return first + mean * this.place(video);
  }

  private runningTimeLeft(video: Video, now: number): number | null {
    const progress = this.progress.get(video.id);
    if (!progress || video.progress - progress.startedWith < 3) return null;
    const speed = (video.progress - progress.startedWith) / (now - progress.startedAt);
    return (100 - video.progress) / speed / 1000;
  }

  /** Follows the server for as long as the page is open. */
  private async follow(): Promise<void> {
    this.following = true;
    let streamOfAll = true;
    while (true) {
      await session.ready();
      if (streamOfAll) {
        try {
          for await (const event of events("/v1/events", new AbortController().signal)) this.apply(event);
          // The server ended the stream: it restarts, or closes old connections.
          await this.load();
          continue;
        } catch (error) {
          if (error instanceof ApiError && (error.status === 404 || error.status === 405)) streamOfAll = false;
          else if (session.note(error)) continue;
        }
      }
      await this.poll();
      this.openStreams();
      const wait = this.unfinished.length ? POLL_MS : IDLE_POLL_MS;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Reads the newest videos and those that are not finished. */
  private async poll(): Promise<void> {
    try {
      const page = await api.list(null, Math.min(PAGE, 20 + this.unfinished.length));
      page.data.forEach((video) => this.put(video));
      const listed = new Set(page.data.map((video) => video.id));
      for (const video of this.unfinished) {
        if (listed.has(video.id)) continue;
        const current = await api.retrieve(video.id).catch((error: unknown) => {
          if (error instanceof ApiError && error.status === 404) return null;
          throw error;
        });
        if (current) this.put(current);
        else this.videos.delete(video.id);
      }
    } catch (error) {
      session.note(error);
    }
  }

  /** Follows the videos that are being made, on a server without a stream of all. */
  private openStreams(): void {
    for (const video of this.unfinished) {
      if (video.status === "in_progress" && !this.streams.has(video.id) && this.streams.size < MAX_STREAMS) {
        void this.stream(video.id);
      }
    }
  }

  private async stream(id: string): Promise<void> {
    const controller = new AbortController();
    this.streams.set(id, controller);
    try {
      for await (const event of events(`/v1/videos/${id}/events`, controller.signal)) this.apply(event);
    } catch {
      // The list, which is read again and again, says what has happened.
    } finally {
      this.streams.delete(id);
      this.wake();
    }
  }

  private apply({ name, data }: ServerEvent): void {
    switch (name) {
      case "ready":
        // What has changed between the list and the stream.
        void this.poll();
        break;
      case "progress": {
        const event = data as ProgressEvent;
        const video = this.videos.get(event.id);
        // The final event has the whole object.
        if (!video || !isUnfinished(video) || event.status === "completed" || event.status === "failed") return;
        const { status, progress, step, total_steps, stage } = event;
        this.put({ ...video, status, progress, kinema: { ...video.kinema, step, total_steps, stage } });
        break;
      }
      case "preview": {
        const event = data as PreviewEvent;
        const progress = this.progress.get(event.id) ?? { startedAt: performance.now(), startedWith: 0 };
        this.progress.set(event.id, { ...progress, preview: event.image });
        break;
      }
      case "created":
      case "updated":
      case "completed":
      case "failed":
        this.put(data as Video);
        break;
      case "deleted":
        this.videos.delete((data as { id: string }).id);
        break;
    }
  }
}

export const library = new Library();
