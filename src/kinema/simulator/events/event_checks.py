"""Measurements that decide outcomes. Between two answers lies a gap in which a check returns None."""

from __future__ import annotations

import math

import numpy as np

from kinema.simulator.annotations import Claim
from kinema.simulator.attributes import QUICK_SPEED, SLOW_SPEED
from kinema.simulator.physics import Trajectory

MAX_STATIONARY_DISTANCE = 0.05
"""Metres. An entity that moves less is stationary."""
MIN_MOVED_DISTANCE = 0.18
"""Metres. An entity that moves more has moved."""
MAX_REST_SPEED = 0.05
"""Metres per second, averaged over the last quarter of a second. A slower entity is at rest."""
MIN_MOVING_SPEED = 0.25
"""Metres per second. A faster entity is moving."""
MIN_STANDING_COSINE = 0.95
"""Cosine of the largest tilt at which an entity stands."""
MAX_FALLEN_COSINE = 0.7
"""Cosine of the smallest tilt at which an entity has fallen over."""


def displacement(
    trajectory: Trajectory, entity: int, first: float = 0, last: float | None = None
) -> np.ndarray:
    """The displacement of an entity between two frames, metres; `last` defaults to the last frame."""
    end = trajectory.num_frames - 1 if last is None else min(trajectory.num_frames - 1, math.ceil(last))
    return trajectory.position[end, entity] - trajectory.position[max(0, math.floor(first)), entity]


def max_displacement(trajectory: Trajectory, entity: int) -> float:
    """The largest distance from the position in the first frame, metres."""
    return float(
        np.linalg.norm(trajectory.position[:, entity] - trajectory.position[0, entity], axis=1).max()
    )


def is_stationary(trajectory: Trajectory, entity: int) -> bool | None:
    """Whether the entity never moved; None if undecided."""
    far, tilt = max_displacement(trajectory, entity), float(trajectory.upright()[:, entity].min())
    if far < MAX_STATIONARY_DISTANCE and tilt > MIN_STANDING_COSINE:
        return True
    return False if far > MIN_MOVED_DISTANCE or tilt < MAX_FALLEN_COSINE else None


def final_speed(trajectory: Trajectory, entity: int) -> float:
    """The mean speed over the last quarter of a second, metres per second."""
    back = max(1, round(trajectory.fps / 4))
    path = trajectory.position[-1 - back :, entity]
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum() * trajectory.fps / back)


def has_fallen_over(trajectory: Trajectory, entity: int) -> bool | None:
    """Whether the entity lies in the last frame; None if undecided."""
    end = float(trajectory.upright()[-1, entity])
    if end > MIN_STANDING_COSINE:
        return False
    return True if end < MAX_FALLEN_COSINE else None


def mean_speed(trajectory: Trajectory, entity: int, end_frame: float) -> float:
    """The mean speed from the first frame to `end_frame`, metres per second."""
    end = max(1, min(trajectory.num_frames - 1, math.floor(end_frame)))
    path = trajectory.position[: end + 1, entity]
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum() * trajectory.fps / end)


def speed_claims(trajectory: Trajectory, entity: int, end_frame: float) -> tuple[Claim, ...]:
    """A claim of a slow or quick speed, or none for speeds between."""
    speed = mean_speed(trajectory, entity, end_frame)
    if SLOW_SPEED < speed < QUICK_SPEED:
        return ()
    return (Claim(kind="speed", subject=entity, value="slowly" if speed <= SLOW_SPEED else "quickly"),)


def cardinal_direction(step: np.ndarray) -> str | None:
    """'left', 'right', 'away' or 'toward'; None for a diagonal displacement."""
    x, y = float(step[0]), float(step[1])
    if abs(x) > 2 * abs(y):
        return "right" if x > 0 else "left"
    if abs(y) > 2 * abs(x):
        return "away" if y > 0 else "toward"
    return None


def side_name(side: float) -> str:
    """'right' for a positive number, 'left' otherwise."""
    return "right" if side > 0 else "left"


def pushed_claim(trajectory: Trajectory, entity: int, hit_frame: float) -> Claim:
    """The claim that an entity was pushed, with the direction of its displacement since the hit."""
    direction = cardinal_direction(displacement(trajectory, entity, hit_frame))
    value = direction if direction in ("left", "right") else "away" if direction == "away" else "aside"
    return Claim(kind="pushed", subject=entity, value=value)


def hit_consequence(trajectory: Trajectory, entity: int, hit_frame: float, *, can_tip: bool) -> Claim | None:
    """What a hit does to the entity that was hit.

    Args:
        trajectory: the simulated motion.
        entity: index of the entity that was hit.
        hit_frame: frame of the contact.
        can_tip: False for shapes that roll; they never tip over.

    Returns:
        A claim 'stays', 'tips over' or 'pushed'; None if undecided.
    """
    stationary = is_stationary(trajectory, entity)
    if stationary is None:
        return None
    if stationary:
        return Claim(kind="stays", subject=entity)
    fallen = has_fallen_over(trajectory, entity) if can_tip else False
    if fallen is None:
        return None
    if fallen:
        return Claim(kind="tips over", subject=entity)
    return pushed_claim(trajectory, entity, hit_frame)


def aftermath_claims(
    trajectory: Trajectory, entity: int, direction: np.ndarray, hit_frame: float
) -> tuple[Claim, ...]:
    """Claims about the moving entity after a hit: it bounces back, or it stops."""
    later = min(trajectory.num_frames - 1, math.ceil(hit_frame) + 1)
    back = -float((trajectory.position[-1, entity] - trajectory.position[later, entity]) @ direction)
    if back > 0.25:
        return (Claim(kind="bounces back", subject=entity),)
    if final_speed(trajectory, entity) < MAX_REST_SPEED and trajectory.num_frames - 1 - hit_frame > 4:
        return (Claim(kind="stops", subject=entity),)
    return ()


def background_has_contact(trajectory: Trajectory, background: set[int]) -> bool:
    """Whether a background entity has any contact."""
    return any(c.a in background or c.b in background for c in trajectory.contacts)


MIN_FALLEN_DROP = 0.1
"""Metres. A block that ends lower than it started by this much has fallen."""


def count_fallen(trajectory: Trajectory, members: list[int]) -> int | None:
    """The number of members that have fallen over or down in the last frame; None if one is undecided."""
    count = 0
    upright = trajectory.upright()[-1]
    for member in members:
        lower = float(trajectory.position[0, member, 2] - trajectory.position[-1, member, 2])
        if upright[member] < MAX_FALLEN_COSINE or lower > MIN_FALLEN_DROP:
            count += 1
        elif upright[member] < MIN_STANDING_COSINE or lower > MIN_FALLEN_DROP / 3:
            return None
    return count
