"""Measure 3, direction of motion: objects move in the requested direction, and move at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.evaluation import thresholds
from kinema.evaluation.camera_geometry import OBJECT_HALF_SIZE, floor_positions
from kinema.evaluation.causality import first_contact_frame
from kinema.evaluation.matching import MatchedScene
from kinema.evaluation.tracking import Track, TrackedVideo

_DIRECTION_VECTORS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "away": (0.0, 1.0), "toward": (0.0, -1.0)}


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The net displacement of an object."""

    travel: float
    """Length of the displacement in radii."""
    angle: float
    """Degrees between the displacement and the requested direction."""

    @property
    def is_frozen(self) -> bool:
        """The displacement is too short to count as motion."""
        return self.travel < thresholds.MIN_TRAVEL

    @property
    def is_correct(self) -> bool:
        """Far enough and in the requested direction."""
        return not self.is_frozen and self.angle <= thresholds.MAX_ANGLE


def own_motion_end(scene: MatchedScene, track: Track) -> int:
    """The last frame of an object's motion before it meets another object, or its last frame."""
    if scene.prompt_spec.event != "meets":
        return track.last_frame
    meetings = [int(frame) for frame in np.flatnonzero(track.touching)[:1]]
    struck = scene.main_track(1)
    if scene.prompt_spec.expects_contact and struck is not None:
        # After a collision between two frames, the second frame may already show the rebound.
        contact = first_contact_frame(scene.video, track, struck)
        meetings += [] if contact is None else [contact]
    return min([track.last_frame, *(max(frame, track.first_frame + 2) for frame in meetings)])


def measure_heading(scene: MatchedScene, track: Track) -> Heading | None:
    """The heading of one object; None where the prompt names no direction or the object is hardly visible."""
    direction = scene.prompt_spec.direction
    if direction is None or track.visible.sum() < thresholds.MIN_FRAMES:
        return None
    if direction == "down":
        return _fall_heading(track)
    positions = floor_positions(scene.video, track)
    frames = np.flatnonzero(track.visible & ~track.touches_border)
    frames = frames[frames <= own_motion_end(scene, track)]
    if len(frames) < 2:
        frames = np.flatnonzero(track.visible)
    displacement = positions[frames[-1]] - positions[frames[0]]
    return _build_heading(displacement, np.array(_DIRECTION_VECTORS[direction]), OBJECT_HALF_SIZE)


def _fall_heading(track: Track) -> Heading:
    frames = np.flatnonzero(track.visible)
    # An object that bounces comes up again, so the fall is measured from the first frame to the lowest point.
    # A reversed video has its lowest point first and fails.
    lowest = frames[int(np.argmax(track.centre[frames, 1]))]
    displacement = track.centre[lowest] - track.centre[frames[0]]
    return _build_heading(displacement, np.array((0.0, 1.0)), track.radius)


def _build_heading(displacement: np.ndarray, expected_direction: np.ndarray, radius: float) -> Heading:
    length = float(np.linalg.norm(displacement))
    if not np.isfinite(length) or length == 0:
        return Heading(travel=0.0, angle=180.0)
    angle = float(np.degrees(np.arccos(np.clip(displacement @ expected_direction / length, -1, 1))))
    return Heading(travel=length / radius, angle=angle)


def check_direction(scene: MatchedScene) -> bool | None:
    """Whether every object that should move goes in the requested direction; None without a direction."""
    if scene.prompt_spec.direction is None:
        return None
    tracks = scene.tracks_by_object[0]
    if len(tracks) < scene.prompt_spec.objects[0].count:
        return False
    headings = [measure_heading(scene, track) for track in tracks]
    return all(heading is not None and heading.is_correct for heading in headings)


def is_frozen(scene: MatchedScene) -> bool | None:
    """Whether an object that should move stands still; None where the prompt asks for no motion."""
    if scene.prompt_spec.direction is None:
        return None
    tracks = scene.tracks_by_object[0] or scene.video.tracks
    return all(max_displacement(scene.video, track) < thresholds.MIN_TRAVEL for track in tracks)


def max_displacement(video: TrackedVideo, track: Track) -> float:
    """Largest distance from the first position in radii: on screen or on the floor, whichever is larger."""
    frames = np.flatnonzero(track.visible)
    displacement = track.centre[frames] - track.centre[frames[0]]
    floor = floor_positions(video, track)[frames]
    on_floor = np.nan_to_num(np.linalg.norm(floor - floor[0], axis=1)) / OBJECT_HALF_SIZE
    return float(max(np.linalg.norm(displacement, axis=1).max() / track.radius, on_floor.max()))
