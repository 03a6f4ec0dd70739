"""Measure 8: who is still there, and still the same, after 10, 20 ... 60 seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kinema.evaluate import limits, room
from kinema.evaluate.scene import shapes_seen
from kinema.evaluate.tracks import Parsed, Track
from kinema.world.look.colours import lab as cielab

CHUNK = 5.0
"""Seconds in a chunk."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One stretch of the film against the first one, the worst thing counting."""

    start: float
    """Seconds."""
    colour: float
    """CIE 1976 difference of the mean colour."""
    size: float
    """Ratio of the median areas, at least 1."""
    shape: bool
    """Whether every thing keeps its shape."""
    count: int
    """Things seen, by the median frame."""
    same: bool
    """Nothing is beyond the limits."""


def identity(film: Parsed, *, grounded: bool, lost: int | None) -> tuple[Chunk, ...]:
    """Compare every chunk with the first; tracks must go through, so what vanishes and returns fails too.

    Args:
        film: of a still camera, from a few seconds to minutes long. One that is shorter than three chunks
            is cut into three.
        grounded: whether things stay on the floor, so that their place tells how far away they are.
        lost: the first frame in which something is gone without a reason; None if nothing is.
    """
    length = max(2, min(round(CHUNK * film.fps), film.frames // 3))
    starts = range(0, max(1, film.frames - length // 2), length)
    known = [(track, shapes_seen(track)) for track in film.tracks if track.seen[:length].sum() > length / 3]
    chunks = []
    for start in starts:
        pairs = [
            _against(track, kinds, start, length, _sizes(film, track, grounded)) for track, kinds in known
        ]
        colour = max((p[0] for p in pairs), default=np.inf)
        size = max((p[1] for p in pairs), default=np.inf)
        shape = all(p[2] for p in pairs)
        count = _count(film, start, length)
        kept = lost is None or lost >= start + length
        same = kept and shape and colour <= limits.SAME_COLOUR and size <= limits.SAME_SIZE
        chunks.append(
            Chunk(start=start / film.fps, colour=colour, size=size, shape=shape, count=count, same=same)
        )
    return tuple(chunks)


def _sizes(film: Parsed, track: Track, grounded: bool) -> Float[np.ndarray, " f"]:
    """Areas as they would be seen from one distance."""
    if not grounded:
        return track.area
    floor = room.on_plane(track.centre, film.height, film.width)
    depth = np.linalg.norm(floor - room.CAMERA[:2], axis=1)
    return track.area * depth**2


def survival(chunks: tuple[Chunk, ...], seconds: float) -> float:
    """Seconds up to which everything stayed the same, of so many."""
    return next((chunk.start for chunk in chunks if not chunk.same), seconds)


def _count(film: Parsed, start: int, length: int) -> int:
    seen = np.array([t.seen[start : start + length] for t in film.tracks])
    return int(np.median(seen.sum(axis=0))) if len(seen) else 0


def _against(
    track: Track, kinds: tuple[str | None, ...], start: int, length: int, sizes: Float[np.ndarray, " f"]
) -> tuple[float, float, bool]:
    """Colour difference, size ratio and same shape, between a chunk and the first one."""

    def within(at: int) -> np.ndarray:
        frames = np.arange(at, min(at + length, len(track.seen)))
        return frames[track.clear[frames]]

    now, then = within(start), within(0)
    if not len(now) or not len(then):
        # Hidden, or never seen whole: nothing to compare, and permanence judges the rest.
        return 1.0, 1.0, True
    colour = np.linalg.norm(cielab(track.mean[now].mean(axis=0)) - cielab(track.mean[then].mean(axis=0)))
    ratio = float(np.median(sizes[now]) / np.median(sizes[then]))
    common = [max(set(part), key=part.count) for part in ([kinds[f] for f in now], [kinds[f] for f in then])]
    return float(colour), max(ratio, 1 / ratio), common[0] == common[1]
