/** The storyboard: shots with lengths, transitions and images. */

import { composer, randomSeed } from "./composer.svelte";
import { modelSeconds, possibleSeconds } from "./format";
import { library } from "./library.svelte";
import { session } from "./session.svelte";
import { t } from "./texts";
import { toasts } from "./toasts.svelte";
import type { Transition } from "./types";

export interface Shot {
  id: number;
  prompt: string;
  seconds: number;
  transition: Transition;
  image: string | null;
}

export const MIN_SECONDS = 0.5;
const DEFAULT_COUNT = 4;
const STORE = "kinema-storyboard";

class Storyboard {
  shots = $state<Shot[]>([]);
  /** The video made last from these shots. */
  resultId = $state<string | null>(null);
  private next = 1;

  constructor() {
    try {
      const stored = JSON.parse(sessionStorage.getItem(STORE) ?? "[]") as Omit<Shot, "id">[];
      this.shots = stored.map((shot) => ({ ...shot, id: this.next++ }));
    } catch {
      sessionStorage.removeItem(STORE);
    }
  }

  private get defaultSeconds(): number {
    return session.model ? Math.max(MIN_SECONDS, Math.round(modelSeconds(session.model))) : 2;
  }

  private blank(prompt = ""): Shot {
    return { id: this.next++, prompt, seconds: this.defaultSeconds, transition: "cut", image: null };
  }

  /** The first cards of an empty storyboard. */
  begin(): void {
    if (this.shots.length === 0) this.shots = Array.from({ length: DEFAULT_COUNT }, () => this.blank());
  }

  fill(prompts: string[]): void {
    this.shots = prompts.map((prompt) => this.blank(prompt));
    this.resultId = null;
  }

  keep(): void {
    sessionStorage.setItem(STORE, JSON.stringify(this.shots.map(({ prompt, seconds, transition }) => ({ prompt, seconds, transition, image: null }))));
  }

  add(): Shot {
    const shot = this.blank();
    this.shots.push(shot);
    return shot;
  }

  remove(index: number): void {
    this.shots.splice(index, 1);
  }

  move(from: number, to: number): void {
    if (to < 0 || to >= this.shots.length) return;
    const [shot] = this.shots.splice(from, 1);
    this.shots.splice(to, 0, shot!);
  }

  /** Cards without a prompt are left out. */
  get written(): Shot[] {
    return this.shots.filter((shot) => shot.prompt.trim());
  }

  startOf(index: number): number {
    return this.shots.slice(0, index).reduce((sum, shot) => sum + shot.seconds, 0);
  }

  total(shots: Shot[] = this.shots): number {
    return shots.reduce((sum, shot) => sum + shot.seconds, 0);
  }

  body(shots: Shot[], seed: number): Record<string, unknown> | null {
    const model = session.model;
    if (!model) return null;
    let start = 0;
    const board = shots.map((shot, index) => {
      const entry = {
        prompt: shot.prompt.trim() || "a video",
        seconds: Math.round(start * 1000) / 1000,
        transition: index ? shot.transition : "cut",
        ...(shot.image ? { image: { image_url: shot.image } } : {}),
      };
      start += shot.seconds;
      return entry;
    });
    const { input_reference: _first, last_image: _last, ...settings } = composer.createBody(model, seed);
    return {
      ...settings,
      prompt: board.map((shot) => shot.prompt).join(" / "),
      seconds: possibleSeconds(model, this.total(shots)),
      storyboard: board,
    };
  }

  async make(): Promise<void> {
    const shots = this.written;
    if (shots.length < 2) {
      toasts.error(t.storyboard.empty);
      return;
    }
    const body = this.body(shots, composer.seed ?? randomSeed());
    if (!body || !session.model) return;
    const [width, height] = String(body.size).split("x").map(Number);
    const video = await library.submit({ path: "", body }, String(body.prompt), width! / height!).catch(() => null);
    if (video) this.resultId = video.id;
  }
}

export const storyboard = new Storyboard();
