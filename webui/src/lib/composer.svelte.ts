/** What the prompt bar holds: prompt, mode, settings and images, and the requests they stand for. */

import { api, ApiError, type Submission } from "./api";
import { aspectOf, modelSeconds, possibleSeconds, sizeForAspect } from "./format";
import { library } from "./library.svelte";
import { session } from "./session.svelte";
import { t } from "./texts";
import { toasts } from "./toasts.svelte";
import type { Estimate, ModelInfo, RequestSettings, Video } from "./types";

export type Mode =
  | { kind: "create" }
  | { kind: "remix"; video: Video }
  | { kind: "extend"; video: Video; backward: boolean }
  | { kind: "edit"; video: Video }
  | { kind: "connect"; first: Video; second: Video };

export type Aspect = "model" | "landscape" | "square" | "portrait";
export type Quality = "fast" | "standard" | "best";
export type Change = "little" | "some" | "much";

const RATIOS: Record<Exclude<Aspect, "model">, number> = { landscape: 16 / 9, square: 1, portrait: 9 / 16 };
const STEP_FACTORS: Record<Quality, number> = { fast: 0.5, standard: 1, best: 2 };
const STRENGTHS: Record<Change, number> = { little: 0.4, some: 0.6, much: 0.8 };
/** Noise of an edit that only upscales: enough for detail, too little to change the scene. */
const UPSCALE_STRENGTH = 0.1;
const LOOP_SECONDS = 1;
const MAX_SEED = 2 ** 31;
const DRAFT_NAME = "kinema-draft";
const ESTIMATE_DELAY_MS = 350;

export function randomSeed(): number {
  return Math.floor(Math.random() * MAX_SEED);
}

export function stepsOf(model: ModelInfo, quality: Quality): number {
  return Math.max(1, Math.round(model.num_inference_steps * STEP_FACTORS[quality]));
}

export function sizeOf(model: ModelInfo, aspect: Aspect): [number, number] {
  return aspect === "model" ? [model.width, model.height] : sizeForAspect(model, RATIOS[aspect]);
}

/** The aspects that differ from the model's own size. */
export function aspectsOf(model: ModelInfo): Aspect[] {
  const own = sizeOf(model, "model").join("x");
  const others = (Object.keys(RATIOS) as (keyof typeof RATIOS)[]).filter(
    (aspect) => sizeOf(model, aspect).join("x") !== own,
  );
  return ["model", ...others];
}

/** The name of an aspect; the model's own has the name of its shape. */
export function aspectName(model: ModelInfo, aspect: Aspect): string {
  if (aspect !== "model") return t.settings.aspects[aspect];
  const ratio = model.width / model.height;
  return t.settings.aspects[ratio > 1.05 ? "landscape" : ratio < 0.95 ? "portrait" : "square"];
}

class Composer {
  prompt = $state("");
  mode = $state.raw<Mode>({ kind: "create" });
  aspect = $state<Aspect>("model");
  /** Length in seconds; null: the model's default. */
  seconds = $state<number | null>(null);
  /** null: a random one for each video. */
  seed = $state<number | null>(null);
  quality = $state<Quality>("standard");
  change = $state<Change>("some");
  loop = $state(false);
  count = $state(1);
  upscale = $state(1);
  negative = $state("");
  guidance = $state<number | null>(null);
  lora = $state<string | null>(null);
  loraScale = $state(1);
  first = $state<string | null>(null);
  last = $state<string | null>(null);
  /** White where an edit may change the video, as a PNG data URL. */
  mask = $state<string | null>(null);
  estimate = $state.raw<Estimate | null>(null);
  /** The text field, which the actions on videos focus. */
  field: HTMLTextAreaElement | null = null;
  private asking = false;
  private question: Record<string, unknown> | null = null;
  private waitsForModel = false;

  constructor() {
    this.prompt = sessionStorage.getItem(DRAFT_NAME) ?? "";
  }

  keepDraft(): void {
    sessionStorage.setItem(DRAFT_NAME, this.prompt);
  }

  enter(mode: Mode, prompt?: string): void {
    this.mode = mode;
    this.mask = null;
    this.count = 1;
    if (prompt !== undefined) this.prompt = prompt;
    this.focus();
  }

