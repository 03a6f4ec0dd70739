"""Measure 3: what is to move goes the way it is told, and goes at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.evaluation import camera_geometry, thresholds
from kinema.evaluation.contact import first_contact_frame
from kinema.evaluation.matching import MatchedScene, floor_positions
from kinema.evaluation.tracking import Track, TrackedVideo

_DIRECTION_VECTORS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "away": (0.0, 1.0), "toward": (0.0, -1.0)}


@dataclass(frozen=True, kw_only=True)
class Heading:
    """Where the acting thing went."""

    travel: float
    """Net displacement in radii."""
    angle: float
    """Degrees between that and the way asked for."""

    @property
    def is_frozen(self) -> bool:
        """It did not go far enough to say that it moved."""
        return self.travel < thresholds.MIN_TRAVEL

    @property
    def is_correct(self) -> bool:
        """Far enough, and the right way."""
        return not self.is_frozen and self.angle <= thresholds.MAX_ANGLE


def own_motion_end(scene: MatchedScene, track: Track) -> int:
    """The last frame of its own way: up to the first thing that it meets, or the end."""
    if scene.prompt_spec.event != "meets":
        return track.last_frame
    met = [int(frame) for frame in np.flatnonzero(track.touching)[:1]]
    struck = scene.main_track(1)
    if scene.prompt_spec.expects_contact and struck is not None:
        # What strikes between two frames may be on its way back in the second.
        between = first_contact_frame(scene.video, track, struck)
        met += [] if between is None else [between]
    return min([track.last_frame, *(max(frame, track.first_frame + 2) for frame in met)])


def measure_heading(scene: MatchedScene, track: Track) -> Heading | None:
    """The way of one thing; None where the prompt asks for none or it is hardly seen."""
    wanted = scene.prompt_spec.direction
    if wanted is None or track.visible.sum() < thresholds.MIN_FRAMES:
        return None
    if wanted == "down":
        return _fall_heading(track)
    place = floor_positions(scene.video, track)
    frames = np.flatnonzero(track.visible & ~track.touches_border)
    frames = frames[frames <= own_motion_end(scene, track)]
    if len(frames) < 2:
        frames = np.flatnonzero(track.visible)
    step = place[frames[-1]] - place[frames[0]]
    return _heading_from_step(step, np.array(_DIRECTION_VECTORS[wanted]), camera_geometry.OBJECT_HALF_SIZE)


def _fall_heading(track: Track) -> Heading:
    frames = np.flatnonzero(track.visible)
    # What bounces comes up again: the way down is that from the first frame to the lowest point, and a
    # film that runs backwards has its lowest point first.
    lowest = frames[int(np.argmax(track.centre[frames, 1]))]
    step = track.centre[lowest] - track.centre[frames[0]]
    return _heading_from_step(step, np.array((0.0, 1.0)), track.radius)


def _heading_from_step(step: np.ndarray, expected_direction: np.ndarray, radius: float) -> Heading:
    length = float(np.linalg.norm(step))
    if not np.isfinite(length) or length == 0:
        return Heading(travel=0.0, angle=180.0)
    angle = float(np.degrees(np.arccos(np.clip(step @ expected_direction / length, -1, 1))))
    return Heading(travel=length / radius, angle=angle)


def check_direction(scene: MatchedScene) -> bool | None:
    """Whether everything that is to move goes the right way; None where the prompt asks for none."""
    if scene.prompt_spec.direction is None:
        return None
    cast = scene.tracks_by_object[0]
    if len(cast) < scene.prompt_spec.objects[0].count:
        return False
    ways = [measure_heading(scene, track) for track in cast]
    return all(way is not None and way.is_correct for way in ways)


def is_frozen(scene: MatchedScene) -> bool | None:
    """Whether what is to move stands still; None where nothing is to move."""
    if scene.prompt_spec.direction is None:
        return None
    tracks = scene.tracks_by_object[0] or scene.video.tracks
    return all(_max_displacement(scene.video, track) < thresholds.MIN_TRAVEL for track in tracks)


def _max_displacement(video: TrackedVideo, track: Track) -> float:
    """Largest distance from where it was first seen, in radii: on screen or on the floor, the larger one."""
    frames = np.flatnonzero(track.visible)
    step = track.centre[frames] - track.centre[frames[0]]
    floor = floor_positions(video, track)[frames]
    far = np.nan_to_num(np.linalg.norm(floor - floor[0], axis=1)) / camera_geometry.OBJECT_HALF_SIZE
    return float(max(np.linalg.norm(step, axis=1).max() / track.radius, far.max()))
