"""From blobs to tracks: which blob of one frame is the thing of another."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from kinema.evaluate import palette
from kinema.evaluate.blobs import Blob, blobs_of
from kinema.world.facts import Colour

_STEP = 2.2
"""Radii that a thing may jump away from its predicted place in one frame and still be the same thing."""
_PATIENCE = 0.5
"""Radii more for each frame that it was out of sight."""
_SAME_HUE = 14.0
"""Degrees of hue up to which two blobs may be the same thing in different places."""
_SAME_PLACE = 0.6
"""Radii within which a blob of another hue is the same thing with another colour."""
_FORBIDDEN = 1e3


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """One thing through the film. Arrays have a row for every frame; NaN where it is not seen."""

    seen: Bool[np.ndarray, " f"]
    centre: Float[np.ndarray, "f 2"]
    """Soft centroid, pixels, x to the right and y down from the middle of the top left pixel."""
    area: Float[np.ndarray, " f"]
    hue: Float[np.ndarray, " f"]
    mean: Float[np.ndarray, "f 3"]
    """Mean sRGB of the interior."""
    box: Float[np.ndarray, "f 4"]
    border: Bool[np.ndarray, " f"]
    """It reaches the edge of the picture."""
    touching: Bool[np.ndarray, " f"]
    """Another thing is so near on screen that one may hide part of the other."""
    blobs: tuple[Blob | None, ...]

    @property
    def first(self) -> int:
        """The first frame in which it is seen."""
        return int(np.argmax(self.seen))

    @property
    def last(self) -> int:
        """The last frame in which it is seen."""
        return len(self.seen) - 1 - int(np.argmax(self.seen[::-1]))

    @property
    def clear(self) -> Bool[np.ndarray, " f"]:
        """Frames in which it is seen whole: not cut off by the picture nor next to another thing."""
        return self.seen & ~self.border & ~ndimage.binary_dilation(self.touching)

    @property
    def radius(self) -> float:
        """Radius in pixels of the disc of its median area, from frames in which it is seen whole if any."""
        frames = self.clear if self.clear.any() else self.seen
        return float(np.sqrt(np.median(self.area[frames]) / np.pi))

    @property
    def colour(self) -> Colour:
        """The palette's colour nearest to its median hue."""
        hue = np.radians(self.hue[self.seen])
        return palette.nearest_colour(float(np.degrees(np.angle(np.exp(1j * hue).mean())) % 360))

    @property
    def colours(self) -> tuple[Colour | None, ...]:
        """The palette's colour in each frame; None where it is not seen."""
        return tuple(
            palette.nearest_colour(h) if s else None for h, s in zip(self.hue, self.seen, strict=True)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Parsed:
    """What the parser saw in a film."""

    fps: float
    height: int
    width: int
    frames: int
    tracks: tuple[Track, ...]
    """The things, in the order of their first frame, then of their size. Empty when nothing was found."""

    @property
    def scale(self) -> float:
        """Pixels of this film for one pixel of a film 128 high."""
        return self.height / 128


@dataclass(kw_only=True)
class _Open:
    """A track while it grows."""

    blobs: dict[int, Blob] = field(default_factory=dict)

    @property
    def last(self) -> Blob:
        return self.blobs[max(self.blobs)]

    def size(self) -> float:
        """Largest radius of the last frames: what comes out from behind something starts small."""
        recent = sorted(self.blobs)[-6:]
        return max(self.blobs[frame].radius for frame in recent)

    def predicted(self, frame: int) -> tuple[float, float]:
        """Where it should be, by its velocity over its last three frames."""
        seen = sorted(self.blobs)[-3:]
        last = self.blobs[seen[-1]]
        if len(seen) < 2:
            return last.x, last.y
        first = self.blobs[seen[0]]
        ahead = (frame - last.frame) / (last.frame - first.frame)
        return last.x + ahead * (last.x - first.x), last.y + ahead * (last.y - first.y)


def _cost(track: _Open, blob: Blob) -> float:
    """How unlikely it is that a blob continues a track, in rough units of standard deviations."""
    last, waited = track.last, blob.frame - track.last.frame
    size = max(track.size(), blob.radius)
    x, y = track.predicted(blob.frame)
    # A thing that meets another one stops short or turns back: where it was last counts as well.
    away = min(np.hypot(blob.x - x, blob.y - y), np.hypot(blob.x - last.x, blob.y - last.y)) / size
    hue = float(palette.hue_distance(last.hue, blob.hue))
    if hue > _SAME_HUE:
        if waited > 1 or away > _SAME_PLACE or not 0.5 < blob.area / last.area < 2:
            return _FORBIDDEN
        return 6 + away + hue / 20
    if away > _STEP + _PATIENCE * (waited - 1):
        return _FORBIDDEN
    return away + hue / 10 + abs(float(np.log(blob.area / last.area))) / 2 + 0.2 * (waited - 1)


def linked(found: list[list[Blob]]) -> list[dict[int, Blob]]:
    """Blobs of all frames as tracks: frame -> blob. Optimal assignment from frame to frame (Kuhn 1955)."""
    tracks: list[_Open] = []
    for frame, blobs in enumerate(found):
        costs = np.array([[_cost(track, blob) for blob in blobs] for track in tracks]).reshape(
            len(tracks), len(blobs)
        )
        taken = set()
        for i, j in zip(*linear_sum_assignment(costs), strict=True):
            if costs[i, j] < _FORBIDDEN:
                tracks[i].blobs[frame] = blobs[j]
                taken.add(int(j))
        tracks += [_Open(blobs={frame: blob}) for j, blob in enumerate(blobs) if j not in taken]
    return [track.blobs for track in tracks]


def _track(blobs: dict[int, Blob], frames: int) -> Track:
    row = [blobs.get(frame) for frame in range(frames)]
    missing = float("nan")
    return Track(
        seen=np.array([blob is not None for blob in row]),
        centre=np.array([(b.x, b.y) if b else (missing, missing) for b in row]),
        area=np.array([b.area if b else missing for b in row]),
        hue=np.array([b.hue if b else missing for b in row]),
        mean=np.array([b.mean if b else (missing,) * 3 for b in row]),
        box=np.array([b.box if b else (missing,) * 4 for b in row], dtype=float),
        border=np.array([b is not None and b.border for b in row]),
        touching=np.array([b is not None and bool(b.neighbours) for b in row]),
        blobs=tuple(row),
    )


def parse(frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> Parsed:
    """Find the things of a film and follow them.

    Works on films from 48 pixels high, blurred, noisy or slightly off in colour; see the tests for how far.
    """
    found = blobs_of(frames)
    tracks = [_track(blobs, len(frames)) for blobs in linked(found)]
    # What flickers up for one frame and is tiny is a compression artefact, not a thing.
    least = 12 * (frames.shape[1] / 128) ** 2
    tracks = [t for t in tracks if t.seen.sum() > 1 or np.nanmax(t.area) > least]
    tracks.sort(key=lambda t: (t.first, -float(np.nanmax(t.area))))
    return Parsed(
        fps=fps, height=frames.shape[1], width=frames.shape[2], frames=len(frames), tracks=tuple(tracks)
    )