  leave(): void {
    this.mode = { kind: "create" };
    this.mask = null;
  }

  focus(): void {
    setTimeout(() => {
      this.field?.focus();
      this.field?.select();
    });
  }

  /** Length of the video, or of the new part. */
  get wantedSeconds(): number {
    const model = session.model;
    return this.seconds ?? (model ? modelSeconds(model) : 4);
  }

  private options(model: ModelInfo, seed: number): Record<string, unknown> {
    return {
      seed,
      ...(this.quality === "standard" ? {} : { num_inference_steps: stepsOf(model, this.quality) }),
      ...(this.guidance === null ? {} : { guidance_scale: this.guidance }),
      ...(this.negative.trim() ? { negative_prompt: this.negative.trim() } : {}),
      ...(this.upscale > 1 ? { upscale: this.upscale } : {}),
      ...(this.lora ? { loras: [{ name: this.lora, strength: this.loraScale }] } : {}),
    };
  }

  /** Fields of a new video without its prompt, also for a storyboard. */
  createBody(model: ModelInfo, seed: number): Record<string, unknown> {
    return {
      model: model.name,
      size: sizeOf(model, this.aspect).join("x"),
      seconds: possibleSeconds(model, this.wantedSeconds),
      ...this.options(model, seed),
      ...(this.loop ? { loop: true } : {}),
      ...(this.first ? { input_reference: { image_url: this.first } } : {}),
      ...(this.last ? { last_image: { image_url: this.last } } : {}),
    };
  }

  private build(model: ModelInfo, seed: number): Submission {
    const prompt = this.prompt.trim();
    const { mode } = this;
    const options = this.options(model, seed);
    const seconds = possibleSeconds(model, this.wantedSeconds);
    switch (mode.kind) {
      case "create":
        return { path: "", body: { prompt, ...this.createBody(model, seed) } };
      case "remix":
        return {
          path: `/${mode.video.id}/remix`,
          body: { prompt, ...options, ...(model.tasks.includes("edit") ? { strength: STRENGTHS[this.change] } : {}) },
        };
      case "extend":
        return {
          path: "/extensions",
          body: { prompt, video: { id: mode.video.id }, seconds, backward: mode.backward, ...options },
        };
      case "edit":
        return {
          path: "/edits",
          body: {
            prompt,
            video: { id: mode.video.id },
            strength: STRENGTHS[this.change],
            ...(this.mask ? { mask: { image_url: this.mask } } : {}),
            ...options,
          },
        };
      case "connect":
        return {
          path: "/interpolations",
          body: { prompt, video: { id: mode.first.id }, next_video: { id: mode.second.id }, seconds, ...options },
        };
    }
  }

  /** Sends what the bar holds; several videos differ in their seeds. False if something is missing. */
  submit(): boolean {
    const model = session.model;
    if (!this.prompt.trim()) {
      toasts.error(t.errors.emptyPrompt);
      this.focus();
      return false;
    }
    if (!model) {
      this.submitOnceReady();
      return false;
    }
    const source = this.mode.kind === "create" ? null : this.mode.kind === "connect" ? this.mode.first : this.mode.video;
    const [width, height] = sizeOf(model, this.aspect);
    const aspect = source ? aspectOf(source) : width / height;
    for (let index = 0; index < this.count; index++) {
      const seed = this.seed === null ? randomSeed() : this.seed + index;
      this.send(this.build(model, seed), this.prompt.trim(), aspect);
    }
    this.leave();
    this.field?.select();
    return true;
  }

  /** The model is not known before the server answers; what the bar holds then is sent. */
  private submitOnceReady(): void {
    if (this.waitsForModel) return;
    this.waitsForModel = true;
    void session.ready().then(() => {
      this.waitsForModel = false;
      this.submit();
    });
  }

  private send(submission: Submission, prompt: string, aspect: number): Promise<Video | null> {
    return library.submit(submission, prompt, aspect).catch(() => null);
  }

  /** The settings of a video; of servers that do not tell them, what its object says. */
  settingsOf(video: Video): RequestSettings {
    const { width, height, seed, settings } = video.kinema;
    return settings ?? { seed, seconds: Number(video.seconds), ...(width && height ? { size: [width, height] } : {}) };
  }

