"""A parsed film beside the meaning of its prompt: who is who, and where they are in the room."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from kinema.evaluation import camera_geometry, shape_classifier, thresholds
from kinema.evaluation.prompt_parser import PromptSpec
from kinema.evaluation.tracking import Track, TrackedVideo


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchedScene:
    """What was asked for, what was seen, and which track is which thing."""

    prompt_spec: PromptSpec
    video: TrackedVideo
    tracks_by_object: tuple[tuple[Track, ...], ...]
    """For each thing of the prompt, the tracks of its colour, as many as it wants at most, longest first.
    Empty where its colour is not seen."""

    def main_track(self, object_index: int = 0) -> Track | None:
        """The longest track of a thing, by its place in the prompt."""
        return (
            self.tracks_by_object[object_index][0]
            if object_index < len(self.tracks_by_object) and self.tracks_by_object[object_index]
            else None
        )


def match_objects(prompt_spec: PromptSpec, video: TrackedVideo) -> MatchedScene:
    """Tell who is who, by colour alone: shapes are judged, not assumed."""
    cast = []
    taken: set[int] = set()
    for thing in prompt_spec.objects:
        candidates = [k for k, t in enumerate(video.tracks) if t.colour == thing.colour and k not in taken]
        candidates.sort(key=lambda k: -int(video.tracks[k].visible.sum()))
        chosen = candidates[: thing.count]
        taken.update(chosen)
        cast.append(tuple(video.tracks[k] for k in chosen))
    return MatchedScene(prompt_spec=prompt_spec, video=video, tracks_by_object=tuple(cast))


def floor_positions(video: TrackedVideo, track: Track) -> Float[np.ndarray, "f 2"]:
    """Where a thing is on the floor, metres: x to the right, y away from the camera."""
    return camera_geometry.unproject_to_horizontal_plane(track.centre, video.height, video.width)


def vertical_plane_positions(video: TrackedVideo, track: Track) -> Float[np.ndarray, "f 2"]:
    """Its place in the upright plane through the middle of the room, metres: x and height."""
    return camera_geometry.unproject_to_vertical_plane(track.centre, video.height, video.width)


def shape_evidence(track: Track) -> Float[np.ndarray, "f shapes"]:
    """Log evidence for each shape in each frame; zero in frames that tell nothing."""
    found = np.zeros((len(track.visible), len(shape_classifier.SHAPES)))
    for frame in np.flatnonzero(informative_frames(track)):
        blob = track.blobs[frame]
        if blob is not None:
            found[frame] = shape_classifier.shape_log_probs(blob)
    return found


def shape_per_frame(track: Track) -> tuple[str | None, ...]:
    """The shape in every frame, from the evidence of that frame and its neighbours.

    Frames without evidence of their own take that of the nearest frame that has some. None where there is
    none at all, or where it does not favour one shape.
    """
    evidence = shape_evidence(track)
    span = np.ones(2 * thresholds.SHAPE_WINDOW + 1)
    total = ndimage.correlate1d(evidence, span, axis=0, mode="constant")
    known = np.flatnonzero(
        ndimage.correlate1d(informative_frames(track).astype(float), span, mode="constant")
    )
    if not len(known):
        return (None,) * len(track.visible)
    nearest = known[np.abs(np.arange(len(track.visible))[:, None] - known).argmin(axis=1)]
    chosen = total[nearest]
    second, best = np.sort(chosen, axis=1)[:, -2:].T
    return tuple(
        shape_classifier.SHAPES[int(k)] if sure else None
        for k, sure in zip(chosen.argmax(axis=1), best - second >= thresholds.MIN_SHAPE_LOG_ODDS, strict=True)
    )


def informative_frames(track: Track) -> Bool[np.ndarray, " f"]:
    """Frames that tell its shape: those in which it is seen whole, or else those in which it is next to
    another thing, which may hide part of it, but not cut off by the picture."""
    good = unoccluded_frames(track)
    return good if good.any() else track.visible & ~track.touches_border


def unoccluded_frames(track: Track) -> Bool[np.ndarray, " f"]:
    """Frames in which it is seen, not cut off by the picture and not next to another thing."""
    return track.visible & ~track.touches_border & ~track.touching
