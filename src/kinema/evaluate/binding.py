"""Measures 1 and 2: the right things with the right colours, and on the right sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from kinema.evaluate import limits
from kinema.evaluate.permanence import explained, gaps
from kinema.evaluate.scene import Scene, shapes_seen
from kinema.evaluate.tracks import Track


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


def hidden_frames(scene: Scene, track: Track) -> Bool[np.ndarray, " f"]:
    """Frames in which a thing is out of sight behind another one, and rightly so."""
    film = scene.film
    hidden = np.zeros(film.frames, dtype=bool)
    for start, stop in gaps(track):
        if explained(film, track, start, 1) and explained(film, track, stop, -1):
            hidden[start + 1 : stop] = True
    stays = scene.meaning.ending == "stays hidden" and track is scene.main()
    if stays and track.last < film.frames - 1 and explained(film, track, track.last, 1):
        hidden[track.last + 1 :] = True
    return hidden


def judged_frames(scene: Scene) -> Bool[np.ndarray, " f"]:
    """Frames in which nothing is cut off by the picture or has left it."""
    good = np.ones(scene.film.frames, dtype=bool)
    for track in scene.film.tracks:
        good &= ~track.border
        if track.border[track.last]:
            good[track.last + 1 :] = False
        if track.border[track.first]:
            good[: track.first] = False
    return good


def binding(scene: Scene) -> Binding:
    """Compare the multisets of every judged frame with the prompt's.

    What is rightly hidden counts as what it was seen to be before.
    """
    good = np.flatnonzero(judged_frames(scene))
    film, meaning = scene.film, scene.meaning
    named = []
    for track in film.tracks:
        hidden = hidden_frames(scene, track)
        colours = [track.colour if h else c for c, h in zip(track.colours, hidden, strict=True)]
        named.append((track.seen | hidden, colours, shapes_seen(track)))
    wanted = sorted((t.colour, t.shape) for t in meaning.things for _ in range(t.count))
    colour = shape = pairs = 0
    for frame in good:
        seen = [(colours[frame], kinds[frame]) for there, colours, kinds in named if there[frame]]
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
