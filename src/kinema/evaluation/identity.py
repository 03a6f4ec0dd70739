"""Measure 8, long-term identity: objects keep their colour, size and shape for 10 to 60 seconds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from kinema.evaluation import thresholds
from kinema.evaluation.camera_geometry import LAB_CAMERA, floor_positions
from kinema.evaluation.matching import shape_per_frame
from kinema.evaluation.tracking import Track, TrackedVideo
from kinema.simulator.appearance.colours import srgb_to_lab

CHUNK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class ChunkIdentity:
    """One chunk of the video compared with the first one; the worst object counts."""

    start_seconds: float
    colour_difference: float
    """CIE 1976 difference of the mean colours."""
    size_ratio: float
    """Ratio of the median areas, at least 1."""
    same_shape: bool
    """Every object has the same shape."""
    is_same: bool
    """All differences are within the thresholds, and no object is missing."""


def measure_identity(
    video: TrackedVideo, *, grounded: bool, lost_frame: int | None
) -> tuple[ChunkIdentity, ...]:
    """Compare every chunk with the first. An object that disappears fails even if it comes back.

    Args:
        video: from a static camera, from a few seconds to minutes long. A video shorter than three chunks is
            divided into three.
        grounded: whether objects stay on the floor, so that their position determines their distance.
        lost_frame: the first frame in which an object is missing without a reason; None if there is none.
    """
    length = max(2, min(round(CHUNK_SECONDS * video.fps), video.num_frames // 3))
    objects = [
        (track, shape_per_frame(track), _depth_corrected_areas(video, track, grounded))
        for track in video.tracks
        if track.visible[:length].sum() > length / 3
    ]
    chunks = []
    for start in range(0, max(1, video.num_frames - length // 2), length):
        comparisons = [
            _compare_with_first(track, shapes, areas, start, length) for track, shapes, areas in objects
        ]
        colour_difference = max((c[0] for c in comparisons), default=np.inf)
        size_ratio = max((c[1] for c in comparisons), default=np.inf)
        same_shape = all(c[2] for c in comparisons)
        is_complete = lost_frame is None or lost_frame >= start + length
        chunks.append(
            ChunkIdentity(
                start_seconds=start / video.fps,
                colour_difference=colour_difference,
                size_ratio=size_ratio,
                same_shape=same_shape,
                is_same=is_complete
                and same_shape
                and colour_difference <= thresholds.MAX_COLOUR_DIFFERENCE
                and size_ratio <= thresholds.MAX_SIZE_RATIO,
            )
        )
    return tuple(chunks)


def survival_seconds(chunks: tuple[ChunkIdentity, ...], duration: float) -> float:
    """Seconds until the first chunk that is not the same; `duration` if all are."""
    return next((chunk.start_seconds for chunk in chunks if not chunk.is_same), duration)


def _depth_corrected_areas(video: TrackedVideo, track: Track, grounded: bool) -> Float[np.ndarray, " f"]:
    """Areas scaled to a common distance from the camera."""
    if not grounded:
        return track.area
    distance = np.linalg.norm(floor_positions(video, track) - LAB_CAMERA[:2], axis=1)
    return track.area * distance**2


def _compare_with_first(
    track: Track, shapes: tuple[str | None, ...], areas: Float[np.ndarray, " f"], start: int, length: int
) -> tuple[float, float, bool]:
    """Colour difference, size ratio and equality of shape between a chunk and the first one."""
    first, current = _clear_frames(track, 0, length), _clear_frames(track, start, length)
    if not len(current) or not len(first):
        # Nothing to compare. Permanence measures whether the object may be hidden.
        return 1.0, 1.0, True
    colour_difference = np.linalg.norm(
        srgb_to_lab(track.mean_rgb[current].mean(axis=0)) - srgb_to_lab(track.mean_rgb[first].mean(axis=0))
    )
    ratio = float(np.median(areas[current]) / np.median(areas[first]))
    same_shape = _most_common([shapes[f] for f in current]) == _most_common([shapes[f] for f in first])
    return float(colour_difference), max(ratio, 1 / ratio), same_shape


def _clear_frames(track: Track, start: int, length: int) -> Int[np.ndarray, " n"]:
    frames = np.arange(start, min(start + length, len(track.visible)))
    return frames[track.clearly_visible[frames]]


def _most_common(shapes: list[str | None]) -> str | None:
    return Counter(shapes).most_common(1)[0][0]
