"""PhyWorld's three scenarios and its velocity error, for comparison with the paper's table.

Kang et al., 'How Far is Video Generation from World Model: A Physical Law Perspective', arXiv 2411.02385:
balls on a plain background, 128 x 128 pixels, 32 frames 0.1 s apart, conditioned on the first three. The
motions are closed forms here, where the paper uses Box2D: uniform motion, a head-on elastic collision of two
balls, and a horizontal throw under gravity. The error is the mean |v − v̂| in m/s, with velocities from
differences of positions, over all predicted frames in which a ball is fully inside the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from kinema.frames import FrameArray

Scenario = Literal["uniform", "collision", "parabola"]
Split = Literal["in", "out"]

NUM_FRAMES, IMAGE_SIZE, FRAME_SECONDS, NUM_CONDITION_FRAMES = 32, 128, 0.1, 3
WORLD_METRES = 10.0
"""Side length of the image in metres."""
GRAVITY = 9.8
RADIUS_RANGES: dict[Split, tuple[tuple[float, float], ...]] = {
    "in": ((0.7, 1.5),),
    "out": ((0.3, 0.6), (1.5, 2.0)),
}
SPEED_RANGES: dict[Split, tuple[tuple[float, float], ...]] = {
    "in": ((1.0, 4.0),),
    "out": ((0.0, 0.8), (4.5, 6.0)),
}
"""Radii in metres and speeds in m/s, in and out of the training distribution."""
PUBLISHED_ERRORS: dict[Scenario, tuple[float, float, float]] = {
    "uniform": (0.0099, 0.012, 0.288),
    "collision": (0.0117, 0.015, 0.153),
    "parabola": (0.0210, 0.033, 0.284),
}
"""Errors of the paper's parser on its own simulator, and of its best model in and out of distribution."""
_BACKGROUND_COLOUR = np.array([255.0, 255.0, 255.0])
_BALL_COLOURS = (np.array([220.0, 30.0, 30.0]), np.array([30.0, 60.0, 220.0]))
_MIN_VISIBLE_SHARE = 0.5
"""Share of its area that must be visible for a ball to be measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PhysicsClip:
    """A video and the true positions of its balls."""

    scenario: Scenario
    frames: FrameArray
    position: Float[np.ndarray, "f balls 2"]
    """Metres; x to the right, y down."""
    radius: Float[np.ndarray, " balls"]


def sample_clips(scenario: Scenario, split: Split, num_clips: int, *, seed: int = 0) -> Iterator[PhysicsClip]:
    """Sample clips; the same seed gives the same clips."""
    rng = np.random.default_rng([seed, ("uniform", "collision", "parabola").index(scenario), split == "out"])
    for _ in range(num_clips):
        position, radius = _MOTION_SAMPLERS[scenario](rng, split)
        yield PhysicsClip(
            scenario=scenario, frames=render_discs(position, radius), position=position, radius=radius
        )


def _sample_ranges(rng: np.random.Generator, ranges: tuple[tuple[float, float], ...]) -> float:
    low, high = ranges[int(rng.integers(len(ranges)))]
    return float(rng.uniform(low, high))


def _frame_times() -> Float[np.ndarray, " f"]:
    return np.arange(NUM_FRAMES) * FRAME_SECONDS


def _sample_uniform_motion(rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray]:
    radius, speed = _sample_ranges(rng, RADIUS_RANGES[split]), _sample_ranges(rng, SPEED_RANGES[split])
    sign = 1.0 if rng.random() < 0.5 else -1.0
    start = radius if sign > 0 else WORLD_METRES - radius
    x = start + sign * speed * _frame_times()
    y = np.full(NUM_FRAMES, rng.uniform(radius, WORLD_METRES - radius))
    return np.stack([x, y], axis=1)[:, None], np.array([radius])


def _sample_collision(rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray]:
    radius = np.array([_sample_ranges(rng, RADIUS_RANGES[split]) for _ in range(2)])
    first, second = _sample_ranges(rng, SPEED_RANGES[split]), -_sample_ranges(rng, SPEED_RANGES[split])
    start = np.array([radius[0], WORLD_METRES - radius[1]])
    gap = start[1] - start[0] - radius.sum()
    closing = first - second
    contact_time = gap / closing if closing > 1e-9 else np.inf
    # Elastic and head-on with equal densities in the plane: masses are proportional to the squared radii.
    mass = radius**2
    total = mass.sum()
    after = np.array(
        [
            ((mass[0] - mass[1]) * first + 2 * mass[1] * second) / total,
            ((mass[1] - mass[0]) * second + 2 * mass[0] * first) / total,
        ]
    )
    t = _frame_times()[:, None]
    before = np.array([first, second])
    x = start + before * np.minimum(t, contact_time) + after * np.maximum(t - contact_time, 0)
    y = np.full_like(x, WORLD_METRES / 2)
    return np.stack([x, y], axis=2), radius


def _sample_parabola(rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray]:
    radius, speed = _sample_ranges(rng, RADIUS_RANGES[split]), _sample_ranges(rng, SPEED_RANGES[split])
    sign = 1.0 if rng.random() < 0.5 else -1.0
    start = radius if sign > 0 else WORLD_METRES - radius
    t = _frame_times()
    x, y = start + sign * speed * t, radius + 0.5 * GRAVITY * t**2
    return np.stack([x, y], axis=1)[:, None], np.array([radius])


_MOTION_SAMPLERS = {
    "uniform": _sample_uniform_motion,
    "collision": _sample_collision,
    "parabola": _sample_parabola,
}


def render_discs(position: Float[np.ndarray, "f balls 2"], radius: Float[np.ndarray, " balls"]) -> FrameArray:
    """Render discs with anti-aliased edges, one pixel wide.

    Args:
        position: centres in metres.
        radius: in metres.
    """
    scale = IMAGE_SIZE / WORLD_METRES
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] + 0.5
    video = np.broadcast_to(_BACKGROUND_COLOUR, (len(position), IMAGE_SIZE, IMAGE_SIZE, 3)).copy()
    for ball, (size, colour) in enumerate(zip(radius, _BALL_COLOURS, strict=False)):
        centre = position[:, ball] * scale
        distance = np.hypot(x - centre[:, 0, None, None], y - centre[:, 1, None, None])
        coverage = np.clip(size * scale - distance + 0.5, 0, 1)[..., None]
        video = video * (1 - coverage) + colour * coverage
    return (video + 0.5).astype(np.uint8)


def locate_ball(frames: FrameArray, ball: int) -> tuple[Float[np.ndarray, "f 2"], Float[np.ndarray, " f"]]:
    """Centroids in metres and areas in m² of one ball, by its colour.

    Every pixel is solved as a mixture of the background and the two balls by least squares. Coverage below
    one eighth counts as noise. Centroids are NaN where nothing is found.
    """
    basis = np.stack([colour - _BACKGROUND_COLOUR for colour in _BALL_COLOURS])
    coverage = (frames.astype(np.float64) - _BACKGROUND_COLOUR) @ np.linalg.pinv(basis)
    mask = np.clip(coverage[..., ball], 0, 1)
    mask = np.where(mask < 0.125, 0, mask)
    area = mask.sum(axis=(1, 2))
    grid = np.arange(IMAGE_SIZE) + 0.5
    with np.errstate(invalid="ignore", divide="ignore"):
        x = (mask.sum(axis=1) @ grid) / area
        y = (mask.sum(axis=2) @ grid) / area
    scale = WORLD_METRES / IMAGE_SIZE
    return np.stack([x, y], axis=1) * scale, area * scale**2


def velocity_error(truth: PhysicsClip, frames: FrameArray) -> float:
    """Mean |v − v̂| in m/s over the predicted frames; NaN if every ball has left the image before them.

    A ball that is not found counts with its full speed.
    """
    errors = []
    for ball, size in enumerate(truth.radius):
        position, area = locate_ball(frames, ball)
        true_position = truth.position[:, ball]
        inside = ((true_position >= size) & (true_position <= WORLD_METRES - size)).all(axis=1)
        missing = ~(area > _MIN_VISIBLE_SHARE * np.pi * size**2)
        for f in range(NUM_CONDITION_FRAMES, NUM_FRAMES):
            if not (inside[f] and inside[f - 1]):
                continue
            true_velocity = (true_position[f] - true_position[f - 1]) / FRAME_SECONDS
            velocity = np.zeros(2)
            if not (missing[f] or missing[f - 1]):
                velocity = (position[f] - position[f - 1]) / FRAME_SECONDS
            errors.append(float(np.linalg.norm(true_velocity - velocity)))
    return float(np.mean(errors)) if errors else float("nan")


def evaluator_noise_floor(
    scenario: Scenario, split: Split = "in", num_clips: int = 50, *, seed: int = 0
) -> float:
    """The velocity error on the true videos: the smallest error that can be measured."""
    clips = sample_clips(scenario, split, num_clips, seed=seed)
    return float(np.nanmean([velocity_error(clip, clip.frames) for clip in clips]))


def constant_velocity_baseline(truth: PhysicsClip) -> FrameArray:
    """A baseline: every ball keeps its velocity from the conditioning frames."""
    step = truth.position[NUM_CONDITION_FRAMES - 1] - truth.position[NUM_CONDITION_FRAMES - 2]
    elapsed = np.maximum(np.arange(NUM_FRAMES) - (NUM_CONDITION_FRAMES - 1), 0)[:, None, None]
    last = truth.position[np.minimum(np.arange(NUM_FRAMES), NUM_CONDITION_FRAMES - 1)]
    return render_discs(last + elapsed * step, truth.radius)


def last_frame_baseline(truth: PhysicsClip) -> FrameArray:
    """A baseline: the last conditioning frame is repeated."""
    return truth.frames[np.minimum(np.arange(NUM_FRAMES), NUM_CONDITION_FRAMES - 1)]
