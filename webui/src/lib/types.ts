/** Objects of the HTTP API, as docs/guides/serving.md describes them. */

export type Status = "queued" | "in_progress" | "completed" | "failed";
export type Task = "generate" | "extend" | "interpolate" | "edit";

export interface Source {
  role: string;
  id: string;
}

/** Fields of a request that another one can take over; names as in the API. */
export interface RequestSettings {
  negative_prompt?: string;
  size?: [number, number];
  num_frames?: number;
  seconds?: number;
  fps?: number;
  num_inference_steps?: number;
  guidance_scale?: number | number[];
  flow_shift?: number;
  seed?: number;
  loop?: boolean;
  upscale?: number;
  storyboard?: { prompt: string; seconds?: number; transition?: Transition }[];
  [name: string]: unknown;
}

export interface KinemaInfo {
  width: number | null;
  height: number | null;
  task: Task;
  seed: number;
  step: number;
  total_steps: number;
  stage: string;
  fps: number | null;
  num_frames: number | null;
  favorite: boolean;
  folder: string | null;
  /** 1 is next. */
  queue_position: number | null;
  eta_seconds: number | null;
  sources: Source[];
  /** Only where one video is asked for; lists leave them out. */
  settings?: RequestSettings | null;
}

export interface Video {
  id: string;
  status: Status;
  progress: number;
  model: string;
  created_at: number;
  completed_at: number | null;
  prompt: string | null;
  remixed_from_video_id: string | null;
  size: string;
  seconds: string;
  error: { code: string; message: string } | null;
  warnings: string[];
  kinema: KinemaInfo;
}

export interface VideoPage {
  data: Video[];
  last_id: string | null;
  has_more: boolean;
}

export interface ModelInfo {
  name: string;
  width: number;
  height: number;
  size_multiple: number;
  num_frames: number;
  fps: number;
  temporal_stride: number;
  num_inference_steps: number;
  guidance_scale: number;
  supports_images: boolean;
  tasks: string[];
  upscale_factors: number[];
  loras: string[];
  max_seconds: number;
  max_frames: number;
  can_stream: boolean;
}

export interface Vocabulary {
  words: string[] | null;
  examples: string[];
}

export interface VideoCheck {
  scored: boolean;
  reason: string;
  prompt: string;
  objects: string[];
  verdicts: Record<string, boolean>;
  is_correct: boolean | null;
}

export interface Estimate {
  seconds: number;
  peak_memory: number;
  available_memory: number;
}

export type Transition = "cut" | "blend";

export interface LiveShot {
  seconds: number;
  prompt: string;
  transition: Transition;
}

export interface LiveBranch {
  branch: number;
  frames: number;
  shots: LiveShot[];
}

export interface LiveVideo {
  id: string;
  status: "waiting" | "playing" | "paused" | "ended";
  size: string;
  fps: number;
  seed: number;
  prompt: string;
  branch: number;
  frames: number;
  seconds: number;
  shots: LiveShot[];
  branches: LiveBranch[];
  speed: number;
  error: { code: string; message: string } | null;
  warnings: string[];
}

export interface LiveChange {
  prompt?: string;
  transition?: Transition;
  paused?: boolean;
  frame?: number;
  branch?: number;
}

/** Frames that follow each other, as base64 JPEG. */
export interface LiveFrames {
  branch: number;
  first: number;
  images: string[];
}

export interface ProgressEvent {
  id: string;
  status: Status;
  progress: number;
  stage: string;
  step: number;
  total_steps: number;
}

export interface PreviewEvent {
  id: string;
  step: number;
  image: string;
}
