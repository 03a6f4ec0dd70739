"""Measure 6: what is hit moves, what is missed does not, and nothing moves before it is touched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kinema.evaluation import camera_geometry, thresholds
from kinema.evaluation import contact as contacts
from kinema.evaluation.matching import MatchedScene, floor_positions
from kinema.evaluation.tracking import Track, TrackedVideo


@dataclass(frozen=True, kw_only=True)
class Collision:
    """What became of one thing that was sent at another. Frames; None where it did not happen."""

    contact_frame: int | None
    """The first frame in which they touch on screen."""
    response_frame: int | None
    """The first frame in which the struck thing has moved."""
    deflected: bool
    """Whether the striking thing lost or turned its velocity at the contact."""
    moved_before_contact: bool
    """The struck thing moved before it was touched."""
    missed_contact: bool
    """They were to touch, and did not."""
    passed_through: bool
    """One went through the other."""
    moved_without_contact: bool
    """They were not to touch, and the second thing moved all the same."""
    energy_ratio: float
    """Kinetic energy after the contact over that before, for equal masses: above 1 it came from nowhere. NaN
    where they do not meet, or too near the film's ends."""
    momentum_error: float = np.nan
    """Momentum gone astray over that handed on, for the masses that explain most; see `momentum_error`."""

    def is_correct(self) -> bool:
        """Nothing of all that went wrong."""
        return not (
            self.moved_before_contact
            or self.missed_contact
            or self.passed_through
            or self.moved_without_contact
        )


def measure_collision(scene: MatchedScene) -> Collision | None:
    """Judge a prompt in which one thing is sent at another; None for other prompts."""
    if scene.prompt_spec.event != "meets":
        return None
    one, two = scene.main_track(0), scene.main_track(1)
    wanted = scene.prompt_spec.expects_contact
    if one is None or two is None:
        return Collision(
            contact_frame=None, response_frame=None, deflected=False, moved_before_contact=False, missed_contact=wanted, passed_through=False,
            moved_without_contact=False, energy_ratio=np.nan,
        )  # fmt: skip
    contact = contacts.first_contact_frame(scene.video, one, two)
    responds = _response_frame(two)
    deflected = contact is not None and _is_deflected(scene.video, one, two, contact)
    touched = contact is not None and (responds is not None or deflected)
    early = responds is not None and (contact is None or responds < contact)
    return Collision(
        contact_frame=contact,
        response_frame=responds,
        deflected=deflected,
        moved_before_contact=early,
        missed_contact=wanted and not touched,
        passed_through=wanted and contact is not None and not deflected and responds is None,
        moved_without_contact=not wanted and responds is not None,
        energy_ratio=_energy_ratio(scene.video, one, two, contact),
        momentum_error=_collision_momentum_error(scene.video, one, two, contact) if touched else np.nan,
    )


def _response_frame(track: Track) -> int | None:
    """The first frame in which a thing that leaves its place for good has left it; None if it stays."""
    frames = np.flatnonzero(track.visible)
    if len(frames) < thresholds.MIN_FRAMES:
        return None
    place = np.median(track.centre[frames[:3]], axis=0)
    away = np.linalg.norm(track.centre[frames] - place, axis=1) / track.radius
    # Next to another thing the outline is cut, and the centroid shifts without any motion.
    partly = track.touching[frames]
    covered = track.area[frames] < thresholds.MIN_VISIBLE_AREA * np.pi * track.radius**2
    free = (
        (away > thresholds.MIN_RESPONSE)
        & (~partly | (away > 2.5 * thresholds.MIN_RESPONSE))
        & ~(partly & covered)
    )
    lasting = free[:-1] & free[1:]
    if lasting.any():
        first = int(np.argmax(lasting))
    elif free[-1] and not partly[-1]:
        first = len(frames) - 1
    else:
        return None
    # What slides slowly was on its way before it had gone that far.
    while first and away[first - 1] > thresholds.MOTION_ONSET and not partly[first - 1]:
        first -= 1
    return int(frames[first])


