"""PhyWorld's three scenarios and its velocity error, so that a model can be put beside the paper's table.

Kang et al., 'How Far is Video Generation from World Model: A Physical Law Perspective', arXiv 2411.02385:
balls on a plain ground, 128 x 128 pixels, 32 frames 0.1 s apart, the first three given. The motions are
closed forms here, where the paper steps Box2D: uniform motion, a head-on elastic collision of two balls,
and a horizontal throw under gravity. The error is the mean |v − v̂| in metres per second, with velocities
from the differences of positions, over all later frames in which a ball is wholly in the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

Scenario = Literal["uniform", "collision", "parabola"]
Split = Literal["in", "out"]
FrameArray = UInt8[np.ndarray, "f h w 3"]

NUM_FRAMES, IMAGE_SIZE, FRAME_SECONDS, NUM_CONDITION_FRAMES = 32, 128, 0.1, 3
WORLD_METRES = 10.0
"""Metres along a side of the picture."""
GRAVITY = 9.8
RADIUS_RANGES: dict[Split, tuple[tuple[float, float], ...]] = {
    "in": ((0.7, 1.5),),
    "out": ((0.3, 0.6), (1.5, 2.0)),
}
SPEED_RANGES: dict[Split, tuple[tuple[float, float], ...]] = {
    "in": ((1.0, 4.0),),
    "out": ((0.0, 0.8), (4.5, 6.0)),
}
"""Metres and metres per second, in and out of the training distribution."""
PUBLISHED_ERRORS: dict[Scenario, tuple[float, float, float]] = {
    "uniform": (0.0099, 0.012, 0.288),
    "collision": (0.0117, 0.015, 0.153),
    "parabola": (0.0210, 0.033, 0.284),
}
"""The paper's parser on its own simulator, then its best model in and out of distribution."""
_BACKGROUND_COLOUR = np.array([255.0, 255.0, 255.0])
_BALL_COLOURS = (np.array([220.0, 30.0, 30.0]), np.array([30.0, 60.0, 220.0]))
_MIN_VISIBLE_SHARE = 0.5
"""Share of its area that a ball must show to be measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PhysicsClip:
    """A film and where everything in it really is."""

    scenario: Scenario
    frames: FrameArray
    position: Float[np.ndarray, "f balls 2"]
    """Metres; x to the right, y down."""
    radius: Float[np.ndarray, " balls"]


def sample_clips(scenario: Scenario, split: Split, num_clips: int, *, seed: int = 0) -> Iterator[PhysicsClip]:
    """Draw clips; the same seed draws the same."""
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
    way = 1.0 if rng.random() < 0.5 else -1.0
    start = radius if way > 0 else WORLD_METRES - radius
    x = start + way * speed * _frame_times()
    y = np.full(NUM_FRAMES, rng.uniform(radius, WORLD_METRES - radius))
    return np.stack([x, y], axis=1)[:, None], np.array([radius])


def _sample_collision(rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray]:
    radius = np.array([_sample_ranges(rng, RADIUS_RANGES[split]) for _ in range(2)])
    first, second = _sample_ranges(rng, SPEED_RANGES[split]), -_sample_ranges(rng, SPEED_RANGES[split])
    start = np.array([radius[0], WORLD_METRES - radius[1]])
    gap = start[1] - start[0] - radius.sum()
    closing = first - second
    meet = gap / closing if closing > 1e-9 else np.inf
    # Equal densities in the plane, elastic, head on: masses go with the squares of the radii.
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
    x = start + before * np.minimum(t, meet) + after * np.maximum(t - meet, 0)
    y = np.full_like(x, WORLD_METRES / 2)
    return np.stack([x, y], axis=2), radius


def _sample_parabola(rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray]:
    radius, speed = _sample_ranges(rng, RADIUS_RANGES[split]), _sample_ranges(rng, SPEED_RANGES[split])
    way = 1.0 if rng.random() < 0.5 else -1.0
    start = radius if way > 0 else WORLD_METRES - radius
    t = _frame_times()
    x, y = start + way * speed * t, radius + 0.5 * GRAVITY * t**2
    return np.stack([x, y], axis=1)[:, None], np.array([radius])


_MOTION_SAMPLERS = {
    "uniform": _sample_uniform_motion,
    "collision": _sample_collision,
    "parabola": _sample_parabola,
}


def render_discs(position: Float[np.ndarray, "f balls 2"], radius: Float[np.ndarray, " balls"]) -> FrameArray:
    """Discs with smooth edges: a pixel is covered by as much as its middle lies inside, across one pixel."""
    scale = IMAGE_SIZE / WORLD_METRES
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] + 0.5
    film = np.broadcast_to(_BACKGROUND_COLOUR, (len(position), IMAGE_SIZE, IMAGE_SIZE, 3)).copy()
    for ball, (size, colour) in enumerate(zip(radius, _BALL_COLOURS, strict=False)):
        centre = position[:, ball] * scale
        away = np.hypot(x - centre[:, 0, None, None], y - centre[:, 1, None, None])
        cover = np.clip(size * scale - away + 0.5, 0, 1)[..., None]
        film = film * (1 - cover) + colour * cover
    return (film + 0.5).astype(np.uint8)


def locate_ball(frames: FrameArray, ball: int) -> tuple[Float[np.ndarray, "f 2"], Float[np.ndarray, " f"]]:
    """Centroids in metres of everything of one ball's colour, weighted by coverage, and areas in m².

    Coverage is solved from the pixel as a mixture of ground and the two balls, by least squares; what is
    less than an eighth covered is taken as noise. NaN where nothing is found.
    """
    basis = np.stack([colour - _BACKGROUND_COLOUR for colour in _BALL_COLOURS])
    shares = (frames.astype(np.float64) - _BACKGROUND_COLOUR) @ np.linalg.pinv(basis)
    mask = np.clip(shares[..., ball], 0, 1)
    mask = np.where(mask < 0.125, 0, mask)
    area = mask.sum(axis=(1, 2))
    grid = np.arange(IMAGE_SIZE) + 0.5
    with np.errstate(invalid="ignore", divide="ignore"):
        x = (mask.sum(axis=1) @ grid) / area
        y = (mask.sum(axis=2) @ grid) / area
    scale = WORLD_METRES / IMAGE_SIZE
    return np.stack([x, y], axis=1) * scale, area * scale**2


def velocity_error(truth: PhysicsClip, frames: FrameArray) -> float:
    """Mean |v − v̂| over the frames to be predicted; NaN where every ball has left before them.

    A ball that is not found where it should be counts with its whole speed.
    """
    errors = []
    for ball, size in enumerate(truth.radius):
        place, area = locate_ball(frames, ball)
        real = truth.position[:, ball]
        inside = ((real >= size) & (real <= WORLD_METRES - size)).all(axis=1)
        missing = ~(area > _MIN_VISIBLE_SHARE * np.pi * size**2)
        for f in range(NUM_CONDITION_FRAMES, NUM_FRAMES):
            if not (inside[f] and inside[f - 1]):
                continue
            v = (real[f] - real[f - 1]) / FRAME_SECONDS
            if missing[f] or missing[f - 1]:
                errors.append(float(np.linalg.norm(v)))
                continue
            errors.append(float(np.linalg.norm(v - (place[f] - place[f - 1]) / FRAME_SECONDS)))
    return float(np.mean(errors)) if errors else float("nan")


def evaluator_noise_floor(
    scenario: Scenario, split: Split = "in", num_clips: int = 50, *, seed: int = 0
) -> float:
    """The judge's own error: on the true films."""
    drawn_clips = sample_clips(scenario, split, num_clips, seed=seed)
    return float(np.nanmean([velocity_error(clip, clip.frames) for clip in drawn_clips]))


def constant_velocity_baseline(truth: PhysicsClip) -> FrameArray:
    """An anchor: everything goes on with the velocity that it has in the given frames."""
    step = truth.position[NUM_CONDITION_FRAMES - 1] - truth.position[NUM_CONDITION_FRAMES - 2]
    ahead = np.maximum(np.arange(NUM_FRAMES) - (NUM_CONDITION_FRAMES - 1), 0)[:, None, None]
    last = truth.position[np.minimum(np.arange(NUM_FRAMES), NUM_CONDITION_FRAMES - 1)]
    return render_discs(last + ahead * step, truth.radius)


def last_frame_baseline(truth: PhysicsClip) -> FrameArray:
    """An anchor: the last given frame, for ever."""
    return truth.frames[np.minimum(np.arange(NUM_FRAMES), NUM_CONDITION_FRAMES - 1)]
