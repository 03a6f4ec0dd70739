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

from kinema.bench.measure import Row
from kinema.errors import UserError
from kinema.shapes import parse_size
from kinema.simulator.captions import generate_captions
from kinema.simulator.events import EVENT_WEIGHTS, LAB_EVENT_WEIGHTS
from kinema.world.clip import make_clip
from kinema.world.draw import drawn
from kinema.world.facts import ClipFacts, Event
from kinema.world.films import clip_seed
from kinema.world.spec import ClipSpec

BOUNDS = {"128x128": 1.3, "64x64": 0.35}
"""Core-seconds a clip of 33 frames may take, by size."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Processor seconds of one clip. `film` is everything but physics and captions: mostly ray tracing."""

    event: Event
    physics: float
    film: float
    captions: float

    @property
    def total(self) -> float:
        """The whole clip."""
        return self.physics + self.film + self.captions


def _timed(work: Callable[[], ClipFacts | None]) -> tuple[float, ClipFacts | None]:
    start = time.process_time()
    made = work()
    return time.process_time() - start, made


def spend(spec: ClipSpec, event: Event) -> Spent:
    """Make one clip and its captions, and say what it cost.

    Physics is measured by drawing the scene once more, without its picture.
    """

    def simulate() -> None:
        drawn(spec)

    def film() -> ClipFacts:
        return make_clip(spec).facts

    physics, _ = _timed(simulate)
    whole, facts = _timed(film)
    if facts is None:
        raise ValueError("a clip has facts")
    told = facts

    def tell() -> None:
        generate_captions(told)

    wording, _ = _timed(tell)
    return Spent(event=event, physics=min(physics, whole), film=max(0.0, whole - physics), captions=wording)


def cost(
    *, size: str, frames: int = 33, clips: int = 2, lab: bool = False, seed: int = 0, event: str = ""
) -> list[Spent]:
    """What clips of every event cost, `clips` of each."""
    numba.set_num_threads(1)
    width, height = parse_size(size)
    weights = LAB_EVENT_WEIGHTS if lab else EVENT_WEIGHTS
    names = [name for name in weights if event in ("", name)]
    if not names:
        raise UserError(f"there is no event {event!r} here; choose one of: {', '.join(weights)}")
    make_clip(ClipSpec(seed=0, lab=lab, height=height, width=width, frames=frames))
    spent = []
    for name in names:
        for place in range(clips):
            spec = ClipSpec(
                seed=clip_seed(seed, place), lab=lab, event=name, height=height, width=width, frames=frames
            )
            try:
                spent.append(spend(spec, name))
            except UserError:
                # A scene that can't be had at this length costs nobody anything but its tries.
                continue
    return spent


def rows(spent: list[Spent], *, size: str, frames: int, lab: bool = False) -> list[Row]:
    """The mean over the set, events in the shares they are drawn in, then each event."""
    weights = LAB_EVENT_WEIGHTS if lab else EVENT_WEIGHTS
    kinds = {one.event: [s for s in spent if s.event == one.event] for one in spent}
    share = {kind: weights[kind] / sum(weights[k] for k in kinds) for kind in kinds}

    def mean(read: Callable[[Spent], float]) -> float:
        return sum(share[kind] * statistics.mean(map(read, some)) for kind, some in kinds.items())

    bound = BOUNDS.get(size) if frames == 33 else None
    table = [
        Row(
            what=f"a clip, {size}x{frames}", ours=mean(lambda s: s.total), at_most=bound, note="core-seconds"
        ),
        Row(what="  physics", ours=mean(lambda s: s.physics), note="all tries"),
        Row(what="  picture and measuring", ours=mean(lambda s: s.film)),
        Row(what="  captions", ours=mean(lambda s: s.captions)),
    ]
    for kind, some in sorted(kinds.items(), key=lambda item: -statistics.mean(s.total for s in item[1])):
        note = f"physics {statistics.mean(s.physics for s in some) * 1e3:.0f} ms"
        table.append(Row(what=kind, ours=statistics.mean(s.total for s in some), note=note))
    return table
