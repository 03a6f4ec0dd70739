"""Render simulator clips for training: shards on all cores, resumable at any time.

The clips of a shard follow from its number alone, so a missing shard can be rendered by any process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, TypeVar

from kinema.data import rng
from kinema.data.video_shards import shard_path, write_shard
from kinema.errors import UserError
from kinema.frames import FrameArray
from kinema.process_pool import process_pool, single_threaded
from kinema.simulator.annotations import Event, Shape
from kinema.simulator.clip_spec import ClipSpec

Output = TypeVar("Output")
LAB_EVENTS: tuple[tuple[Event, float], ...] = (
    ("roll", 0.20),
    ("still", 0.18),
    ("collide", 0.24),
    ("drop", 0.12),
    ("occlude", 0.12),
    ("camera", 0.08),
    ("count", 0.06),
)
"""Lab events and their shares. Attribute binding takes the most training; static pairs, which are learned
first, are rarer than collisions, occlusions and falls."""
MAX_ATTEMPTS = 8
"""Seeds tried for one clip: some outcomes do not fit into short videos."""
MIN_CLIPS_FOR_WORKERS = 16
"""Fewer are rendered sooner than worker processes start."""
RenderDevice = Literal["cpu", "cuda"]
"""Device of the renderer. Frames from a GPU differ from those of a CPU by rounding."""


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """The clips of a rendered dataset.

    Attributes:
        num_clips: in the dataset.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        num_frames: of a clip.
        fps: frames per second.
        lab: render the lab, a small domain with few objects; else the whole simulator.
        events: with their shares; empty uses the simulator's own distribution.
        outcome: of the events, which must all have it; None distributes the outcomes of each event evenly.
        split: of the lab.
        seed: of all clips.
        partner_shape: of the lab: shape of the object that the first one meets; None leaves it to the event.
        shard_size: clips in a shard.
        everyday_captions: captions in everyday English that are added to those in the simulator's ten styles.
        window_frames: for transformer training clips are cut into windows of this many frames, which are
            always conditioned on clean frames at their start or end, because the captions may describe what
            happened before or happens later. None uses whole clips.
        windows_per_clip: where `window_frames` is set.
    """

    num_clips: int
    height: int = 128
    width: int = 128
    num_frames: int = 17
    fps: float = 8.0
    lab: bool = True
    events: tuple[tuple[Event, float], ...] = LAB_EVENTS
    outcome: str | None = None
    split: Literal["train", "test", "all"] = "train"
    seed: int = 0
    partner_shape: Shape | None = None
    shard_size: int = 64
    everyday_captions: int = 0
    window_frames: int | None = None
    windows_per_clip: int = 2

    def __post_init__(self) -> None:
        if self.window_frames is not None and not (
            1 < self.window_frames <= self.num_frames and self.windows_per_clip > 0
        ):
            raise UserError(
                f"clips of {self.num_frames} frames can't be cut into {self.windows_per_clip} windows of "
                f"{self.window_frames}; use 2 to {self.num_frames} frames and at least 1 window"
            )

    def clip_spec(self, index: int, attempt: int = 0) -> ClipSpec:
        """Return the specification of a clip, independent of `num_clips`; each attempt has another seed."""
        event = None
        if self.events:
            position = rng.uniform(self.seed, "event", index) * sum(share for _, share in self.events)
            bounds = itertools.accumulate(share for _, share in self.events)
            candidates = (name for (name, _), end in zip(self.events, bounds, strict=True) if position < end)
            event = next(candidates, self.events[-1][0])
        # Consecutive seeds, because the simulator distributes outcomes evenly over them.
        first_seed = rng.derive_seed(self.seed, "clips", self.split) % 2**31 << 20
        return ClipSpec(
            seed=first_seed + index + (attempt << 52),
            lab=self.lab,
            event=event,
            outcome=self.outcome,
            height=self.height,
            width=self.width,
            num_frames=self.num_frames,
            fps=self.fps,
            split=self.split if self.lab else "all",
            partner_shape=self.partner_shape,
        )

    @property
    def num_shards(self) -> int:
        """Number of shards of the complete dataset."""
        return -(-self.num_clips // self.shard_size)

    def clips_in_shard(self, shard_index: int) -> int:
        """Return the number of clips in a shard."""
        return min(self.shard_size, self.num_clips - shard_index * self.shard_size)


def render_missing(
    config: RenderConfig, folder: Path, *, num_workers: int | None = None, render_device: RenderDevice = "cpu"
) -> Iterator[int]:
    """Render the missing shards of a dataset.

    Args:
        config: the dataset.
        folder: of the shards; created if it does not exist.
        num_workers: processes; None uses every core, or none where few clips are missing; 0 renders in this
            process.
        render_device: of the renderer.

    Yields:
        The number of clips in the folder, at the start and after every shard.

    Raises:
        UserError: a worker process was killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = _missing_shards(config, folder)
    done = config.num_clips - sum(config.clips_in_shard(n) for n in missing)
    yield done
    jobs = [(config, folder, n, render_device) for n in missing]
    if not jobs:
        return
    if num_workers is None:
        has_few = config.num_clips - done < MIN_CLIPS_FOR_WORKERS
        num_workers = 0 if has_few else os.cpu_count() or 1
    if num_workers == 0:
        for job in jobs:
            done += _render_shard(job)
            yield done
        return
    with process_pool(min(num_workers, len(jobs))) as pool:
        try:
            for future in as_completed([pool.submit(_render_shard, job) for job in jobs]):
                done += future.result()
                yield done
        except BrokenProcessPool:
            raise UserError(
                "a rendering process was killed, perhaps because memory ran out; run the command again"
            ) from None


