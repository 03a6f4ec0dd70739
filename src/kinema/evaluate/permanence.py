"""Measure 5: things neither come out of nothing nor go into it, and keep their colour and size."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from kinema.evaluate import limits, palette
from kinema.evaluate.scene import Scene
from kinema.evaluate.tracks import Parsed, Track


@dataclass(frozen=True, kw_only=True)
class Permanence:
    """Events that neither the edge of the picture nor another thing explains, as frame and track."""

    births: tuple[tuple[int, int], ...]
    deaths: tuple[tuple[int, int], ...]
    recoloured: tuple[tuple[int, int], ...]
    resized: tuple[tuple[int, int], ...]
    object_minutes: float

    @property
    def faults(self) -> int:
        """All of them together."""
        return len(self.births) + len(self.deaths) + len(self.recoloured) + len(self.resized)

    @property
    def lost(self) -> int | None:
        """The first frame in which something is gone without a reason; None if nothing is."""
        return min((frame for frame, _ in self.deaths), default=None)


def permanence(film: Parsed) -> Permanence:
    """Look for things that pop up, vanish, change colour or change size."""
    births, deaths, recoloured, resized = [], [], [], []
    for k, track in enumerate(film.tracks):
        if track.first > 0 and not explained(film, track, track.first, -1):
            births.append((track.first, k))
        if track.last < film.frames - 1 and not explained(film, track, track.last, 1):
            deaths.append((track.last + 1, k))
        for start, stop in gaps(track):
            if not explained(film, track, start, 1):
                deaths.append((start + 1, k))
                if not explained(film, track, stop, -1):
                    births.append((stop, k))
            elif not explained(film, track, stop, -1):
                births.append((stop, k))
        recoloured += [(frame, k) for frame in _recoloured(track)]
        resized += [(frame, k) for frame in _resized(track)]
    recoloured += _changed_behind(film)
    seconds = sum(int(track.seen.sum()) for track in film.tracks) / film.fps
    return Permanence(
        births=tuple(births),
        deaths=tuple(deaths),
        recoloured=tuple(recoloured),
        resized=tuple(resized),
        object_minutes=seconds / 60,
    )


def gaps(track: Track) -> list[tuple[int, int]]:
    """Last frame before and first frame after every stretch in which a track is out of sight."""
    frames = np.flatnonzero(track.seen)
    return [(int(a), int(b)) for a, b in itertools.pairwise(frames) if b - a > 1]


def explained(film: Parsed, track: Track, frame: int, ahead: int) -> bool:
    """Whether a thing may be out of sight in the frame after (`ahead` 1) or before (-1) `frame`."""
    blob = track.blobs[frame]
    if blob is None:
        return False
    speed = _velocity(track, frame, -ahead)
    x, y = blob.x + speed[0] * ahead, blob.y + speed[1] * ahead
    size = track.radius
    # Reaching the edge is no excuse by itself: it must be on its way out, or in.
    if _leaves(film, x, y, size):
        return True
    # A thing goes behind another bit by bit, unless one of them is so fast that one frame is enough.
    whole = blob.area > limits.SHRINKS * np.pi * size**2
    for other in film.tracks:
        if other is track:
            continue
        cover = other.blobs[frame + ahead] if 0 <= frame + ahead < film.frames else None
        cover = cover or other.blobs[frame]
        if cover is None or cover.area < 0.5 * np.pi * size**2:
            continue
        # Who moves does not matter: a fast thing hides one that stands in a single frame as well.
        passing = np.subtract(_velocity(other, frame, ahead), speed)
        reach = max(float(np.hypot(*passing)), 1.0)
        left, top, right, bottom = cover.box
        away = max(left - x, x - right, top - y, y - bottom, 0.0)
        if whole:
            inside = left <= x <= right and top <= y + 0.5 * size and y <= bottom
            if inside and reach > 0.5 * size:
                return True
        elif away <= limits.NEARBY * size and (blob.neighbours or blob.gap <= reach + 2 * film.scale):
            return True
    return False


def _velocity(track: Track, frame: int, back: int) -> tuple[float, float]:
    """Pixels per frame, forwards in time, near `frame`, from the frames on its side `back`."""
    known = [f for f in (frame, frame + back, frame + 2 * back) if 0 <= f < len(track.seen) and track.seen[f]]
    if len(known) < 2:
        return 0.0, 0.0
    first, last = min(known), max(known)
    step = (track.centre[last] - track.centre[first]) / (last - first)
    return float(step[0]), float(step[1])


def _leaves(film: Parsed, x: float, y: float, size: float) -> bool:
    return x < 0.8 * size or y < 0.8 * size or x > film.width - 0.8 * size or y > film.height - 0.8 * size


def _recoloured(track: Track) -> list[int]:
    """Frames from which the hue is another one than at the beginning."""
    # The hue comes from the interior: being next to another thing does not disturb it.
    large = np.nan_to_num(track.area) > 0.5 * np.pi * track.radius**2
    frames = np.flatnonzero(track.seen & large)
    if len(frames) < limits.LEAST_FRAMES:
        return []
    hue = track.hue[frames]
    off = palette.hue_distance(hue, _mean_hue(hue[: max(3, len(hue) // 5)])) > limits.RECOLOUR
    # Two frames running: one alone may be a bad compression block.
    both = np.flatnonzero(off[1:] & off[:-1])
    return [int(frames[both[0]])] if len(both) else []


def _changed_behind(film: Parsed) -> list[tuple[int, int]]:
    """Things that go behind another one in one colour and come out in a different one."""
    found = []
    for k, born in enumerate(film.tracks):
        if born.first == 0 or born.border[born.first] or not explained(film, born, born.first, -1):
            continue
        for gone in film.tracks:
            hidden = gone.last < born.first and not gone.border[gone.last]
            if hidden and gone.seen.sum() > 1 and explained(film, gone, gone.last, 1):
                found.append((born.first, k))
                break
    return found


def _mean_hue(hue: np.ndarray) -> float:
    return float(np.degrees(np.angle(np.exp(1j * np.radians(hue)).mean())) % 360)


def _resized(track: Track) -> list[int]:
    """Frames at which the area jumps away from its trend, which coming nearer or turning makes."""
    frames = np.flatnonzero(track.clear)
    if len(frames) < limits.LEAST_FRAMES:
        return []
    steps = np.diff(np.log(track.area[frames])) / np.diff(frames)
    trend = ndimage.median_filter(steps, size=5, mode="nearest")
    jump = np.flatnonzero(np.abs(steps - trend) > np.log(limits.RESIZE))
    return [int(frames[jump[0] + 1])] if len(jump) else []


def permanence_of(scene: Scene) -> Permanence:
    """The same for a scene."""
    return permanence(scene.film)
