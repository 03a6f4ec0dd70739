"""Object tracks: blobs of consecutive frames linked by optimal assignment."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from kinema.evaluation import palette
from kinema.evaluation.segmentation import Blob, find_blobs
from kinema.frames import FrameArray
from kinema.simulator.annotations import Colour

_MAX_JUMP = 2.2
"""Radii between the predicted and the actual position of an object in the next frame."""
_JUMP_PER_MISSED_FRAME = 0.5
"""Radii added for each frame in which the object was not visible."""
_MAX_HUE_DIFFERENCE = 14.0
"""Degrees of hue up to which two blobs can be the same object at different positions."""
_MAX_RECOLOUR_DISTANCE = 0.6
"""Radii within which a blob of another hue is the same object with a new colour."""
_FORBIDDEN_COST = 1e3
_MIN_SINGLE_FRAME_AREA = 12
"""Pixels at 128 that an object needs if it is visible in one frame only; smaller ones are compression
artefacts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """One object through the video. Arrays have one row per frame, NaN where the object is not visible."""

    visible: Bool[np.ndarray, " f"]
    centre: Float[np.ndarray, "f 2"]
    """Soft centroid: x to the right, y down, in pixels from the centre of the top left pixel."""
    area: Float[np.ndarray, " f"]
    hue: Float[np.ndarray, " f"]
    mean_rgb: Float[np.ndarray, "f 3"]
    """Mean sRGB of the interior."""
    box: Float[np.ndarray, "f 4"]
    touches_border: Bool[np.ndarray, " f"]
    """The object reaches the border of the image."""
    touching: Bool[np.ndarray, " f"]
    """Another object is so close on screen that one may occlude part of the other."""
    blobs: tuple[Blob | None, ...]

    @property
    def first_frame(self) -> int:
        """The first frame in which the object is visible."""
        return int(np.argmax(self.visible))

    @property
    def last_frame(self) -> int:
        """The last frame in which the object is visible."""
        return len(self.visible) - 1 - int(np.argmax(self.visible[::-1]))

    @property
    def unoccluded(self) -> Bool[np.ndarray, " f"]:
        """Frames in which the object is visible, away from the border and not next to another object."""
        return self.visible & ~self.touches_border & ~self.touching

    @property
    def clearly_visible(self) -> Bool[np.ndarray, " f"]:
        """Unoccluded frames whose neighbouring frames are not next to another object either."""
        return self.visible & ~self.touches_border & ~ndimage.binary_dilation(self.touching)

    @property
    def radius(self) -> float:
        """Radius in pixels of the disc with the median area, over clearly visible frames if there are any."""
        frames = self.clearly_visible if self.clearly_visible.any() else self.visible
        return float(np.sqrt(np.median(self.area[frames]) / np.pi))

    @property
    def colour(self) -> Colour:
        """The palette colour nearest to the mean hue."""
        return palette.nearest_colour(palette.mean_hue(self.hue[self.visible]))

    @property
    def colours(self) -> tuple[Colour | None, ...]:
        """The palette colour in each frame; None where the object is not visible."""
        return tuple(
            palette.nearest_colour(hue) if visible else None
            for hue, visible in zip(self.hue, self.visible, strict=True)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedVideo:
    """All object tracks of a video."""

    fps: float
    height: int
    width: int
    num_frames: int
    tracks: tuple[Track, ...]
    """Sorted by first frame, then by size, largest first. Empty when no object was found."""

    @property
    def scale(self) -> float:
        """Pixels of this video per pixel of a video 128 pixels high."""
        return self.height / 128


@dataclass(kw_only=True)
class _OpenTrack:
    """A track under construction: frame -> blob."""

    blobs: dict[int, Blob] = field(default_factory=dict)

    @property
    def last_blob(self) -> Blob:
        return self.blobs[max(self.blobs)]

    def recent_radius(self) -> float:
        """Largest radius of the last frames: an object that emerges from behind an occluder starts small."""
        recent = sorted(self.blobs)[-6:]
        return max(self.blobs[frame].radius for frame in recent)

    def predict_position(self, frame: int) -> tuple[float, float]:
        """Position extrapolated with the velocity of the last three frames."""
        recent = sorted(self.blobs)[-3:]
        last = self.blobs[recent[-1]]
        if len(recent) < 2:
            return last.x, last.y
        first = self.blobs[recent[0]]
        ratio = (frame - last.frame) / (last.frame - first.frame)
        return last.x + ratio * (last.x - first.x), last.y + ratio * (last.y - first.y)


def _assignment_cost(track: _OpenTrack, blob: Blob) -> float:
    """Cost of continuing a track with a blob, roughly in standard deviations."""
    last, elapsed = track.last_blob, blob.frame - track.last_blob.frame
    radius = max(track.recent_radius(), blob.radius)
    x, y = track.predict_position(blob.frame)
    # An object that collides stops or turns back, so its last position counts as well as the predicted one.
    distance = min(np.hypot(blob.x - x, blob.y - y), np.hypot(blob.x - last.x, blob.y - last.y)) / radius
    hue = float(palette.hue_distance(last.hue, blob.hue))
    if hue > _MAX_HUE_DIFFERENCE:
        if elapsed > 1 or distance > _MAX_RECOLOUR_DISTANCE or not 0.5 < blob.area / last.area < 2:
            return _FORBIDDEN_COST
        return 6 + distance + hue / 20
    if distance > _MAX_JUMP + _JUMP_PER_MISSED_FRAME * (elapsed - 1):
        return _FORBIDDEN_COST
    return distance + hue / 10 + abs(float(np.log(blob.area / last.area))) / 2 + 0.2 * (elapsed - 1)


def link_detections(blobs_per_frame: list[list[Blob]]) -> list[dict[int, Blob]]:
    """Link the blobs of all frames into tracks (frame -> blob) by optimal assignment (Kuhn 1955)."""
    tracks: list[_OpenTrack] = []
    for frame, blobs in enumerate(blobs_per_frame):
        costs = np.array([[_assignment_cost(track, blob) for blob in blobs] for track in tracks]).reshape(
            len(tracks), len(blobs)
        )
        assigned = set()
        for i, j in zip(*linear_sum_assignment(costs), strict=True):
            if costs[i, j] < _FORBIDDEN_COST:
                tracks[i].blobs[frame] = blobs[j]
                assigned.add(int(j))
        tracks += [_OpenTrack(blobs={frame: blob}) for j, blob in enumerate(blobs) if j not in assigned]
    return [track.blobs for track in tracks]


def _build_track(blobs: dict[int, Blob], num_frames: int) -> Track:
    row = [blobs.get(frame) for frame in range(num_frames)]
    nan = float("nan")
    return Track(
        visible=np.array([blob is not None for blob in row]),
        centre=np.array([(b.x, b.y) if b else (nan, nan) for b in row]),
        area=np.array([b.area if b else nan for b in row]),
        hue=np.array([b.hue if b else nan for b in row]),
        mean_rgb=np.array([b.mean_rgb if b else (nan,) * 3 for b in row]),
        box=np.array([b.box if b else (nan,) * 4 for b in row], dtype=float),
        touches_border=np.array([b is not None and b.touches_border for b in row]),
        touching=np.array([b is not None and bool(b.neighbours) for b in row]),
        blobs=tuple(row),
    )


def track_objects(frames: FrameArray, fps: float) -> TrackedVideo:
    """Find and track the coloured objects of a video.

    Args:
        frames: at least 48 pixels high; may be blurred, noisy or tinted as in `CorruptionConfig`.
        fps: frames per second.
    """
    tracks = [_build_track(blobs, len(frames)) for blobs in link_detections(find_blobs(frames))]
    min_area = _MIN_SINGLE_FRAME_AREA * (frames.shape[1] / 128) ** 2
    tracks = [t for t in tracks if t.visible.sum() > 1 or np.nanmax(t.area) > min_area]
    tracks.sort(key=lambda t: (t.first_frame, -float(np.nanmax(t.area))))
    return TrackedVideo(
        fps=fps, height=frames.shape[1], width=frames.shape[2], num_frames=len(frames), tracks=tuple(tracks)
    )
