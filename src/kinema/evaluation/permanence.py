"""Measure 5: things neither come out of nothing nor go into it, and keep their colour and size."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from kinema.evaluation import palette, thresholds
from kinema.evaluation.matching import MatchedScene
from kinema.evaluation.tracking import Track, TrackedVideo


@dataclass(frozen=True, kw_only=True)
class PermanenceEvents:
    """Events that neither the edge of the picture nor another thing explains, as frame and track."""

    births: tuple[tuple[int, int], ...]
    deaths: tuple[tuple[int, int], ...]
    colour_changes: tuple[tuple[int, int], ...]
    size_changes: tuple[tuple[int, int], ...]
    object_minutes: float

    @property
    def num_faults(self) -> int:
        """All of them together."""
        return len(self.births) + len(self.deaths) + len(self.colour_changes) + len(self.size_changes)

    @property
    def first_lost_frame(self) -> int | None:
        """The first frame in which something is gone without a reason; None if nothing is."""
        return min((frame for frame, _ in self.deaths), default=None)


def measure_permanence(video: TrackedVideo) -> PermanenceEvents:
    """Look for things that pop up, vanish, change colour or change size."""
    births, deaths, recoloured, resized = [], [], [], []
    for k, track in enumerate(video.tracks):
        if track.first_frame > 0 and not is_explained(video, track, track.first_frame, -1):
            births.append((track.first_frame, k))
        if track.last_frame < video.num_frames - 1 and not is_explained(video, track, track.last_frame, 1):
            deaths.append((track.last_frame + 1, k))
        for start, stop in visibility_gaps(track):
            if not is_explained(video, track, start, 1):
                deaths.append((start + 1, k))
                if not is_explained(video, track, stop, -1):
                    births.append((stop, k))
            elif not is_explained(video, track, stop, -1):
                births.append((stop, k))
        recoloured += [(frame, k) for frame in _colour_change_frames(track)]
        resized += [(frame, k) for frame in _size_change_frames(track)]
    recoloured += _changed_while_occluded(video)
    seconds = sum(int(track.visible.sum()) for track in video.tracks) / video.fps
    return PermanenceEvents(
        births=tuple(births),
        deaths=tuple(deaths),
        colour_changes=tuple(recoloured),
        size_changes=tuple(resized),
        object_minutes=seconds / 60,
    )


def visibility_gaps(track: Track) -> list[tuple[int, int]]:
    """Last frame before and first frame after every stretch in which a track is out of sight."""
    frames = np.flatnonzero(track.visible)
    return [(int(a), int(b)) for a, b in itertools.pairwise(frames) if b - a > 1]


def is_explained(video: TrackedVideo, track: Track, frame: int, time_step: int) -> bool:
    """Whether a thing may be out of sight in the frame after (`time_step` 1) or before (-1) `frame`."""
    blob = track.blobs[frame]
    if blob is None:
        return False
    speed = _screen_velocity(track, frame, -time_step)
    x, y = blob.x + speed[0] * time_step, blob.y + speed[1] * time_step
    size = track.radius
    # Reaching the edge is no excuse by itself: it must be on its way out, or in.
    if _leaves_frame(video, x, y, size):
        return True
    # A thing goes behind another bit by bit, unless one of them is so fast that one frame is enough.
    whole = blob.area > thresholds.OCCLUSION_AREA_RATIO * np.pi * size**2
    for other in video.tracks:
        if other is track:
            continue
        cover = other.blobs[frame + time_step] if 0 <= frame + time_step < video.num_frames else None
        cover = cover or other.blobs[frame]
        if cover is None or cover.area < 0.5 * np.pi * size**2:
            continue
        # Who moves does not matter: a fast thing hides one that stands in a single frame as well.
        passing = np.subtract(_screen_velocity(other, frame, time_step), speed)
        reach = max(float(np.hypot(*passing)), 1.0)
        left, top, right, bottom = cover.box
        away = max(left - x, x - right, top - y, y - bottom, 0.0)
        if whole:
            inside = left <= x <= right and top <= y + 0.5 * size and y <= bottom
            if inside and reach > 0.5 * size:
                return True
        elif away <= thresholds.MAX_OCCLUDER_DISTANCE * size and (
            blob.neighbours or blob.gap <= reach + 2 * video.scale
        ):
            return True
    return False


def _screen_velocity(track: Track, frame: int, time_step: int) -> tuple[float, float]:
    """Pixels per frame, forwards in time, near `frame`, from the frames on its side `time_step`."""
    known = [
        f
        for f in (frame, frame + time_step, frame + 2 * time_step)
        if 0 <= f < len(track.visible) and track.visible[f]
    ]
    if len(known) < 2:
        return 0.0, 0.0
    first, last = min(known), max(known)
    step = (track.centre[last] - track.centre[first]) / (last - first)
    return float(step[0]), float(step[1])


def _leaves_frame(video: TrackedVideo, x: float, y: float, radius: float) -> bool:
    return (
        x < 0.8 * radius
        or y < 0.8 * radius
        or x > video.width - 0.8 * radius
        or y > video.height - 0.8 * radius
    )


def _colour_change_frames(track: Track) -> list[int]:
    """Frames from which the hue is another one than at the beginning."""
    # The hue comes from the interior: being next to another thing does not disturb it.
    large = np.nan_to_num(track.area) > 0.5 * np.pi * track.radius**2
    frames = np.flatnonzero(track.visible & large)
    if len(frames) < thresholds.MIN_FRAMES:
        return []
    hue = track.hue[frames]
    off = palette.hue_distance(hue, _mean_hue(hue[: max(3, len(hue) // 5)])) > thresholds.MAX_HUE_CHANGE
    # Two frames running: one alone may be a bad compression block.
    both = np.flatnonzero(off[1:] & off[:-1])
    return [int(frames[both[0]])] if len(both) else []


def _changed_while_occluded(video: TrackedVideo) -> list[tuple[int, int]]:
    """Things that go behind another one in one colour and come out in a different one."""
    found = []
    for k, born in enumerate(video.tracks):
        if (
            born.first_frame == 0
            or born.touches_border[born.first_frame]
            or not is_explained(video, born, born.first_frame, -1)
        ):
            continue
        for gone in video.tracks:
            hidden = gone.last_frame < born.first_frame and not gone.touches_border[gone.last_frame]
            if hidden and gone.visible.sum() > 1 and is_explained(video, gone, gone.last_frame, 1):
                found.append((born.first_frame, k))
                break
    return found


def _mean_hue(hue: np.ndarray) -> float:
    return float(np.degrees(np.angle(np.exp(1j * np.radians(hue)).mean())) % 360)


def _size_change_frames(track: Track) -> list[int]:
    """Frames at which the area jumps away from its trend, which coming nearer or turning makes."""
    frames = np.flatnonzero(track.clearly_visible)
    if len(frames) < thresholds.MIN_FRAMES:
        return []
    steps = np.diff(np.log(track.area[frames])) / np.diff(frames)
    trend = ndimage.median_filter(steps, size=5, mode="nearest")
    jump = np.flatnonzero(np.abs(steps - trend) > np.log(thresholds.MAX_AREA_JUMP))
    return [int(frames[jump[0] + 1])] if len(jump) else []


def measure_scene_permanence(scene: MatchedScene) -> PermanenceEvents:
    """The same for a scene."""
    return measure_permanence(scene.video)
