"""Measure 6: what is hit moves, what is missed does not, and nothing moves before it is touched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kinema.evaluate import contact as contacts
from kinema.evaluate import limits, room
from kinema.evaluate.scene import Scene, on_floor
from kinema.evaluate.tracks import Parsed, Track


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """What became of one thing that was sent at another. Frames; None where it did not happen."""

    contact: int | None
    """The first frame in which they touch on screen."""
    responds: int | None
    """The first frame in which the struck thing has moved."""
    deflected: bool
    """Whether the striking thing lost or turned its velocity at the contact."""
    early: bool
    """The struck thing moved before it was touched."""
    missed: bool
    """They were to touch, and did not."""
    passed: bool
    """One went through the other."""
    disturbed: bool
    """They were not to touch, and the second thing moved all the same."""
    energy: float
    """Kinetic energy after the contact over that before, for equal masses: above 1 it came from nowhere. NaN
    where they do not meet, or too near the film's ends."""
    momentum: float = np.nan
    """Momentum gone astray over that handed on, for the masses that explain most; see `momentum_error`."""

    def right(self) -> bool:
        """Nothing of all that went wrong."""
        return not (self.early or self.missed or self.passed or self.disturbed)


def meeting(scene: Scene) -> Meeting | None:
    """Judge a prompt in which one thing is sent at another; None for other prompts."""
    if scene.meaning.story != "meets":
        return None
    one, two = scene.main(0), scene.main(1)
    wanted = scene.meaning.strikes
    if one is None or two is None:
        return Meeting(
            contact=None, responds=None, deflected=False, early=False, missed=wanted, passed=False,
            disturbed=False, energy=np.nan,
        )  # fmt: skip
    contact = contacts.contact(scene.film, one, two)
    responds = _moves(two)
    deflected = contact is not None and _deflected(scene.film, one, two, contact)
    touched = contact is not None and (responds is not None or deflected)
    early = responds is not None and (contact is None or responds < contact)
    return Meeting(
        contact=contact,
        responds=responds,
        deflected=deflected,
        early=early,
        missed=wanted and not touched,
        passed=wanted and contact is not None and not deflected and responds is None,
        disturbed=not wanted and responds is not None,
        energy=_energy(scene.film, one, two, contact),
        momentum=_momentum(scene.film, one, two, contact) if touched else np.nan,
    )


def _moves(track: Track) -> int | None:
    """The first frame in which a thing that leaves its place for good has left it; None if it stays."""
    frames = np.flatnonzero(track.seen)
    if len(frames) < limits.LEAST_FRAMES:
        return None
    place = np.median(track.centre[frames[:3]], axis=0)
    away = np.linalg.norm(track.centre[frames] - place, axis=1) / track.radius
    # Next to another thing the outline is cut, and the centroid shifts without any motion.
    partly = track.touching[frames]
    covered = track.area[frames] < limits.COVERED * np.pi * track.radius**2
    free = (away > limits.RESPONDS) & (~partly | (away > 2.5 * limits.RESPONDS)) & ~(partly & covered)
    lasting = free[:-1] & free[1:]
    if lasting.any():
        first = int(np.argmax(lasting))
    elif free[-1] and not partly[-1]:
        first = len(frames) - 1
    else:
        return None
    # What slides slowly was on its way before it had gone that far.
    while first and away[first - 1] > limits.ONSET and not partly[first - 1]:
        first -= 1
    return int(frames[first])


def _partly(track: Track, frame: int) -> bool:
    blob = track.blobs[frame]
    return blob is not None and bool(blob.neighbours) and blob.area < 0.93 * np.pi * track.radius**2


def _deflected(film: Parsed, one: Track, two: Track, contact: int) -> bool:
    """Whether it is, after the contact, not where its velocity on the floor would have taken it.

    Only frames count in which it is seen whole: what goes behind another thing seems to slow down. If it is
    never seen whole again, it passed if it is on the far side, and was stopped if it is not.
    """
    place = on_floor(film, one)
    span = max(3, round(film.fps / 3))
    good = [f for f in np.flatnonzero(one.seen & ~one.border) if not _partly(one, int(f))]
    frames = np.array(good, dtype=int)
    before, after = frames[frames <= contact][-span:], frames[frames > contact + 1][:span]
    if len(before) < 2:
        before = frames[:3]
    if len(before) < 2:
        return False
    way = place[before[-1]] - place[before[0]]
    if not len(after):
        ends = place[one.last] - on_floor(film, two)[two.last]
        return bool(np.dot(ends, way) < 0)
    step = way / (before[-1] - before[0])
    steps = (after - before[-1])[:, None]
    astray = np.linalg.norm(place[after] - (place[before[-1]] + steps * step), axis=1)
    return bool(astray[-1] > limits.DEFLECTS * np.linalg.norm(step) * steps[-1, 0])


def _energy(film: Parsed, one: Track, two: Track, contact: int | None) -> float:
    changes = _changes(film, (one, two), contact)
    if changes is None:
        return np.nan
    before, after = (float((velocity**2).sum()) for velocity in changes)
    return after / before if before > (0.02 * room.EXTENT) ** 2 else np.nan


def _momentum(film: Parsed, one: Track, two: Track, contact: int | None) -> float:
    changes = _changes(film, (one, two), contact)
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
    if given < (0.02 * room.EXTENT) ** 2:
        return np.nan
    share = max(0.0, -float(one @ two) / taken) if taken > 0 else 0.0
    return float(np.linalg.norm(one + share * two)) / given**0.5


def _changes(
    film: Parsed, pair: tuple[Track, Track], contact: int | None
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2 2"]] | None:
    """The velocities of both things before and after they touch; None too near the film's ends."""
    if contact is None or contact < 2 or contact > film.frames - 4:
        return None
    before = np.stack([_velocity(film, t, max(0, contact - 3), contact) for t in pair])
    return before, np.stack([_velocity(film, t, contact + 1, contact + 4) for t in pair])


def _velocity(film: Parsed, track: Track, first: int, last: int) -> Float[np.ndarray, "2"]:
    """Metres per frame on the floor between two frames."""
    frames = np.flatnonzero(track.seen)
    frames = frames[(frames >= first) & (frames <= last)]
    if len(frames) < 2:
        return np.zeros(2)
    place = on_floor(film, track)
    return np.nan_to_num(place[frames[-1]] - place[frames[0]]) / (frames[-1] - frames[0])
