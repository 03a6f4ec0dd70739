"""What the events ask of a simulation. Every threshold has a gap: between the two answers there is none."""

from __future__ import annotations

import math

import numpy as np

from kinema.world.facts import Claim
from kinema.world.physics import Trajectory
from kinema.world.vocabulary import QUICK, SLOW

STAYED = 0.05
"""Metres: what moves less than this stays."""
MOVED = 0.18
"""Metres: what moves more than this has moved."""
RESTING = 0.05
"""Metres per second, averaged over the last quarter of a second: slower things are at rest."""
GOING = 0.25
"""Metres per second: faster things are under way."""
STANDING = 0.95
"""Cosine of the tilt up to which a thing stands."""
FALLEN = 0.7
"""Cosine of the tilt from which it has fallen."""


def travel(seen: Trajectory, entity: int, first: float = 0, last: float | None = None) -> np.ndarray:
    """Displacement between two frames, metres."""
    end = seen.frames - 1 if last is None else min(seen.frames - 1, math.ceil(last))
    return seen.position[end, entity] - seen.position[max(0, math.floor(first)), entity]


def farthest(seen: Trajectory, entity: int) -> float:
    """Largest distance from where it was in the first frame, metres."""
    return float(np.linalg.norm(seen.position[:, entity] - seen.position[0, entity], axis=1).max())


def stayed(seen: Trajectory, entity: int) -> bool | None:
    """Whether it never left its place; None where that can be seen either way."""
    far, tilt = farthest(seen, entity), float(seen.upright()[:, entity].min())
    if far < STAYED and tilt > STANDING:
        return True
    return False if far > MOVED or tilt < FALLEN else None


def final_speed(seen: Trajectory, entity: int) -> float:
    """Mean speed over the last quarter of a second, metres per second."""
    back = max(1, round(seen.fps / 4))
    path = seen.position[-1 - back :, entity]
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum() * seen.fps / back)


def fell_over(seen: Trajectory, entity: int) -> bool | None:
    """Whether it lies at the end; None where it leans."""
    end = float(seen.upright()[-1, entity])
    if end > STANDING:
        return False
    return True if end < FALLEN else None


def pace(seen: Trajectory, entity: int, until: float) -> float:
    """Mean speed from the first frame until the given moment, metres per second."""
    end = max(1, min(seen.frames - 1, math.floor(until)))
    path = seen.position[: end + 1, entity]
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum() * seen.fps / end)


def speed_claim(seen: Trajectory, entity: int, until: float) -> tuple[Claim, ...]:
    """A speed word, where the real speed earns one."""
    speed = pace(seen, entity, until)
    if SLOW < speed < QUICK:
        return ()
    return (Claim(kind="speed", subject=entity, value="slowly" if speed <= SLOW else "quickly"),)


def heading(step: np.ndarray) -> str | None:
    """left, right, away or toward for a displacement near one of them; None for a slanting one."""
    x, y = float(step[0]), float(step[1])
    if abs(x) > 2 * abs(y):
        return "right" if x > 0 else "left"
    if abs(y) > 2 * abs(x):
        return "away" if y > 0 else "toward"
    return None


def word(side: float) -> str:
    """right for positive numbers, left for negative ones."""
    return "right" if side > 0 else "left"


def pushed_claim(seen: Trajectory, entity: int, since: float) -> Claim:
    """How something was pushed, judged from its displacement since the hit."""
    direction = heading(travel(seen, entity, since))
    value = direction if direction in ("left", "right") else "away" if direction == "away" else "aside"
    return Claim(kind="pushed", subject=entity, value=value)


def aftermath(seen: Trajectory, entity: int, direction: np.ndarray, hit: float) -> tuple[Claim, ...]:
    """What becomes of the thing that hit: it bounces back, stops, or nothing worth telling."""
    later = min(seen.frames - 1, math.ceil(hit) + 1)
    back = -float((seen.position[-1, entity] - seen.position[later, entity]) @ direction)
    if back > 0.25:
        return (Claim(kind="bounces back", subject=entity),)
    if final_speed(seen, entity) < RESTING and seen.frames - 1 - hit > 4:
        return (Claim(kind="stops", subject=entity),)
    return ()


def strangers_touch(seen: Trajectory, background: set[int]) -> bool:
    """Whether something behind the scene takes part in it."""
    return any(c.a in background or c.b in background for c in seen.contacts)


SUNK = 0.1
"""Metres: a block that lies lower than at first by this much has fallen."""


def fallen(seen: Trajectory, members: list[int]) -> int | None:
    """How many of a group lie at the end, on their sides or lower than at first; None where one leans."""
    count = 0
    upright = seen.upright()[-1]
    for member in members:
        lower = float(seen.position[0, member, 2] - seen.position[-1, member, 2])
        if upright[member] < FALLEN or lower > SUNK:
            count += 1
        elif upright[member] < STANDING or lower > SUNK / 3:
            return None
    return count
