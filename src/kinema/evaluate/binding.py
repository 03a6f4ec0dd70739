"""Measures 1 and 2: the right things with the right colours, and on the right sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from kinema.evaluate import limits
from kinema.evaluate.permanence import gaps
from kinema.evaluate.scene import Scene, shapes_seen


@dataclass(frozen=True, kw_only=True)
class Binding:
    """Whether colours, shapes and their pairs are those of the prompt; shares of the judged frames."""

    judged: int
    """Frames in which everything that is there is seen."""
    colour: float
    shape: float
    pairs: float

    @property
    def parsed(self) -> bool:
        """Whether there was enough to judge."""
        return self.judged >= limits.LEAST_FRAMES

    def right(self, share: float) -> bool:
        """Whether one of the shares passes."""
        return self.parsed and share >= limits.FRAMES_RIGHT


def judged_frames(scene: Scene) -> Bool[np.ndarray, " f"]:
    """Frames in which nothing is cut off by the picture, hidden, or about to be.

    A thing that is out of sight for a while is hidden; whether it had a right to be is measured elsewhere.
    """
    film = scene.film
    good = np.ones(film.frames, dtype=bool)
    for track in film.tracks:
        good &= ~track.border
        for start, stop in gaps(track):
            good[start + 1 : stop] = False
    # What leaves for good behind a thing or over the edge is not missed afterwards.
    if scene.meaning.ending == "stays hidden":
        main = scene.main()
        if main is not None:
            good[main.last + 1 :] = False
    for track in film.tracks:
        blobs = track.blobs
        small = np.array([b is not None and b.area < 0.85 * np.pi * track.radius**2 for b in blobs])
        good &= ~(small & track.touching)
        if track.border[track.last]:
            good[track.last + 1 :] = False
        if track.border[track.first]:
            good[: track.first] = False
    return good


def binding(scene: Scene) -> Binding:
    """Compare the multisets of every judged frame with the prompt's."""
    good = np.flatnonzero(judged_frames(scene))
    film, meaning = scene.film, scene.meaning
    named = [(track, track.colours, shapes_seen(track)) for track in film.tracks]
    wanted = sorted((t.colour, t.shape) for t in meaning.things for _ in range(t.count))
    colour = shape = pairs = 0
    for frame in good:
        seen = [(colours[frame], kinds[frame]) for track, colours, kinds in named if track.seen[frame]]
        colour += sorted(str(c) for c, _ in seen) == list(meaning.colours)
        shape += sorted(str(s) for _, s in seen) == list(meaning.shapes)
        pairs += sorted((str(c), str(s)) for c, s in seen) == wanted
    count = max(1, len(good))
    return Binding(judged=len(good), colour=colour / count, shape=shape / count, pairs=pairs / count)


def on_right_side(scene: Scene) -> bool | None:
    """Whether the first thing stands on the side of the second that the prompt says; None if not asked."""
    if scene.meaning.side is None:
        return None
    first, second = scene.main(0), scene.main(1)
    if first is None or second is None:
        return False
    both = first.seen & second.seen
    if both.sum() < limits.LEAST_FRAMES:
        return False
    gap = first.centre[both, 0] - second.centre[both, 0]
    right = gap < 0 if scene.meaning.side == "left of" else gap > 0
    return bool(right.sum() >= limits.FRAMES_RIGHT * scene.film.frames)