def _missing_shards(config: RenderConfig, folder: Path) -> list[int]:
    return [n for n in range(config.num_shards) if not shard_path(folder, n).is_file()]


@contextlib.contextmanager
def background_rendering(config: RenderConfig, folder: Path, *, num_workers: int = 1) -> Iterator[None]:
    """Render missing shards in other processes while the block runs; its end drops unfinished shards.

    The autoencoder trains on a part of the dataset, so the rest is rendered meanwhile.

    Args:
        config: the dataset.
        folder: of the shards.
        num_workers: processes; 0 renders nothing.
    """
    num_workers = min(num_workers, len(_missing_shards(config, folder)))
    with single_threaded():
        workers = [
            get_context("spawn").Process(
                target=_render_in_background, args=(config, folder, i, num_workers), daemon=True
            )
            for i in range(num_workers)
        ]
        for worker in workers:
            worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        for partial in folder.glob(".*.part*"):
            partial.unlink(missing_ok=True)


def _render_in_background(config: RenderConfig, folder: Path, worker: int, num_workers: int) -> None:
    """Render every `num_workers`-th shard that is missing, at a low priority."""
    if hasattr(os, "nice"):
        os.nice(10)
    folder.mkdir(parents=True, exist_ok=True)
    for shard_index in range(worker, config.num_shards, num_workers):
        if not shard_path(folder, shard_index).is_file():
            _render_shard((config, folder, shard_index, "cpu"))


def _render_clip(
    config: RenderConfig, index: int, render_device: RenderDevice
) -> tuple[FrameArray, list[str], str]:
    """Render a clip, its captions and its annotations, with other seeds where an outcome does not fit."""
    from kinema.simulator.annotation_io import annotations_to_json
    from kinema.simulator.captions import everyday, generate_captions
    from kinema.simulator.clip import make_clip

    clip = first_that_fits(config, index, lambda spec: make_clip(spec, device=render_device))
    assert clip.frames is not None
    captions = [caption.text for caption in generate_captions(clip.annotations)]
    if config.everyday_captions:
        realized = everyday.generate_everyday_captions(clip.annotations, config.everyday_captions)
        captions += [caption.text for caption in realized]
    return clip.frames, captions, annotations_to_json(clip.annotations)


def first_that_fits(config: RenderConfig, index: int, make: Callable[[ClipSpec], Output]) -> Output:
    """Return what `make` makes of a clip's specification, with other seeds where an outcome does not fit.

    Raises:
        UserError: no seed fits.
    """
    for attempt in range(MAX_ATTEMPTS):
        try:
            return make(config.clip_spec(index, attempt))
        except UserError:
            if attempt == MAX_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _render_shard(job: tuple[RenderConfig, Path, int, RenderDevice]) -> int:
    """Render a shard and return the number of its clips."""
    config, folder, shard_index, render_device = job
    first, count = shard_index * config.shard_size, config.clips_in_shard(shard_index)
    clips = [_render_clip(config, first + i, render_device) for i in range(count)]
    frames, captions, annotations = zip(*clips, strict=True)
    write_shard(folder, shard_index, frames, captions, annotations)
    return count
