/** Numbers and settings as text, and the shapes that a model can make. */

import { t } from "./texts";
import type { ModelInfo, Video } from "./types";

export function trimmed(value: number, digits = 1): string {
  return value.toFixed(digits).replace(/\.?0+$/, "");
}

export function duration(seconds: number): string {
  if (seconds < 120) return t.units.seconds(trimmed(Math.max(1, Math.round(seconds))));
  if (seconds < 5400) return t.units.minutes(String(Math.round(seconds / 60)));
  return t.units.hours(trimmed(seconds / 3600));
}

/** A time within a video, as players show it. */
export function clockTime(seconds: number): string {
  const whole = Math.floor(seconds + 1e-6);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function bytes(value: number): string {
  return t.units.gigabytes(trimmed(value / 2 ** 30));
}

export function ago(unix: number, now: number): string {
  const seconds = Math.max(0, now / 1000 - unix);
  if (seconds < 60) return t.time.now;
  if (seconds < 3600) return t.time.minutes(Math.floor(seconds / 60));
  if (seconds < 86400) return t.time.hours(Math.floor(seconds / 3600));
  return new Date(unix * 1000).toLocaleDateString();
}

/** Width and height with about as many pixels as the model's default size; the server computes the same. */
export function sizeForAspect(model: ModelInfo, ratio: number): [number, number] {
  const area = model.width * model.height;
  const side = (value: number) => Math.max(1, Math.round(value / model.size_multiple)) * model.size_multiple;
  return [side(Math.sqrt(area * ratio)), side(Math.sqrt(area / ratio))];
}

/** The length that the model makes for a wish: frames are a multiple of its stride, plus one. */
export function possibleSeconds(model: ModelInfo, seconds: number): number {
  const groups = Math.max(0, Math.round((seconds * model.fps - 1) / model.temporal_stride));
  return (groups * model.temporal_stride + 1) / model.fps;
}

export function modelSeconds(model: ModelInfo): number {
  return model.num_frames / model.fps;
}

export function aspectOf(video: Video): number {
  const { width, height } = video.kinema;
  if (width && height) return width / height;
  const [w, h] = video.size.split("x").map(Number);
  return w && h ? w / h : 1;
}
