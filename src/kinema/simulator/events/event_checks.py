"""What the events ask of a simulation. Every threshold has a gap: between the two answers there is none."""

from __future__ import annotations

import math

import numpy as np

from kinema.simulator.annotations import Claim
from kinema.simulator.attributes import QUICK_SPEED, SLOW_SPEED
from kinema.simulator.physics import Trajectory

MAX_STATIONARY_DISTANCE = 0.05
"""Metres: what moves less than this stays."""
MIN_MOVED_DISTANCE = 0.18
"""Metres: what moves more than this has moved."""
MAX_REST_SPEED = 0.05
"""Metres per second, averaged over the last quarter of a second: slower things are at rest."""
MIN_MOVING_SPEED = 0.25
"""Metres per second: faster things are under way."""
MIN_STANDING_COSINE = 0.95
"""Cosine of the tilt up to which a thing stands."""
MAX_FALLEN_COSINE = 0.7
"""Cosine of the tilt from which it has fallen."""


def displacement(
    trajectory: Trajectory, entity: int, first: float = 0, last: float | None = None
) -> np.ndarray:
    """Displacement between two frames, metres."""
    end = trajectory.num_frames - 1 if last is None else min(trajectory.num_frames - 1, math.ceil(last))
    return trajectory.position[end, entity] - trajectory.position[max(0, math.floor(first)), entity]


def max_displacement(trajectory: Trajectory, entity: int) -> float:
    """Largest distance from where it was in the first frame, metres."""
    return float(
        np.linalg.norm(trajectory.position[:, entity] - trajectory.position[0, entity], axis=1).max()
    )


def is_stationary(trajectory: Trajectory, entity: int) -> bool | None:
    """Whether it never left its place; None where that can be seen either way."""
    far, tilt = max_displacement(trajectory, entity), float(trajectory.upright()[:, entity].min())
    if far < MAX_STATIONARY_DISTANCE and tilt > MIN_STANDING_COSINE:
        return True
    return False if far > MIN_MOVED_DISTANCE or tilt < MAX_FALLEN_COSINE else None


def final_speed(trajectory: Trajectory, entity: int) -> float:
    """Mean speed over the last quarter of a second, metres per second."""
    back = max(1, round(trajectory.fps / 4))
    path = trajectory.position[-1 - back :, entity]
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum() * trajectory.fps / back)


def has_fallen_over(trajectory: Trajectory, entity: int) -> bool | None:
    """Whether it lies at the end; None where it leans."""
    end = float(trajectory.upright()[-1, entity])
    if end > MIN_STANDING_COSINE:
        return False
    return True if end < MAX_FALLEN_COSINE else None


def mean_speed(trajectory: Trajectory, entity: int, end_frame: float) -> float:
    """Mean speed from the first frame until the given moment, metres per second."""
    end = max(1, min(trajectory.num_frames - 1, math.floor(end_frame)))
    path = trajectory.position[: end + 1, entity]
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum() * trajectory.fps / end)


def speed_claims(trajectory: Trajectory, entity: int, end_frame: float) -> tuple[Claim, ...]:
    """A speed word, where the real speed earns one."""
    speed = mean_speed(trajectory, entity, end_frame)
    if SLOW_SPEED < speed < QUICK_SPEED:
        return ()
    return (Claim(kind="speed", subject=entity, value="slowly" if speed <= SLOW_SPEED else "quickly"),)


def cardinal_direction(step: np.ndarray) -> str | None:
    """left, right, away or toward for a displacement near one of them; None for a slanting one."""
    x, y = float(step[0]), float(step[1])
    if abs(x) > 2 * abs(y):
        return "right" if x > 0 else "left"
    if abs(y) > 2 * abs(x):
        return "away" if y > 0 else "toward"
    return None


def side_name(side: float) -> str:
    """right for positive numbers, left for negative ones."""
    return "right" if side > 0 else "left"


def pushed_claim(trajectory: Trajectory, entity: int, hit_frame: float) -> Claim:
    """How something was pushed, judged from its displacement since the hit."""
    direction = cardinal_direction(displacement(trajectory, entity, hit_frame))
    value = direction if direction in ("left", "right") else "away" if direction == "away" else "aside"
    return Claim(kind="pushed", subject=entity, value=value)


def aftermath_claims(
    trajectory: Trajectory, entity: int, direction: np.ndarray, hit_frame: float
) -> tuple[Claim, ...]:
    """What becomes of the thing that hit: it bounces back, stops, or nothing worth telling."""
    later = min(trajectory.num_frames - 1, math.ceil(hit_frame) + 1)
    back = -float((trajectory.position[-1, entity] - trajectory.position[later, entity]) @ direction)
    if back > 0.25:
        return (Claim(kind="bounces back", subject=entity),)
    if final_speed(trajectory, entity) < MAX_REST_SPEED and trajectory.num_frames - 1 - hit_frame > 4:
        return (Claim(kind="stops", subject=entity),)
    return ()


def background_has_contact(trajectory: Trajectory, background: set[int]) -> bool:
    """Whether something behind the scene takes part in it."""
    return any(c.a in background or c.b in background for c in trajectory.contacts)


MIN_FALLEN_DROP = 0.1
"""Metres: a block that lies lower than at first by this much has fallen."""


def count_fallen(trajectory: Trajectory, members: list[int]) -> int | None:
    """How many of a group lie at the end, on their sides or lower than at first; None where one leans."""
    count = 0
    upright = trajectory.upright()[-1]
    for member in members:
        lower = float(trajectory.position[0, member, 2] - trajectory.position[-1, member, 2])
        if upright[member] < MAX_FALLEN_COSINE or lower > MIN_FALLEN_DROP:
            count += 1
        elif upright[member] < MIN_STANDING_COSINE or lower > MIN_FALLEN_DROP / 3:
            return None
    return count
