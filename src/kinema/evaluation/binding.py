"""Measures 1 and 2: attribute binding (colour, shape, count) and the left/right relation."""

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
    """Shares of the scored frames in which colours, shapes, pairs and the count are those of the prompt."""

    num_scored_frames: int
    """Frames in which every object is fully inside the image."""
    colour: float
    shape: float
    pairs: float
    count: float

    def passes(self, share: float) -> bool:
        """Whether a share passes: there are enough frames and it is correct in most of them."""
        return self.num_scored_frames >= thresholds.MIN_FRAMES and share >= thresholds.MIN_CORRECT_FRAME_SHARE


def occluded_frames(scene: MatchedScene, track: Track) -> Bool[np.ndarray, " f"]:
    """Frames in which an object is hidden behind another one, with a visible reason."""
    video = scene.video
    hidden = np.zeros(video.num_frames, dtype=bool)
    for start, stop in visibility_gaps(track):
        if is_explained(video, track, start, 1) and is_explained(video, track, stop, -1):
            hidden[start + 1 : stop] = True
    stays_hidden = scene.prompt_spec.outcome == "stays hidden" and track is scene.main_track()
    if (
        stays_hidden
        and track.last_frame < video.num_frames - 1
        and is_explained(video, track, track.last_frame, 1)
    ):
        hidden[track.last_frame + 1 :] = True
    return hidden


def scorable_frames(scene: MatchedScene) -> Bool[np.ndarray, " f"]:
    """Frames in which no object is cut off by the image border or has left through it."""
    scorable = np.ones(scene.video.num_frames, dtype=bool)
    for track in scene.video.tracks:
        scorable &= ~track.touches_border
        if track.touches_border[track.last_frame]:
            scorable[track.last_frame + 1 :] = False
        if track.touches_border[track.first_frame]:
            scorable[: track.first_frame] = False
    return scorable


def measure_binding(scene: MatchedScene) -> BindingScores:
    """Compare the multiset of objects in every scorable frame with the prompt's.

    An occluded object counts with its colour and shape from before.
    """
    scorable = np.flatnonzero(scorable_frames(scene))
    video, prompt_spec = scene.video, scene.prompt_spec
    labels = []
    for track in video.tracks:
        hidden = occluded_frames(scene, track)
        colours = [track.colour if h else c for c, h in zip(track.colours, hidden, strict=True)]
        labels.append((track.visible | hidden, colours, shape_per_frame(track)))
    expected_pairs = sorted((o.colour, o.shape) for o in prompt_spec.objects for _ in range(o.count))
    colour = shape = pairs = same_count = 0
    for frame in scorable:
        found = [(colours[frame], shapes[frame]) for present, colours, shapes in labels if present[frame]]
        colour += sorted(str(c) for c, _ in found) == list(prompt_spec.colours)
        shape += sorted(str(s) for _, s in found) == list(prompt_spec.shapes)
        pairs += sorted((str(c), str(s)) for c, s in found) == expected_pairs
        same_count += len(found) == len(expected_pairs)
    count = max(1, len(scorable))
    return BindingScores(
        num_scored_frames=len(scorable),
        colour=colour / count,
        shape=shape / count,
        pairs=pairs / count,
        count=same_count / count,
    )


def check_left_right(scene: MatchedScene) -> bool | None:
    """Whether the first object is on the requested side of the second; None where the prompt names no
    side."""
    if scene.prompt_spec.side is None:
        return None
    first, second = scene.main_track(0), scene.main_track(1)
    if first is None or second is None:
        return False
    both_visible = first.visible & second.visible
    if both_visible.sum() < thresholds.MIN_FRAMES:
        return False
    offset = first.centre[both_visible, 0] - second.centre[both_visible, 0]
    correct = offset < 0 if scene.prompt_spec.side == "left of" else offset > 0
    return bool(correct.sum() >= thresholds.MIN_CORRECT_FRAME_SHARE * scene.video.num_frames)
