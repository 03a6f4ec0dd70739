"""Measure 3: what is to move goes the way it is told, and goes at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.evaluate import limits, room
from kinema.evaluate.contact import contact
from kinema.evaluate.scene import Scene, on_floor
from kinema.evaluate.tracks import Parsed, Track

_WAYS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "away": (0.0, 1.0), "toward": (0.0, -1.0)}


@dataclass(frozen=True, kw_only=True)
class Heading:
    """Where the acting thing went."""

    travel: float
    """Net displacement in radii."""
    angle: float
    """Degrees between that and the way asked for."""

    @property
    def frozen(self) -> bool:
        """It did not go far enough to say that it moved."""
        return self.travel < limits.TRAVEL

    @property
    def right(self) -> bool:
        """Far enough, and the right way."""
        return not self.frozen and self.angle <= limits.ANGLE


def until(scene: Scene, track: Track) -> int:
    """The last frame of its own way: up to the first thing that it meets, or the end."""
    if scene.meaning.story != "meets":
        return track.last
    met = [int(frame) for frame in np.flatnonzero(track.touching)[:1]]
    struck = scene.main(1)
    if scene.meaning.strikes and struck is not None:
        # What strikes between two frames may be on its way back in the second.
        between = contact(scene.film, track, struck)
        met += [] if between is None else [between]
    return min([track.last, *(max(frame, track.first + 2) for frame in met)])


def heading(scene: Scene, track: Track) -> Heading | None:
    """The way of one thing; None where the prompt asks for none or it is hardly seen."""
    wanted = scene.meaning.direction
    if wanted is None or track.seen.sum() < limits.LEAST_FRAMES:
        return None
    if wanted == "down":
        return _fall(track)
    place = on_floor(scene.film, track)
    frames = np.flatnonzero(track.seen & ~track.border)
    frames = frames[frames <= until(scene, track)]
    if len(frames) < 2:
        frames = np.flatnonzero(track.seen)
    step = place[frames[-1]] - place[frames[0]]
    return _heading(step, np.array(_WAYS[wanted]), room.EXTENT)


def _fall(track: Track) -> Heading:
    frames = np.flatnonzero(track.seen)
    # What bounces comes up again: the way down is that from the first frame to the lowest point, and a
    # film that runs backwards has its lowest point first.
    lowest = frames[int(np.argmax(track.centre[frames, 1]))]
    step = track.centre[lowest] - track.centre[frames[0]]
    return _heading(step, np.array((0.0, 1.0)), track.radius)


def _heading(step: np.ndarray, way: np.ndarray, radius: float) -> Heading:
    length = float(np.linalg.norm(step))
    if not np.isfinite(length) or length == 0:
        return Heading(travel=0.0, angle=180.0)
    angle = float(np.degrees(np.arccos(np.clip(step @ way / length, -1, 1))))
    return Heading(travel=length / radius, angle=angle)


def direction(scene: Scene) -> bool | None:
    """Whether everything that is to move goes the right way; None where the prompt asks for none."""
    if scene.meaning.direction is None:
        return None
    cast = scene.cast[0]
    if len(cast) < scene.meaning.things[0].count:
        return False
    ways = [heading(scene, track) for track in cast]
    return all(way is not None and way.right for way in ways)


def frozen(scene: Scene) -> bool | None:
    """Whether what is to move stands still; None where nothing is to move."""
    if scene.meaning.direction is None:
        return None
    tracks = scene.cast[0] or scene.film.tracks
    return all(_strays(scene.film, track) < limits.TRAVEL for track in tracks)


def _strays(film: Parsed, track: Track) -> float:
    """Largest distance from where it was first seen, in radii: on screen or on the floor, the larger one."""
    frames = np.flatnonzero(track.seen)
    step = track.centre[frames] - track.centre[frames[0]]
    floor = on_floor(film, track)[frames]
    far = np.nan_to_num(np.linalg.norm(floor - floor[0], axis=1)) / room.EXTENT
    return float(max(np.linalg.norm(step, axis=1).max() / track.radius, far.max()))
