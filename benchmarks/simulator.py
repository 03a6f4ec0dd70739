"""CPU time of a simulated clip: seconds of one process with one thread.

CPU time does not depend on other processes of the machine. The first clip of each size compiles the kernels
and is not counted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numba

from benchmarks.harness import BenchRow, time_call
from kinema.errors import UserError
from kinema.shapes import parse_size
from kinema.simulator.annotations import Event
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.events import EVENT_WEIGHTS, LAB_EVENT_WEIGHTS
from kinema.simulator.scene_sampler import sample_scene
from kinema.simulator.shards import derive_clip_seed

MAX_CORE_SECONDS = {"128x128": 1.3, "64x64": 0.35}
"""Bound of the core-seconds of a clip with 33 frames, by size."""


@dataclass(frozen=True, kw_only=True)
class ClipTiming:
    """CPU seconds of one clip. `rendering` is all but physics and captions, mostly ray tracing."""

    event: Event
    physics: float
    rendering: float
    captions: float

    @property
    def total(self) -> float:
        """CPU seconds of the whole clip."""
        return self.physics + self.rendering + self.captions


def time_clip(spec: ClipSpec, event: Event) -> ClipTiming:
    """Time one clip and its captions; the scene is sampled once more to time the physics alone."""
    physics = time_call(lambda: sample_scene(spec), time.process_time)
    start = time.process_time()
    annotations = make_clip(spec).annotations
    clip = time.process_time() - start
    captions = time_call(lambda: generate_captions(annotations), time.process_time)
    return ClipTiming(
        event=event, physics=min(physics, clip), rendering=max(0.0, clip - physics), captions=captions
    )


def time_events(
    *,
    size: str,
    num_frames: int = 33,
    clips_per_event: int = 2,
    lab: bool = False,
    seed: int = 0,
    event: str = "",
) -> list[ClipTiming]:
    """Time `clips_per_event` clips of every event, or of `event` alone.

    Raises:
        UserError: there is no such event.
    """
    numba.set_num_threads(1)
    width, height = parse_size(size)
    weights = LAB_EVENT_WEIGHTS if lab else EVENT_WEIGHTS
    names = [name for name in weights if event in ("", name)]
    if not names:
        raise UserError(f"there is no event {event!r}; choose one of: {', '.join(weights)}")
    make_clip(ClipSpec(seed=0, lab=lab, height=height, width=width, num_frames=num_frames))
    timings = []
    for name in names:
        for index in range(clips_per_event):
            spec = ClipSpec(
                seed=derive_clip_seed(seed, index),
                lab=lab,
                event=name,
                height=height,
                width=width,
                num_frames=num_frames,
            )
            try:
                timings.append(time_clip(spec, name))
            except UserError:
                # Some seeds give no scene of this event at this length.
                continue
    return timings


def summarize(timings: list[ClipTiming], *, size: str, num_frames: int, lab: bool = False) -> list[BenchRow]:
    """The mean over the dataset, with events in their sampling weights, then each event."""
    weights = LAB_EVENT_WEIGHTS if lab else EVENT_WEIGHTS
    by_event = {timing.event: [t for t in timings if t.event == timing.event] for timing in timings}
    total_weight = sum(weights[event] for event in by_event)

    def mean(read: Callable[[ClipTiming], float]) -> float:
        return sum(
            weights[event] / total_weight * statistics.mean(map(read, clips))
            for event, clips in by_event.items()
        )

    bound = MAX_CORE_SECONDS.get(size) if num_frames == 33 else None
    rows = [
        BenchRow(
            label=f"one clip, {size}x{num_frames}",
            ours=mean(lambda clip: clip.total),
            at_most=bound,
            note="core-seconds",
        ),
        BenchRow(label="  physics", ours=mean(lambda clip: clip.physics), note="all attempts"),
        BenchRow(label="  rendering and annotation", ours=mean(lambda clip: clip.rendering)),
        BenchRow(label="  captions", ours=mean(lambda clip: clip.captions)),
    ]
    means = {event: statistics.mean(clip.total for clip in clips) for event, clips in by_event.items()}
    for event in sorted(means, key=lambda name: -means[name]):
        physics = statistics.mean(clip.physics for clip in by_event[event])
        rows.append(BenchRow(label=event, ours=means[event], note=f"physics {physics * 1e3:.0f} ms"))
    return rows
