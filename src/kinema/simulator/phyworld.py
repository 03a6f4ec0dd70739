"""PhyWorld's scenarios: simple motions of one or two bodies on a plain background, as closed forms.

Kang et al., 'How Far is Video Generation from World Model: A Physical Law Perspective', arXiv 2411.02385:
128 x 128 pixels, frames 0.1 s apart, conditioned on the first three. The paper uses Box2D; here uniform
motion, a head-on elastic collision of two balls, and a horizontal throw under gravity are closed forms. A
clip has 33 frames, one more than in the paper, because an autoencoder with a temporal stride of 2 encodes odd
numbers.

Beside the table the paper tests by which mechanism a model generalises: from motions that leave out a range
of speeds or a direction, and from bodies with two attributes that always occur together. `MotionRanges` and
`AttributePair` are these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from kinema.errors import UserError
from kinema.frames import FrameArray

Scenario = Literal["uniform", "collision", "parabola"]
Split = Literal["in", "out"]
Attribute = Literal["colour", "size", "velocity", "shape"]
BodyShape = Literal["ball", "square"]
Ranges = tuple[tuple[float, float], ...]

SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)
NUM_FRAMES, IMAGE_SIZE, FRAME_SECONDS, NUM_CONDITION_FRAMES = 33, 128, 0.1, 3
WORLD_METRES = 10.0
"""Side length of the image in metres."""
GRAVITY = 9.8
BACKGROUND_COLOUR = np.array([255.0, 255.0, 255.0])
BODY_COLOURS = (np.array([220.0, 30.0, 30.0]), np.array([30.0, 60.0, 220.0]))
"""Red and blue."""
ATTRIBUTE_SIZES, ATTRIBUTE_SPEEDS = (0.7, 1.4), (1.25, 3.5)
"""The two sizes in metres (radius, half a side) and speeds in m/s of clips with attribute pairs."""


@dataclass(frozen=True, kw_only=True)
class MotionRanges:
    """From which radii, speeds and directions clips are drawn.

    Attributes:
        radii: ranges in metres, chosen with equal probability.
        speeds: ranges in m/s, likewise.
        direction: of a body that moves alone; `both` draws one.
    """

    radii: Ranges = ((0.7, 1.5),)
    speeds: Ranges = ((1.0, 4.0),)
    direction: Literal["both", "right", "left"] = "both"

    def __post_init__(self) -> None:
        for name, ranges in (("radii", self.radii), ("speeds", self.speeds)):
            if not ranges or any(not 0 <= low <= high <= WORLD_METRES for low, high in ranges):
                raise UserError(
                    f"{name} are {ranges}; give ranges (low, high) with 0 <= low <= high <= {WORLD_METRES:g}"
                )


RANGES: dict[Split, MotionRanges] = {
    "in": MotionRanges(),
    "out": MotionRanges(radii=((0.3, 0.6), (1.5, 2.0)), speeds=((0.0, 0.8), (4.5, 6.0))),
}
"""In and out of the training distribution."""


@dataclass(frozen=True, kw_only=True)
class AttributePair:
    """Two attributes of a body in uniform motion that always occur together, each with two values.

    Attributes:
        first: name.
        second: name.
        crossed: each value of the first occurs with the other value of the second.
    """

    first: Attribute
    second: Attribute
    crossed: bool = False

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise UserError(f"both attributes are {self.first}; give two of {', '.join(ATTRIBUTES)}")


@dataclass(frozen=True, kw_only=True)
class PhyWorldConfig:
    """The clips of a dataset.

    Attributes:
        scenarios: take turns, clip by clip.
        ranges: of the motions.
        pair: two attributes that occur together, in uniform motion; the scenarios are not used then.
    """

    scenarios: tuple[Scenario, ...] = SCENARIOS
    ranges: MotionRanges = MotionRanges()
    pair: AttributePair | None = None

    def __post_init__(self) -> None:
        if not self.scenarios:
            raise UserError(f"there is no scenario; give one or more of {', '.join(SCENARIOS)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class PhyWorldClip:
    """A video, and the truth about its bodies.

    Attributes:
        frames: of the video.
        position: centres in metres; x to the right, y down.
        radius: in metres; half a side of a square.
        colours: index of each body's colour in `BODY_COLOURS`.
        shapes: of each body.
    """

    frames: FrameArray
    position: Float[np.ndarray, "f bodies 2"]
    radius: Float[np.ndarray, " bodies"]
    colours: tuple[int, ...]
    shapes: tuple[BodyShape, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class PhyWorldVideos:
    """Clips as a `kinema.data.dataset.VideoDataset`; a clip depends on the seed and its index alone.

    Attributes:
        config: what is drawn.
        num_clips: in the dataset.
        seed: of the dataset.
    """

    config: PhyWorldConfig
    num_clips: int
    seed: int = 0

    def __len__(self) -> int:
        return self.num_clips

    def clip(self, index: int) -> PhyWorldClip:
        """Make a clip."""
        rng = np.random.default_rng([self.seed, index])
        if self.config.pair is not None:
            return _make_pair_clip(rng, self.config.pair)
        scenario = self.config.scenarios[index % len(self.config.scenarios)]
        position, radius = _MOTION_SAMPLERS[scenario](rng, self.config.ranges)
        return make_clip(position, radius)

    def frames(self, index: int) -> FrameArray:
        """Return the frames of a clip."""
        return self.clip(index).frames

    def captions(self, index: int) -> Sequence[str]:
        """Return an empty caption: the first frames are all that a model gets."""
        del index
        return ("",)


def make_clip(
    position: Float[np.ndarray, "f bodies 2"],
    radius: Float[np.ndarray, " bodies"],
    colours: Sequence[int] = (0, 1),
    shapes: Sequence[BodyShape] = ("ball", "ball"),
) -> PhyWorldClip:
    """Render bodies; `PhyWorldClip` documents the arguments. Surplus colours and shapes are ignored."""
    count = len(radius)
    return PhyWorldClip(
        frames=render_bodies(position, radius, colours, shapes),
        position=position,
        radius=radius,
        colours=tuple(colours[:count]),
        shapes=tuple(shapes[:count]),
    )


def render_bodies(
    position: Float[np.ndarray, "f bodies 2"],
    radius: Float[np.ndarray, " bodies"],
    colours: Sequence[int] = (0, 1),
    shapes: Sequence[BodyShape] = ("ball", "ball"),
) -> FrameArray:
    """Render bodies with anti-aliased edges, one pixel wide.

    Args:
        position: centres in metres.
        radius: in metres; half a side of a square.
        colours: of each body, in `BODY_COLOURS`.
        shapes: of each body.
    """
    scale = IMAGE_SIZE / WORLD_METRES
    video = np.empty((len(position), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    video[:] = BACKGROUND_COLOUR.astype(np.uint8)
    for body, size in enumerate(radius * scale):
        colour, is_ball = BODY_COLOURS[colours[body]], shapes[body] == "ball"
        for frame, centre in zip(video, position[:, body] * scale, strict=True):
            first, last = (
                np.clip(np.floor(centre + offset), 0, IMAGE_SIZE).astype(int)
                for offset in (-size - 1, size + 2)
            )
            columns, rows = (slice(*ends) for ends in zip(first, last, strict=True))
            dx = np.arange(first[0], last[0]) + 0.5 - centre[0]
            dy = np.arange(first[1], last[1])[:, None] + 0.5 - centre[1]
            if is_ball:
                coverage = np.clip(size - np.hypot(dx, dy) + 0.5, 0, 1)
            else:
                coverage = np.clip(size - np.abs(dx) + 0.5, 0, 1) * np.clip(size - np.abs(dy) + 0.5, 0, 1)
            patch = frame[rows, columns]
            patch[:] = patch + coverage[..., None] * (colour - patch) + 0.5
    return video


def _sample_ranges(rng: np.random.Generator, ranges: Ranges) -> float:
    low, high = ranges[int(rng.integers(len(ranges)))]
    return float(rng.uniform(low, high))


def _sample_sign(rng: np.random.Generator, ranges: MotionRanges) -> float:
    sign = 1.0 if rng.random() < 0.5 else -1.0
    return {"both": sign, "right": 1.0, "left": -1.0}[ranges.direction]


def _frame_times() -> Float[np.ndarray, " f"]:
    return np.arange(NUM_FRAMES) * FRAME_SECONDS


def _rolling(radius: float, speed: float, sign: float) -> Float[np.ndarray, " f"]:
    """The horizontal positions of a body that enters at one side; a sign of 1: to the right."""
    start = radius if sign > 0 else WORLD_METRES - radius
    return start + sign * speed * _frame_times()


def _uniform_motion(
    rng: np.random.Generator, radius: float, speed: float, sign: float
) -> tuple[np.ndarray, np.ndarray]:
    y = np.full(NUM_FRAMES, rng.uniform(radius, WORLD_METRES - radius))
    return np.stack([_rolling(radius, speed, sign), y], axis=1)[:, None], np.array([radius])


def _sample_uniform_motion(rng: np.random.Generator, ranges: MotionRanges) -> tuple[np.ndarray, np.ndarray]:
    radius, speed = _sample_ranges(rng, ranges.radii), _sample_ranges(rng, ranges.speeds)
    return _uniform_motion(rng, radius, speed, _sample_sign(rng, ranges))


def _sample_collision(rng: np.random.Generator, ranges: MotionRanges) -> tuple[np.ndarray, np.ndarray]:
    radius = np.array([_sample_ranges(rng, ranges.radii) for _ in range(2)])
    first, second = _sample_ranges(rng, ranges.speeds), -_sample_ranges(rng, ranges.speeds)
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


def _sample_parabola(rng: np.random.Generator, ranges: MotionRanges) -> tuple[np.ndarray, np.ndarray]:
    radius, speed = _sample_ranges(rng, ranges.radii), _sample_ranges(rng, ranges.speeds)
    x = _rolling(radius, speed, _sample_sign(rng, ranges))
    y = radius + 0.5 * GRAVITY * _frame_times() ** 2
    return np.stack([x, y], axis=1)[:, None], np.array([radius])


_MOTION_SAMPLERS = {
    "uniform": _sample_uniform_motion,
    "collision": _sample_collision,
    "parabola": _sample_parabola,
}


def _make_pair_clip(rng: np.random.Generator, pair: AttributePair) -> PhyWorldClip:
    """Make a clip of a body; the attributes that are not in the pair are drawn for themselves."""
    values = {name: int(rng.integers(2)) for name in ATTRIBUTES}
    values[pair.second] = values[pair.first] ^ int(pair.crossed)
    position, radius = _uniform_motion(
        rng,
        ATTRIBUTE_SIZES[values["size"]],
        ATTRIBUTE_SPEEDS[values["velocity"]],
        1.0 if rng.random() < 0.5 else -1.0,
    )
    return make_clip(position, radius, (values["colour"],), (("ball", "square")[values["shape"]],))
