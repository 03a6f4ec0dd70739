"""The objects of a prompt matched to the tracks of a video, and the shape of each track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from kinema.evaluation import thresholds
from kinema.evaluation.prompt_parser import SHAPES, PromptSpec
from kinema.evaluation.shape_classifier import shape_log_probs
from kinema.evaluation.tracking import Track, TrackedVideo


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchedScene:
    """A prompt, a tracked video, and which track is which object of the prompt."""

    prompt_spec: PromptSpec
    video: TrackedVideo
    tracks_by_object: tuple[tuple[Track, ...], ...]
    """For each object of the prompt the tracks of its colour, longest first, at most its count. Empty where
    its colour was not found."""

    def main_track(self, object_index: int = 0) -> Track | None:
        """The longest track of an object, by its index in the prompt."""
        return (
            self.tracks_by_object[object_index][0]
            if object_index < len(self.tracks_by_object) and self.tracks_by_object[object_index]
            else None
        )


def match_objects(prompt_spec: PromptSpec, video: TrackedVideo) -> MatchedScene:
    """Match tracks to objects by colour alone: shapes are scored, not assumed."""
    tracks_by_object = []
    assigned: set[int] = set()
    for spec in prompt_spec.objects:
        candidates = [k for k, t in enumerate(video.tracks) if t.colour == spec.colour and k not in assigned]
        candidates.sort(key=lambda k: -int(video.tracks[k].visible.sum()))
        chosen = candidates[: spec.count]
        assigned.update(chosen)
        tracks_by_object.append(tuple(video.tracks[k] for k in chosen))
    return MatchedScene(prompt_spec=prompt_spec, video=video, tracks_by_object=tuple(tracks_by_object))


def shape_evidence(track: Track) -> Float[np.ndarray, "f shapes"]:
    """Log probability of each shape in each frame; zero in uninformative frames."""
    evidence = np.zeros((len(track.visible), len(SHAPES)))
    for frame in np.flatnonzero(informative_frames(track)):
        blob = track.blobs[frame]
        if blob is not None:
            evidence[frame] = shape_log_probs(blob)
    return evidence


def shape_per_frame(track: Track) -> tuple[str | None, ...]:
    """The shape in every frame, from the evidence of that frame and its neighbours.

    Frames without evidence take the shape of the nearest frame with evidence. None where there is no evidence
    at all, or where it does not favour one shape.
    """
    evidence = shape_evidence(track)
    window = np.ones(2 * thresholds.SHAPE_WINDOW + 1)
    total = ndimage.correlate1d(evidence, window, axis=0, mode="constant")
    known = np.flatnonzero(
        ndimage.correlate1d(informative_frames(track).astype(float), window, mode="constant")
    )
    if not len(known):
        return (None,) * len(track.visible)
    nearest = known[np.abs(np.arange(len(track.visible))[:, None] - known).argmin(axis=1)]
    scores = total[nearest]
    second, best = np.sort(scores, axis=1)[:, -2:].T
    return tuple(
        SHAPES[int(k)] if decided else None
        for k, decided in zip(
            scores.argmax(axis=1), best - second >= thresholds.MIN_SHAPE_LOG_ODDS, strict=True
        )
    )


def informative_frames(track: Track) -> Bool[np.ndarray, " f"]:
    """Frames that show the shape: unoccluded ones, or without any, those away from the image border."""
    unoccluded = track.unoccluded
    return unoccluded if unoccluded.any() else track.visible & ~track.touches_border
