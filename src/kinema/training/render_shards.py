"""Filming the set for training: a store of clips that grows on all cores and survives being killed.

A shard is a safetensors file of some dozens of clips with their captions in its header, written atomically;
which clips it holds follows from its number alone. Whoever finds a shard missing films it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy
from jaxtyping import UInt8

from kinema.atomic_io import atomic_write
from kinema.data import rng
from kinema.errors import UserError
from kinema.process_pool import process_pool, single_threaded
from kinema.simulator.annotations import Event
from kinema.simulator.clip_spec import ClipSpec

LAB_EVENTS: tuple[tuple[Event, float], ...] = (
    ("roll", 0.20),
    ("still", 0.18),
    ("collide", 0.24),
    ("drop", 0.12),
    ("occlude", 0.12),
    ("camera", 0.08),
    ("count", 0.06),
)
"""Lab events and their shares. Which of two things is which takes the most learning; standing pairs, learned
first, are asked for less often than things that meet, hide and fall."""


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """Which clips a store holds."""

    num_clips: int
    height: int = 128
    width: int = 128
    num_frames: int = 17
    fps: float = 8.0
    lab: bool = True
    events: tuple[tuple[Event, float], ...] = LAB_EVENTS
    """Events and their shares; empty draws them as the film set does."""
    split: Literal["train", "test", "all"] = "train"
    seed: int = 0
    shard_size: int = 64
    """Clips in a shard."""
    window_frames: int | None = None
    """Frames of the stretches that clips are cut into for the transformer; None leaves them whole. It is
    always given the beginning or the end of a stretch: what the captions tell may be over by then."""
    windows_per_clip: int = 2
    """Of each clip."""

    def __post_init__(self) -> None:
        if self.window_frames is not None and not (
            1 < self.window_frames <= self.num_frames and self.windows_per_clip > 0
        ):
            raise UserError(
                f"clips of {self.num_frames} frames can't be cut into {self.windows_per_clip} stretches of "
                f"{self.window_frames}; give 2 to {self.num_frames} frames, and 1 stretch or more"
            )

    def clip_spec(self, index: int, attempt: int = 0) -> ClipSpec:
        """The clip at `index`, whatever was filmed before; other attempts have other seeds."""
        event = None
        if self.events:
            place = rng.uniform(self.seed, "event", index) * sum(share for _, share in self.events)
            upto = itertools.accumulate(share for _, share in self.events)
            drawn = (name for (name, _), end in zip(self.events, upto, strict=True) if place < end)
            event = next(drawn, self.events[-1][0])
        # Consecutive seeds: the film set spreads outcomes evenly over them.
        first = rng.derive_seed(self.seed, "clips", self.split) % 2**31 << 20
        return ClipSpec(
            seed=first + index + (attempt << 52),
            lab=self.lab,
            event=event,
            height=self.height,
            width=self.width,
            num_frames=self.num_frames,
            fps=self.fps,
            split=self.split if self.lab else "all",
        )

    @property
    def num_shards(self) -> int:
        """How many files the store has when it is whole."""
        return -(-self.num_clips // self.shard_size)


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardedVideos:
    """The clips of a store, mapped from its shards; `kinema.data.dataset.PipelineBackend`."""

    pixels: tuple[UInt8[np.ndarray, "_ f h w 3"], ...]
    texts: tuple[tuple[str, ...], ...]
    starts: tuple[int, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.texts)

    def frames(self, index: int) -> UInt8[np.ndarray, "f h w 3"]:
        """The frames of clip `index`."""
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.pixels[shard][index - self.starts[shard]]

    def captions(self, index: int) -> Sequence[str]:
        """Every caption of clip `index`, the plain one first."""
        return self.texts[index]


MAX_ATTEMPTS = 8
"""Seeds tried for one clip: short films leave no time for some outcomes."""
RenderDevice = Literal["cpu", "cuda"]


def render_missing(
    config: RenderConfig, folder: Path, *, num_workers: int | None = None, render_device: RenderDevice = "cpu"
) -> Iterator[int]:
    """Film what is missing of a store; yields how many clips it holds, after every shard.

    Args:
        config: what to film.
        folder: where the shards go.
        num_workers: processes; None takes every core. With 0 this process films alone.
        render_device: what draws the pictures. Pictures from a GPU differ from a processor's by rounding.
    """
    folder.mkdir(parents=True, exist_ok=True)
    present = [n for n in range(config.num_shards) if shard_path(folder, n).is_file()]
    missing = [n for n in range(config.num_shards) if n not in set(present)]
    done = sum(_shard_count(config, n) for n in present)
    yield done
    jobs = [(config, folder, n, render_device) for n in missing]
    if not jobs:
        return
    num_workers = (os.cpu_count() or 1) if num_workers is None else num_workers
    if num_workers == 0:
        for job in jobs:
            done += _render_shard(job)
            yield done
        return
    with process_pool(min(num_workers, len(jobs))) as pool:
        try:
            for job in as_completed([pool.submit(_render_shard, job) for job in jobs]):
                done += job.result()
                yield done
        except BrokenProcessPool:
            raise UserError(
                "a worker that filmed was stopped, perhaps for want of memory; run it again to go on"
            ) from None


def open_shards(config: RenderConfig, folder: Path) -> ShardedVideos:
    """The clips filmed so far, shard by shard in order, up to the first that is missing."""
    return open_shards_dir(folder, max_clips=config.num_clips)


def open_shards_dir(folder: Path, *, max_clips: int | None = None) -> ShardedVideos:
    """The first `max_clips` clips of a store, or all, up to the first shard that is missing."""
    pixels, texts, starts = [], [], []
    for number in itertools.count():
        if max_clips is not None and len(texts) >= max_clips:
            break
        path = shard_path(folder, number)
        if not path.is_file():
            break
        starts.append(len(texts))
        header, begin = _read_header(path)
        texts += [tuple(clip) for clip in json.loads(header["__metadata__"]["captions"])]
        if max_clips is not None:
            del texts[max_clips:]
        shape, place = header["frames"]["shape"], begin + header["frames"]["data_offsets"][0]
        pixels.append(np.memmap(path, np.uint8, "r", offset=place, shape=tuple(shape)))
    return ShardedVideos(pixels=tuple(pixels), texts=tuple(texts), starts=tuple(starts))


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """A safetensors file's header and where its data begins.

    The library has no mapped arrays for numpy, and a store may be larger than the memory.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size)), 8 + size