def _is_partly_occluded(track: Track, frame: int) -> bool:
    blob = track.blobs[frame]
    return blob is not None and bool(blob.neighbours) and blob.area < 0.93 * np.pi * track.radius**2


def _is_deflected(video: TrackedVideo, one: Track, two: Track, contact_frame: int) -> bool:
    """Whether it is, after the contact, not where its velocity on the floor would have taken it.

    Only frames count in which it is seen whole: what goes behind another thing seems to slow down. If it is
    never seen whole again, it passed if it is on the far side, and was stopped if it is not.
    """
    place = floor_positions(video, one)
    span = max(3, round(video.fps / 3))
    good = [
        f for f in np.flatnonzero(one.visible & ~one.touches_border) if not _is_partly_occluded(one, int(f))
    ]
    frames = np.array(good, dtype=int)
    before, after = frames[frames <= contact_frame][-span:], frames[frames > contact_frame + 1][:span]
    if len(before) < 2:
        before = frames[:3]
    if len(before) < 2:
        return False
    way = place[before[-1]] - place[before[0]]
    if not len(after):
        ends = place[one.last_frame] - floor_positions(video, two)[two.last_frame]
        return bool(np.dot(ends, way) < 0)
    step = way / (before[-1] - before[0])
    steps = (after - before[-1])[:, None]
    astray = np.linalg.norm(place[after] - (place[before[-1]] + steps * step), axis=1)
    return bool(astray[-1] > thresholds.MIN_DEFLECTION * np.linalg.norm(step) * steps[-1, 0])


def _energy_ratio(video: TrackedVideo, one: Track, two: Track, contact_frame: int | None) -> float:
    changes = _velocities_around_contact(video, (one, two), contact_frame)
    if changes is None:
        return np.nan
    before, after = (float((velocity**2).sum()) for velocity in changes)
    return after / before if before > (0.02 * camera_geometry.OBJECT_HALF_SIZE) ** 2 else np.nan


def _collision_momentum_error(
    video: TrackedVideo, one: Track, two: Track, contact_frame: int | None
) -> float:
    changes = _velocities_around_contact(video, (one, two), contact_frame)
    if changes is None:
        return np.nan
    gained = changes[1] - changes[0]
    return momentum_error(gained[0], gained[1])


def momentum_error(one: Float[np.ndarray, "2"], two: Float[np.ndarray, "2"]) -> float:
    """How much of one thing's change of velocity the other's does not answer: 0 to 1; NaN without a change.

    No film tells masses, so the ratio of the two is the one that leaves least: what counts is that the
    things push each other in opposite directions.
    """
    given, taken = float(one @ one), float(two @ two)
    if given < (0.02 * camera_geometry.OBJECT_HALF_SIZE) ** 2:
        return np.nan
    share = max(0.0, -float(one @ two) / taken) if taken > 0 else 0.0
    return float(np.linalg.norm(one + share * two)) / given**0.5


def _velocities_around_contact(
    video: TrackedVideo, pair: tuple[Track, Track], contact_frame: int | None
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2 2"]] | None:
    """The velocities of both things before and after they touch; None too near the film's ends."""
    if contact_frame is None or contact_frame < 2 or contact_frame > video.num_frames - 4:
        return None
    before = np.stack([_floor_velocity(video, t, max(0, contact_frame - 3), contact_frame) for t in pair])
    return before, np.stack([_floor_velocity(video, t, contact_frame + 1, contact_frame + 4) for t in pair])


def _floor_velocity(video: TrackedVideo, track: Track, first: int, last: int) -> Float[np.ndarray, "2"]:
    """Metres per frame on the floor between two frames."""
    frames = np.flatnonzero(track.visible)
    frames = frames[(frames >= first) & (frames <= last)]
    if len(frames) < 2:
        return np.zeros(2)
    place = floor_positions(video, track)
    return np.nan_to_num(place[frames[-1]] - place[frames[0]]) / (frames[-1] - frames[0])
