"""Measure 5, object permanence: objects do not appear, disappear, or change colour or size without a
reason."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from kinema.evaluation import palette, thresholds
from kinema.evaluation.tracking import Track, TrackedVideo


@dataclass(frozen=True, kw_only=True)
class PermanenceEvents:
    """Events, as (frame, track index), that neither the image border nor an occluder explains."""

    births: tuple[tuple[int, int], ...]
    deaths: tuple[tuple[int, int], ...]
    colour_changes: tuple[tuple[int, int], ...]
    size_changes: tuple[tuple[int, int], ...]
    object_minutes: float

    @property
    def num_faults(self) -> int:
        """The number of events of every kind."""
        return len(self.births) + len(self.deaths) + len(self.colour_changes) + len(self.size_changes)

    @property
    def first_lost_frame(self) -> int | None:
        """The first frame in which an object is missing without a reason; None if there is none."""
        return min((frame for frame, _ in self.deaths), default=None)


def measure_permanence(video: TrackedVideo) -> PermanenceEvents:
    """Find objects that appear, disappear, change colour or change size."""
    births, deaths, colour_changes, size_changes = [], [], [], []
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
        colour_changes += [(frame, k) for frame in _colour_change_frames(track)]
        size_changes += [(frame, k) for frame in _size_change_frames(track)]
    colour_changes += _changed_while_occluded(video)
    seconds = sum(int(track.visible.sum()) for track in video.tracks) / video.fps
    return PermanenceEvents(
        births=tuple(births),
        deaths=tuple(deaths),
        colour_changes=tuple(colour_changes),
        size_changes=tuple(size_changes),
        object_minutes=seconds / 60,
    )


def visibility_gaps(track: Track) -> list[tuple[int, int]]:
    """The last frame before and the first frame after every interval in which an object is not visible."""
    frames = np.flatnonzero(track.visible)
    return [(int(a), int(b)) for a, b in itertools.pairwise(frames) if b - a > 1]


def is_explained(video: TrackedVideo, track: Track, frame: int, time_step: int) -> bool:
    """Whether an object may be invisible next to a frame: it leaves the image or goes behind another object.

    Args:
        video: the whole video, for possible occluders.
        track: the object.
        frame: a frame in which it is visible.
        time_step: 1 if it is invisible in the next frame, -1 if it was in the previous frame.
    """
    blob = track.blobs[frame]
    if blob is None:
        return False
    velocity = _screen_velocity(track, frame, -time_step)
    x, y = blob.x + velocity[0] * time_step, blob.y + velocity[1] * time_step
    radius = track.radius
    # Touching the border explains nothing: the object has to be on its way out of, or into, the image.
    if _leaves_frame(video, x, y, radius):
        return True
    # An occlusion is gradual, unless one of the objects is so fast that it takes a single frame.
    has_full_size = blob.area > thresholds.OCCLUSION_AREA_RATIO * np.pi * radius**2
    for other in video.tracks:
        if other is track:
            continue
        occluder = other.blobs[frame + time_step] if 0 <= frame + time_step < video.num_frames else None
        occluder = occluder or other.blobs[frame]
        if occluder is None or occluder.area < 0.5 * np.pi * radius**2:
            continue
        # Only the relative velocity matters: a fast object also hides a static one within one frame.
        relative_velocity = np.subtract(_screen_velocity(other, frame, time_step), velocity)
        reach = max(float(np.hypot(*relative_velocity)), 1.0)
        left, top, right, bottom = occluder.box
        distance = max(left - x, x - right, top - y, y - bottom, 0.0)
        if has_full_size:
            is_behind = left <= x <= right and top <= y + 0.5 * radius and y <= bottom
            if is_behind and reach > 0.5 * radius:
                return True
        elif distance <= thresholds.MAX_OCCLUDER_DISTANCE * radius and (
            blob.neighbours or blob.gap <= reach + 2 * video.scale
        ):
            return True
    return False


def _screen_velocity(track: Track, frame: int, time_step: int) -> tuple[float, float]:
    """Pixels per frame, forward in time, from `frame` and the two frames on its side `time_step`."""
    frames = [
        f
        for f in (frame, frame + time_step, frame + 2 * time_step)
        if 0 <= f < len(track.visible) and track.visible[f]
    ]
    if len(frames) < 2:
        return 0.0, 0.0
    first, last = min(frames), max(frames)
    velocity = (track.centre[last] - track.centre[first]) / (last - first)
    return float(velocity[0]), float(velocity[1])


def _leaves_frame(video: TrackedVideo, x: float, y: float, radius: float) -> bool:
    return (
        x < 0.8 * radius
        or y < 0.8 * radius
        or x > video.width - 0.8 * radius
        or y > video.height - 0.8 * radius
    )


def _colour_change_frames(track: Track) -> list[int]:
    """The frame from which the hue differs from that at the beginning; empty if it never does."""
    # The hue is measured in the interior, so a neighbouring object does not disturb it.
    is_large = np.nan_to_num(track.area) > 0.5 * np.pi * track.radius**2
    frames = np.flatnonzero(track.visible & is_large)
    if len(frames) < thresholds.MIN_FRAMES:
        return []
    hue = track.hue[frames]
    initial_hue = palette.mean_hue(hue[: max(3, len(hue) // 5)])
    differs = palette.hue_distance(hue, initial_hue) > thresholds.MAX_HUE_CHANGE
    # Two consecutive frames are needed: a single one may be a compression artefact.
    both = np.flatnonzero(differs[1:] & differs[:-1])
    return [int(frames[both[0]])] if len(both) else []


def _changed_while_occluded(video: TrackedVideo) -> list[tuple[int, int]]:
    """Objects that go behind another one in one colour and emerge in another."""
    changes = []
    for k, emerging in enumerate(video.tracks):
        if (
            emerging.first_frame == 0
            or emerging.touches_border[emerging.first_frame]
            or not is_explained(video, emerging, emerging.first_frame, -1)
        ):
            continue
        for lost in video.tracks:
            is_hidden = lost.last_frame < emerging.first_frame and not lost.touches_border[lost.last_frame]
            if is_hidden and lost.visible.sum() > 1 and is_explained(video, lost, lost.last_frame, 1):
                changes.append((emerging.first_frame, k))
                break
    return changes


def _size_change_frames(track: Track) -> list[int]:
    """The first frame at which the area jumps away from its trend; approach and rotation change the trend."""
    frames = np.flatnonzero(track.clearly_visible)
    if len(frames) < thresholds.MIN_FRAMES:
        return []
    changes = np.diff(np.log(track.area[frames])) / np.diff(frames)
    trend = ndimage.median_filter(changes, size=5, mode="nearest")
    jumps = np.flatnonzero(np.abs(changes - trend) > np.log(thresholds.MAX_AREA_JUMP))
    return [int(frames[jumps[0] + 1])] if len(jumps) else []
