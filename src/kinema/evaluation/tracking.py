"""From blobs to tracks: which blob of one frame is the thing of another."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from kinema.evaluation import palette
from kinema.evaluation.segmentation import Blob, find_blobs
from kinema.simulator.annotations import Colour

_MAX_JUMP = 2.2
"""Radii that a thing may jump away from its predicted place in one frame and still be the same thing."""
_JUMP_PER_MISSED_FRAME = 0.5
"""Radii more for each frame that it was out of sight."""
_MAX_HUE_DIFFERENCE = 14.0
"""Degrees of hue up to which two blobs may be the same thing in different places."""
_MAX_RECOLOUR_DISTANCE = 0.6
"""Radii within which a blob of another hue is the same thing with another colour."""
_FORBIDDEN_COST = 1e3


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """One thing through the film. Arrays have a row for every frame; NaN where it is not seen."""

    visible: Bool[np.ndarray, " f"]
    centre: Float[np.ndarray, "f 2"]
    """Soft centroid, pixels, x to the right and y down from the middle of the top left pixel."""
    area: Float[np.ndarray, " f"]
    hue: Float[np.ndarray, " f"]
    mean_rgb: Float[np.ndarray, "f 3"]
    """Mean sRGB of the interior."""
    box: Float[np.ndarray, "f 4"]
    touches_border: Bool[np.ndarray, " f"]
    """It reaches the edge of the picture."""
    touching: Bool[np.ndarray, " f"]
    """Another thing is so near on screen that one may hide part of the other."""
    blobs: tuple[Blob | None, ...]

    @property
    def first_frame(self) -> int:
        """The first frame in which it is seen."""
        return int(np.argmax(self.visible))

    @property
    def last_frame(self) -> int:
        """The last frame in which it is seen."""
        return len(self.visible) - 1 - int(np.argmax(self.visible[::-1]))

    @property
    def clearly_visible(self) -> Bool[np.ndarray, " f"]:
        """Frames in which it is seen whole: not cut off by the picture nor next to another thing."""
        return self.visible & ~self.touches_border & ~ndimage.binary_dilation(self.touching)

    @property
    def radius(self) -> float:
        """Radius in pixels of the disc of its median area, from frames in which it is seen whole if any."""
        frames = self.clearly_visible if self.clearly_visible.any() else self.visible
        return float(np.sqrt(np.median(self.area[frames]) / np.pi))

    @property
    def colour(self) -> Colour:
        """The palette's colour nearest to its median hue."""
        hue = np.radians(self.hue[self.visible])
        return palette.nearest_colour(float(np.degrees(np.angle(np.exp(1j * hue).mean())) % 360))

    @property
    def colours(self) -> tuple[Colour | None, ...]:
        """The palette's colour in each frame; None where it is not seen."""
        return tuple(
            palette.nearest_colour(h) if s else None for h, s in zip(self.hue, self.visible, strict=True)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedVideo:
    """What the parser saw in a film."""

    fps: float
    height: int
    width: int
    num_frames: int
    tracks: tuple[Track, ...]
    """The things, in the order of their first frame, then of their size. Empty when nothing was found."""

    @property
    def scale(self) -> float:
        """Pixels of this film for one pixel of a film 128 high."""
        return self.height / 128


@dataclass(kw_only=True)
class _OpenTrack:
    """A track while it grows."""

    blobs: dict[int, Blob] = field(default_factory=dict)

    @property
    def last_blob(self) -> Blob:
        return self.blobs[max(self.blobs)]

    def recent_radius(self) -> float:
        """Largest radius of the last frames: what comes out from behind something starts small."""
        recent = sorted(self.blobs)[-6:]
        return max(self.blobs[frame].radius for frame in recent)

    def predict_position(self, frame: int) -> tuple[float, float]:
        """Where it should be, by its velocity over its last three frames."""
        seen = sorted(self.blobs)[-3:]
        last = self.blobs[seen[-1]]
        if len(seen) < 2:
            return last.x, last.y
        first = self.blobs[seen[0]]
        ahead = (frame - last.frame) / (last.frame - first.frame)
        return last.x + ahead * (last.x - first.x), last.y + ahead * (last.y - first.y)


def _assignment_cost(track: _OpenTrack, blob: Blob) -> float:
    """How unlikely it is that a blob continues a track, in rough units of standard deviations."""
    last, waited = track.last_blob, blob.frame - track.last_blob.frame
    size = max(track.recent_radius(), blob.radius)
    x, y = track.predict_position(blob.frame)
    # A thing that meets another one stops short or turns back: where it was last counts as well.
    away = min(np.hypot(blob.x - x, blob.y - y), np.hypot(blob.x - last.x, blob.y - last.y)) / size
    hue = float(palette.hue_distance(last.hue, blob.hue))
    if hue > _MAX_HUE_DIFFERENCE:
        if waited > 1 or away > _MAX_RECOLOUR_DISTANCE or not 0.5 < blob.area / last.area < 2:
            return _FORBIDDEN_COST
        return 6 + away + hue / 20
    if away > _MAX_JUMP + _JUMP_PER_MISSED_FRAME * (waited - 1):
        return _FORBIDDEN_COST
    return away + hue / 10 + abs(float(np.log(blob.area / last.area))) / 2 + 0.2 * (waited - 1)


def link_detections(blobs_per_frame: list[list[Blob]]) -> list[dict[int, Blob]]:
    """Blobs of all frames as tracks: frame -> blob. Optimal assignment from frame to frame (Kuhn 1955)."""
    tracks: list[_OpenTrack] = []
    for frame, blobs in enumerate(blobs_per_frame):
        costs = np.array([[_assignment_cost(track, blob) for blob in blobs] for track in tracks]).reshape(
            len(tracks), len(blobs)
        )
        taken = set()
        for i, j in zip(*linear_sum_assignment(costs), strict=True):
            if costs[i, j] < _FORBIDDEN_COST:
                tracks[i].blobs[frame] = blobs[j]
                taken.add(int(j))
        tracks += [_OpenTrack(blobs={frame: blob}) for j, blob in enumerate(blobs) if j not in taken]
    return [track.blobs for track in tracks]


def _build_track(blobs: dict[int, Blob], num_frames: int) -> Track:
    row = [blobs.get(frame) for frame in range(num_frames)]
    missing = float("nan")
    return Track(
        visible=np.array([blob is not None for blob in row]),
        centre=np.array([(b.x, b.y) if b else (missing, missing) for b in row]),
        area=np.array([b.area if b else missing for b in row]),
        hue=np.array([b.hue if b else missing for b in row]),
        mean_rgb=np.array([b.mean_rgb if b else (missing,) * 3 for b in row]),
        box=np.array([b.box if b else (missing,) * 4 for b in row], dtype=float),
        touches_border=np.array([b is not None and b.touches_border for b in row]),
        touching=np.array([b is not None and bool(b.neighbours) for b in row]),
        blobs=tuple(row),
    )


def track_objects(frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> TrackedVideo:
    """Find the things of a film and follow them.

    Works on films from 48 pixels high, blurred, noisy or slightly off in colour; see the tests for how far.
    """
    found = find_blobs(frames)
    tracks = [_build_track(blobs, len(frames)) for blobs in link_detections(found)]
    # What flickers up for one frame and is tiny is a compression artefact, not a thing.
    least = 12 * (frames.shape[1] / 128) ** 2
    tracks = [t for t in tracks if t.visible.sum() > 1 or np.nanmax(t.area) > least]
    tracks.sort(key=lambda t: (t.first_frame, -float(np.nanmax(t.area))))
    return TrackedVideo(
        fps=fps, height=frames.shape[1], width=frames.shape[2], num_frames=len(frames), tracks=tuple(tracks)
    )