@contextlib.contextmanager
def background_rendering(config: RenderConfig, folder: Path, *, num_workers: int = 1) -> Iterator[None]:
    """While the block runs, other processes film what the store lacks; what they have begun is dropped then.

    Training the autoencoder needs few films, so the rest of the set is made meanwhile.
    """
    with single_threaded():
        crowd = [
            get_context("spawn").Process(
                target=_render_in_background, args=(config, folder, part, num_workers), daemon=True
            )
            for part in range(num_workers)
        ]
        for beside in crowd:
            beside.start()
    try:
        yield
    finally:
        for beside in crowd:
            beside.terminate()
        for beside in crowd:
            beside.join()
        for half in folder.glob(".*.part*"):
            half.unlink(missing_ok=True)


def _render_in_background(config: RenderConfig, folder: Path, worker: int, num_workers: int) -> None:
    """Every so many-th shard that is missing, without a word, and behind whatever trains here."""
    if hasattr(os, "nice"):
        os.nice(10)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(worker, config.num_shards, num_workers):
        if not shard_path(folder, number).is_file():
            _render_shard((config, folder, number, "cpu"))


def shard_path(folder: Path, number: int) -> Path:
    """The file of shard `number`."""
    return folder / f"films-{number:05d}.safetensors"


def _shard_count(config: RenderConfig, number: int) -> int:
    return min(config.shard_size, config.num_clips - number * config.shard_size)


def _render_clip(
    config: RenderConfig, index: int, render_device: RenderDevice
) -> tuple[UInt8[np.ndarray, "f h w 3"] | None, list[str]]:
    """Frames and captions at an index; where a seed's outcome can't be had in so short a film, of another."""
    from kinema.simulator.captions import generate_captions
    from kinema.simulator.clip import make_clip

    for attempt in range(MAX_ATTEMPTS):
        try:
            clip = make_clip(config.clip_spec(index, attempt), device=render_device)
        except UserError:
            if attempt == MAX_ATTEMPTS - 1:
                raise
            continue
        return clip.frames, [caption.text for caption in generate_captions(clip.annotations)]
    raise AssertionError("unreachable: the last attempt returns or raises")


def _render_shard(job: tuple[RenderConfig, Path, int, RenderDevice]) -> int:
    config, folder, number, render = job
    first = number * config.shard_size
    clips = [_render_clip(config, first + place, render) for place in range(_shard_count(config, number))]
    frames, texts = [frames for frames, _ in clips], [texts for _, texts in clips]
    with atomic_write(shard_path(folder, number)) as beside:
        safetensors.numpy.save_file(
            {"frames": np.stack([each for each in frames if each is not None])},
            beside,
            metadata={"captions": json.dumps(texts)},
        )
    return len(frames)
