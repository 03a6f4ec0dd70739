/** The actions on a finished video, with their keys. */

import { composer } from "./composer.svelte";
import { library } from "./library.svelte";
import { download } from "./media";
import { router } from "./route.svelte";
import { session } from "./session.svelte";
import { t } from "./texts";
import type { Video } from "./types";

export const VARIATIONS = 4;

export type ActionName =
  | "favorite" | "remix" | "extend" | "extendBackward" | "loop" | "edit" | "connect" | "upscale"
  | "variations" | "copy" | "download" | "remove";

export interface Action {
  name: ActionName;
  key: string;
  label: (video: Video) => string;
  possible: (video: Video) => boolean;
  run: (video: Video) => unknown;
}

const can = (task: string) => session.model?.tasks.includes(task) ?? false;
const largestFactor = () => Math.min(2, Math.max(...(session.model?.upscale_factors ?? [1])));

function startConnecting(video: Video): void {
  library.picking = video;
  if (router.current.view !== "wall") router.go("/");
}

/** Ends the choice of the second video. */
export function connect(first: Video, second: Video): void {
  library.picking = null;
  composer.enter({ kind: "connect", first, second }, first.prompt ?? "");
}

async function makeVariations(video: Video): Promise<void> {
  const ids = await composer.makeVariations(video, VARIATIONS);
  if (ids.length) router.go(`/compare/${[video.id, ...ids].join(",")}`);
}

export const ACTIONS: Action[] = [
  {
    name: "favorite", key: "f",
    label: (video) => (video.kinema.favorite ? t.actions.unfavorite : t.actions.favorite),
    possible: () => true,
    run: (video) => library.update(video.id, { favorite: !video.kinema.favorite }),
  },
  {
    name: "remix", key: "r", label: () => t.actions.remix, possible: () => true,
    run: (video) => composer.enter({ kind: "remix", video }, video.prompt ?? ""),
  },
  {
    name: "extend", key: "e", label: () => t.actions.extend, possible: () => can("extend"),
    run: (video) => composer.enter({ kind: "extend", video, backward: false }, video.prompt ?? ""),
  },
  {
    name: "extendBackward", key: "E", label: () => t.actions.extendBackward, possible: () => can("extend"),
    run: (video) => composer.enter({ kind: "extend", video, backward: true }, video.prompt ?? ""),
  },
  {
    name: "loop", key: "l", label: () => t.actions.loop,
    possible: (video) => video.kinema.task === "generate" || can("extend"),
    run: (video) => composer.makeLoop(video),
  },
  {
    name: "edit", key: "m", label: () => t.actions.edit, possible: () => can("edit"),
    run: (video) => {
      composer.enter({ kind: "edit", video }, video.prompt ?? "");
      router.go(`/video/${video.id}`);
    },
  },
  {
    name: "connect", key: "c", label: () => t.actions.connect, possible: () => can("interpolate"),
    run: startConnecting,
  },
  {
    name: "upscale", key: "u", label: () => t.actions.upscale(largestFactor()),
    possible: (video) => can("edit") && largestFactor() > 1 && !!video.kinema.width,
    run: (video) => composer.makeUpscaled(video, largestFactor()),
  },
  {
    name: "variations", key: "v", label: () => t.actions.variations, possible: () => true,
    run: (video) => makeVariations(video),
  },
  {
    name: "copy", key: "s", label: () => t.actions.copy, possible: () => true,
    run: (video) => composer.copySettings(video),
  },
  {
    name: "download", key: "d", label: () => t.actions.download, possible: () => true,
    run: (video) => download(video.id),
  },
  {
    name: "remove", key: "Delete", label: () => t.actions.remove, possible: () => true,
    run: (video) => {
      if (router.current.view === "video") router.back();
      return library.remove(video.id);
    },
  },
];

export function action(name: ActionName): Action {
  return ACTIONS.find((item) => item.name === name)!;
}

/** Runs the action of a key; false if the key has none. */
export function runKey(event: KeyboardEvent, video: Video): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  const found = ACTIONS.find((item) => item.key === event.key);
  const allowed = found && (video.status === "completed" || found.name === "remove");
  if (!allowed || !found.possible(video)) return false;
  event.preventDefault();
  void found.run(video);
  return true;
}
