"""Measure 8: who is still there, and still the same, after 10, 20 ... 60 seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kinema.evaluation import camera_geometry, thresholds
from kinema.evaluation.matching import shape_per_frame
from kinema.evaluation.tracking import Track, TrackedVideo
from kinema.simulator.appearance.colours import srgb_to_lab as cielab

CHUNK_SECONDS = 5.0
"""Seconds in a chunk."""


@dataclass(frozen=True, kw_only=True)
class ChunkIdentity:
    """One stretch of the film against the first one, the worst thing counting."""

    start_seconds: float
    """Seconds."""
    colour_difference: float
    """CIE 1976 difference of the mean colour."""
    size_ratio: float
    """Ratio of the median areas, at least 1."""
    same_shape: bool
    """Whether every thing keeps its shape."""
    num_objects: int
    """Things seen, by the median frame."""
    is_same: bool
    """Nothing is beyond the limits."""


def measure_identity(
    video: TrackedVideo, *, grounded: bool, lost_frame: int | None
) -> tuple[ChunkIdentity, ...]:
    """Compare every chunk with the first; tracks must go through, so what vanishes and returns fails too.

    Args:
        video: of a still camera, from a few seconds to minutes long. One that is shorter than three chunks
            is cut into three.
        grounded: whether things stay on the floor, so that their place tells how far away they are.
        lost_frame: the first frame in which something is gone without a reason; None if nothing is.
    """
    length = max(2, min(round(CHUNK_SECONDS * video.fps), video.num_frames // 3))
    starts = range(0, max(1, video.num_frames - length // 2), length)
    known = [
        (track, shape_per_frame(track)) for track in video.tracks if track.visible[:length].sum() > length / 3
    ]
    chunks = []
    for start in starts:
        pairs = [
            _compare_with_first(track, kinds, start, length, _depth_corrected_areas(video, track, grounded))
            for track, kinds in known
        ]
        colour = max((p[0] for p in pairs), default=np.inf)
        size = max((p[1] for p in pairs), default=np.inf)
        shape = all(p[2] for p in pairs)
        count = _count_objects(video, start, length)
        kept = lost_frame is None or lost_frame >= start + length
        same = (
            kept
            and shape
            and colour <= thresholds.MAX_COLOUR_DIFFERENCE
            and size <= thresholds.MAX_SIZE_RATIO
        )
        chunks.append(
            ChunkIdentity(
                start_seconds=start / video.fps,
                colour_difference=colour,
                size_ratio=size,
                same_shape=shape,
                num_objects=count,
                is_same=same,
            )
        )
    return tuple(chunks)


def _depth_corrected_areas(video: TrackedVideo, track: Track, grounded: bool) -> Float[np.ndarray, " f"]:
    """Areas as they would be seen from one distance."""
    if not grounded:
        return track.area
    floor = camera_geometry.unproject_to_horizontal_plane(track.centre, video.height, video.width)
    depth = np.linalg.norm(floor - camera_geometry.LAB_CAMERA[:2], axis=1)
    return track.area * depth**2


def survival_seconds(chunks: tuple[ChunkIdentity, ...], duration: float) -> float:
    """Seconds up to which everything stayed the same, of so many."""
    return next((chunk.start_seconds for chunk in chunks if not chunk.is_same), duration)


def _count_objects(video: TrackedVideo, start: int, length: int) -> int:
    seen = np.array([t.visible[start : start + length] for t in video.tracks])
    return int(np.median(seen.sum(axis=0))) if len(seen) else 0


def _compare_with_first(
    track: Track, shapes: tuple[str | None, ...], start: int, length: int, areas: Float[np.ndarray, " f"]
) -> tuple[float, float, bool]:
    """Colour difference, size ratio and same shape, between a chunk and the first one."""

    def within(at: int) -> np.ndarray:
        frames = np.arange(at, min(at + length, len(track.visible)))
        return frames[track.clearly_visible[frames]]

    now, then = within(start), within(0)
    if not len(now) or not len(then):
        # Hidden, or never seen whole: nothing to compare, and permanence judges the rest.
        return 1.0, 1.0, True
    colour = np.linalg.norm(
        cielab(track.mean_rgb[now].mean(axis=0)) - cielab(track.mean_rgb[then].mean(axis=0))
    )
    ratio = float(np.median(areas[now]) / np.median(areas[then]))
    common = [
        max(set(part), key=part.count) for part in ([shapes[f] for f in now], [shapes[f] for f in then])
    ]
    return float(colour), max(ratio, 1 / ratio), common[0] == common[1]