  /** A new video like another one: the same request with changes. */
  private async again(video: Video, changes: Record<string, unknown>): Promise<Submission | null> {
    const model = session.model;
    if (!model || video.kinema.task !== "generate") return null;
    const { size, storyboard, ...settings } = this.settingsOf(await library.withSettings(video));
    const known = ["negative_prompt", "fps", "num_inference_steps", "guidance_scale", "flow_shift", "seed", "loop", "upscale"];
    return {
      path: "",
      body: {
        prompt: video.prompt,
        model: model.name,
        size: size ? size.join("x") : video.size,
        seconds: Number(video.seconds),
        ...Object.fromEntries(known.filter((name) => settings[name] != null).map((name) => [name, settings[name]])),
        ...(storyboard ? { storyboard } : {}),
        ...changes,
      },
    };
  }

  canRepeat(video: Video): boolean {
    return video.kinema.task === "generate";
  }

  /** Makes the video again so that its end leads into its beginning. */
  async makeLoop(video: Video): Promise<void> {
    const prompt = video.prompt ?? "";
    const submission = (await this.again(video, { loop: true })) ?? {
      path: "/extensions",
      // The least that a loop needs: a longer new part would be as free as an extension.
      body: { video: { id: video.id }, prompt, seconds: LOOP_SECONDS, loop: true },
    };
    await this.send(submission, prompt, aspectOf(video));
  }

  async makeUpscaled(video: Video, factor: number): Promise<void> {
    const body = { prompt: video.prompt, video: { id: video.id }, strength: UPSCALE_STRENGTH, upscale: factor };
    await this.send({ path: "/edits", body }, video.prompt ?? "", aspectOf(video));
  }

  /** Makes variations with other seeds; the ids of the new videos. */
  async makeVariations(video: Video, count: number): Promise<string[]> {
    const made = Array.from({ length: count }, async () => {
      const submission = (await this.again(video, { seed: randomSeed() })) ?? {
        path: `/${video.id}/remix`,
        body: { prompt: video.prompt, seed: randomSeed() },
      };
      return this.send(submission, video.prompt ?? "", aspectOf(video));
    });
    return (await Promise.all(made)).flatMap((created) => (created ? [created.id] : []));
  }

  async retry(video: Video): Promise<void> {
    const submission = await this.again(video, {});
    if (submission) await this.send(submission, video.prompt ?? "", aspectOf(video));
    else this.enter({ kind: "create" }, video.prompt ?? "");
  }

  async copySettings(video: Video): Promise<void> {
    const model = session.model;
    if (!model) return;
    const settings = this.settingsOf(await library.withSettings(video));
    this.mode = { kind: "create" };
    this.prompt = video.prompt ?? "";
    const size = settings.size?.join("x");
    this.aspect = aspectsOf(model).find((aspect) => sizeOf(model, aspect).join("x") === size) ?? "model";
    this.seconds = Number(video.seconds);
    this.seed = settings.seed ?? video.kinema.seed;
    this.loop = settings.loop ?? false;
    this.upscale = settings.upscale ?? 1;
    this.negative = settings.negative_prompt ?? "";
    const guidance = settings.guidance_scale;
    this.guidance = (Array.isArray(guidance) ? guidance[0] : guidance) ?? null;
    const steps = settings.num_inference_steps ?? model.num_inference_steps;
    const qualities = Object.keys(STEP_FACTORS) as Quality[];
    this.quality = qualities.find((quality) => stepsOf(model, quality) === steps) ?? "standard";
    toasts.show(t.actions.copied);
    this.focus();
  }

  /** Asks for time and memory of a new video, one question at a time; of those that wait, the last one. */
  estimateSoon({ input_reference: _first, last_image: _last, ...body }: Record<string, unknown>): void {
    this.question = body;
    if (!this.asking) void this.ask();
  }

  private async ask(): Promise<void> {
    this.asking = true;
    while (this.question) {
      await new Promise((resolve) => setTimeout(resolve, ESTIMATE_DELAY_MS));
      await session.ready();
      const body = this.question;
      this.question = null;
      try {
        this.estimate = await api.estimate(body);
      } catch (error) {
        // A test card has no cost; a wrong value is told when the video is made.
        if (error instanceof ApiError) this.estimate = null;
      }
    }
    this.asking = false;
  }
}

export const composer = new Composer();
