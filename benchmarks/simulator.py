"""Core-seconds that a clip of the film set takes: processor time of one process with one thread.

Processor time and not the clock, so that a busy machine measures the same work. The first clip of each
size compiles what is to be compiled and is not counted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numba

from benchmarks.harness import BenchRow
from kinema.errors import UserError
from kinema.shapes import parse_size
from kinema.simulator.annotations import ClipAnnotations, Event
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.events import EVENT_WEIGHTS, LAB_EVENT_WEIGHTS
from kinema.simulator.scene_sampler import sample_scene
from kinema.simulator.shards import derive_clip_seed

MAX_CORE_SECONDS = {"128x128": 1.3, "64x64": 0.35}
"""Core-seconds a clip of 33 frames may take, by size."""


@dataclass(frozen=True, kw_only=True)
class ClipTiming:
    """Processor seconds of one clip. `rendering` is everything but physics and captions: mostly ray tracing."""

    event: Event
    physics: float
    rendering: float
    captions: float

    @property
    def total(self) -> float:
        """The whole clip."""
        return self.physics + self.rendering + self.captions


def _time_call(work: Callable[[], ClipAnnotations | None]) -> tuple[float, ClipAnnotations | None]:
    start = time.process_time()
    made = work()
    return time.process_time() - start, made


def time_clip(spec: ClipSpec, event: Event) -> ClipTiming:
    """Make one clip and its captions, and say what it cost.

    Physics is measured by drawing the scene once more, without its picture.
    """

    def simulate() -> None:
        sample_scene(spec)

    def render_clip() -> ClipAnnotations:
        return make_clip(spec).annotations

    physics, _ = _time_call(simulate)
    whole, facts = _time_call(render_clip)
    if facts is None:
        raise ValueError("a clip has facts")
    told = facts

    def write_captions() -> None:
        generate_captions(told)

    wording, _ = _time_call(write_captions)
    return ClipTiming(
        event=event, physics=min(physics, whole), rendering=max(0.0, whole - physics), captions=wording
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
    """What clips of every event cost, `clips_per_event` of each."""
    numba.set_num_threads(1)
    width, height = parse_size(size)
    weights = LAB_EVENT_WEIGHTS if lab else EVENT_WEIGHTS
    names = [name for name in weights if event in ("", name)]
    if not names:
        raise UserError(f"there is no event {event!r} here; choose one of: {', '.join(weights)}")
    make_clip(ClipSpec(seed=0, lab=lab, height=height, width=width, num_frames=num_frames))
    spent = []
    for name in names:
        for place in range(clips_per_event):
            spec = ClipSpec(
                seed=derive_clip_seed(seed, place),
                lab=lab,
                event=name,
                height=height,
                width=width,
                num_frames=num_frames,
            )
            try:
                spent.append(time_clip(spec, name))
            except UserError:
                # A scene that can't be had at this length costs nobody anything but its tries.
                continue
    return spent


def summarize(timings: list[ClipTiming], *, size: str, num_frames: int, lab: bool = False) -> list[BenchRow]:
    """The mean over the set, events in the shares they are drawn in, then each event."""
    weights = LAB_EVENT_WEIGHTS if lab else EVENT_WEIGHTS
    kinds = {one.event: [s for s in timings if s.event == one.event] for one in timings}
    share = {kind: weights[kind] / sum(weights[k] for k in kinds) for kind in kinds}

    def mean(read: Callable[[ClipTiming], float]) -> float:
        return sum(share[kind] * statistics.mean(map(read, some)) for kind, some in kinds.items())

    bound = MAX_CORE_SECONDS.get(size) if num_frames == 33 else None
    table = [
        BenchRow(
            label=f"a clip, {size}x{num_frames}",
            ours=mean(lambda s: s.total),
            at_most=bound,
            note="core-seconds",
        ),
        BenchRow(label="  physics", ours=mean(lambda s: s.physics), note="all tries"),
        BenchRow(label="  picture and measuring", ours=mean(lambda s: s.rendering)),
        BenchRow(label="  captions", ours=mean(lambda s: s.captions)),
    ]
    for kind, some in sorted(kinds.items(), key=lambda item: -statistics.mean(s.total for s in item[1])):
        note = f"physics {statistics.mean(s.physics for s in some) * 1e3:.0f} ms"
        table.append(BenchRow(label=kind, ours=statistics.mean(s.total for s in some), note=note))
    return table
