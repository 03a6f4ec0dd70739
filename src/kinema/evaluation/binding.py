"""Measures 1 and 2: the right things with the right colours, and on the right sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from kinema.evaluation import thresholds
from kinema.evaluation.matching import MatchedScene, shape_per_frame
from kinema.evaluation.permanence import is_explained, visibility_gaps
from kinema.evaluation.tracking import Track


@dataclass(frozen=True, kw_only=True)
class BindingScores:
    """Whether colours, shapes and their pairs are those of the prompt; shares of the judged frames."""

    num_scored_frames: int
    """Frames in which everything that is there is seen."""
    colour: float
    shape: float
    pairs: float

    @property
    def has_enough_frames(self) -> bool:
        """Whether there was enough to judge."""
        return self.num_scored_frames >= thresholds.MIN_FRAMES

    def passes(self, share: float) -> bool:
        """Whether one of the shares passes."""
        return self.has_enough_frames and share >= thresholds.MIN_CORRECT_FRAME_SHARE


def occluded_frames(scene: MatchedScene, track: Track) -> Bool[np.ndarray, " f"]:
    """Frames in which a thing is out of sight behind another one, and rightly so."""
    film = scene.video
    hidden = np.zeros(film.num_frames, dtype=bool)
    for start, stop in visibility_gaps(track):
        if is_explained(film, track, start, 1) and is_explained(film, track, stop, -1):
            hidden[start + 1 : stop] = True
    stays = scene.prompt_spec.outcome == "stays hidden" and track is scene.main_track()
    if stays and track.last_frame < film.num_frames - 1 and is_explained(film, track, track.last_frame, 1):
        hidden[track.last_frame + 1 :] = True
    return hidden


def scorable_frames(scene: MatchedScene) -> Bool[np.ndarray, " f"]:
    """Frames in which nothing is cut off by the picture or has left it."""
    good = np.ones(scene.video.num_frames, dtype=bool)
    for track in scene.video.tracks:
        good &= ~track.touches_border
        if track.touches_border[track.last_frame]:
            good[track.last_frame + 1 :] = False
        if track.touches_border[track.first_frame]:
            good[: track.first_frame] = False
    return good


def measure_binding(scene: MatchedScene) -> BindingScores:
    """Compare the multisets of every judged frame with the prompt's.

    What is rightly hidden counts as what it was seen to be before.
    """
    good = np.flatnonzero(scorable_frames(scene))
    film, meaning = scene.video, scene.prompt_spec
    named = []
    for track in film.tracks:
        hidden = occluded_frames(scene, track)
        colours = [track.colour if h else c for c, h in zip(track.colours, hidden, strict=True)]
        named.append((track.visible | hidden, colours, shape_per_frame(track)))
    wanted = sorted((t.colour, t.shape) for t in meaning.objects for _ in range(t.count))
    colour = shape = pairs = 0
    for frame in good:
        seen = [(colours[frame], kinds[frame]) for there, colours, kinds in named if there[frame]]
        colour += sorted(str(c) for c, _ in seen) == list(meaning.colours)
        shape += sorted(str(s) for _, s in seen) == list(meaning.shapes)
        pairs += sorted((str(c), str(s)) for c, s in seen) == wanted
    count = max(1, len(good))
    return BindingScores(
        num_scored_frames=len(good), colour=colour / count, shape=shape / count, pairs=pairs / count
    )


def check_left_right(scene: MatchedScene) -> bool | None:
    """Whether the first thing stands on the side of the second that the prompt says; None if not asked."""
    if scene.prompt_spec.side is None:
        return None
    first, second = scene.main_track(0), scene.main_track(1)
    if first is None or second is None:
        return False
    both = first.visible & second.visible
    if both.sum() < thresholds.MIN_FRAMES:
        return False
    gap = first.centre[both, 0] - second.centre[both, 0]
    right = gap < 0 if scene.prompt_spec.side == "left of" else gap > 0
    return bool(right.sum() >= thresholds.MIN_CORRECT_FRAME_SHARE * scene.video.num_frames)
