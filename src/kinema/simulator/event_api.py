"""What an event works with: a stage to put things on, the scene it proposes, the verdict it gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from kinema.simulator.annotations import (
    CameraMove,
    Claim,
    Colour,
    Event,
    Material,
    Pattern,
    Role,
    Shape,
    Size,
)
from kinema.simulator.attributes import (
    CAMERA_MOVES,
    COLOURS,
    EXTENT,
    LAB_COLOURS,
    LAB_MATERIALS,
    LAB_SHAPES,
    MATERIALS,
    PATTERNS,
    SECOND_COLOURS,
    SHAPES,
)
from kinema.simulator.body_builder import build_body, rest_pose
from kinema.simulator.entities import (
    IDENTITY_ROTATION,
    Entity,
    Quaternion,
    Vector,
    quat_from_axis_angle,
    quat_mul,
    quat_to_matrix,
    with_rolling_velocity,
)
from kinema.simulator.physics import GRAVITY, Trajectory

T = TypeVar("T")

_ROLLING_SHAPES: tuple[Shape, ...] = ("ball", "egg")
_DEFAULT_YAW: dict[Shape, float] = {"prism": 0.9, "egg": 0.9, "capsule": 0.9}
"""Radians about the vertical, so that a prism is not seen as a square, or an egg or a capsule as a ball."""


@dataclass(frozen=True, kw_only=True)
class ViewRange:
    """How a scene wants to be looked at."""

    elevation: tuple[float, float] = (9.0, 22.0)
    """Range of the camera's height over the target, degrees."""
    azimuth: float = 12.0
    """Largest turn away from the neutral direction, degrees."""
    moves: tuple[CameraMove, ...] = CAMERA_MOVES


@dataclass(frozen=True, kw_only=True)
class SceneProposal:
    """A scene that may have the wanted outcome."""

    entities: tuple[Entity, ...]
    relation: str = ""
    """The event's relation for the held-out hash of the lab: a direction, a side, an outcome."""
    view: ViewRange = ViewRange()


@dataclass(frozen=True, kw_only=True)
class VisibilityConstraint:
    """An entity that must be fully in view from one frame to another, both included."""

    entity: int
    first_frame: int
    last_frame: int


@dataclass(frozen=True, kw_only=True)
class EventOutcome:
    """What happened, by the simulation."""

    outcome: str
    claims: tuple[Claim, ...]
    event_frame: float
    """The moment of the event, in frames."""
    visibility: tuple[VisibilityConstraint, ...] = ()
    """Entities that need not be in view all the time; the others must be while they are near."""


class EventType(Protocol):
    """One kind of event. Instances are frozen and hold nothing but their description."""

    @property
    def name(self) -> Event:
        """Its word in the facts."""
        ...

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Everything that can happen."""
        ...

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """A scene in which `outcome` is likely."""
        ...

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """What happened in the simulation of `build_proposal`; None where it is nothing worth telling."""
        ...


class SceneBuilder:
    """An empty floor, a random number generator, and the things put there so far."""

    def __init__(self, rng: np.random.Generator, *, lab: bool, num_frames: int, fps: float) -> None:
        self.rng = rng
        self.lab = lab
        self.num_frames = num_frames
        self.fps = fps
        self.entities: list[Entity] = []

    @property
    def duration(self) -> float:
        """Time from the first frame to the last."""
        return (self.num_frames - 1) / self.fps

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, each as likely as the others."""
        return options[int(self.rng.integers(len(options)))]

    def uniform(self, low: float, high: float) -> float:
        """A uniform number."""
        return float(self.rng.uniform(low, high))

    def bernoulli(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < probability)

    def random_side(self) -> int:
        """1 for right, -1 for left."""
        return 1 if self.bernoulli(0.5) else -1

    def unused_colour(self) -> Colour:
        """A colour that nothing on the stage has yet, while there is one."""
        taken = {thing.colour for thing in self.entities}
        palette = LAB_COLOURS if self.lab else COLOURS
        return self.pick([c for c in palette if c not in taken] or list(palette))

    def random_entity(self, shape: Shape, materials: Sequence[Material] = MATERIALS) -> Entity:
        """A thing with a look of its own: material, colour, perhaps a pattern."""
        allowed: list[Material] = [m for m in materials if m in LAB_MATERIALS or not self.lab]
        if shape in ("car", "domino", "screen", "wall", "block"):
            allowed = [m for m in allowed if m not in ("glass", "marble")]
        if shape == "car":
            allowed = [m for m in allowed if m in ("plastic", "metal")]
        material = self.pick(allowed or LAB_MATERIALS)
        if shape == "snowman":
            return Entity(shape=shape, material="clay", colour="white")
        if material in ("wood", "marble"):
            # Two wooden things of one shape could not be told apart in a caption.
            twin = any(thing.material == material and thing.shape == shape for thing in self.entities)
            if not twin:
                natural: Pattern = "wooden" if material == "wood" else "marbled"
                return Entity(shape=shape, material=material, colour=None, pattern=natural)
            material = "clay"
        colour = self.unused_colour()
        plain = self.lab or material not in ("plastic", "rubber") or shape in ("car", "screen", "domino")
        if plain or not self.bernoulli(0.35):
            return Entity(shape=shape, material=material, colour=colour)
        second = self.pick([c for c in SECOND_COLOURS if c != colour])
        return Entity(
            shape=shape,
            material=material,
            colour=colour,
            pattern=self.pick(PATTERNS),
            second_colour=second,
        )

    def allowed_shapes(self, candidates: Sequence[Shape]) -> list[Shape]:
        """The wanted shapes that the stage allows: in the lab only four."""
        allowed = [s for s in candidates if s in LAB_SHAPES]
        return (allowed or ["ball"]) if self.lab else list(candidates)

    def place(
        self,
        shape: Shape,
        x: float,
        y: float,
        *,
        height_above_rest: float | None = None,
        size: Size | None = None,
        sizes: Sequence[Size] = ("small", "medium", "large"),
        materials: Sequence[Material] = MATERIALS,
        role: Role = "main",
        facing: float | None = None,
        lying: bool = False,
        group: str | None = None,
    ) -> int:
        """Stand a thing on the floor (or with its origin's rest height `height_above_rest` metres above it).

        Args:
            facing: turn about the vertical, radians; at random where None.
            lying: rings and discs on their rims.

        Returns:
            Its index.
        """
        thing = self.random_entity(shape, materials)
        size = "medium" if self.lab else (size or self.pick(sizes))
        extent = self.uniform(0.38, 0.46) if self.lab else EXTENT[size]
        if shape in ("car", "snowman"):
            extent *= 0.9
        thing = replace(thing, size=size, extent=extent, role=role, group=group)
        height, rotation = rest_pose(thing, lying)
        if facing is None:
            loose = shape not in ("car", "snowman") and not lying
            facing = self.uniform(-0.5, 0.5) + _DEFAULT_YAW.get(shape, 0.0) if loose else 0.0
        rotation = quat_mul(quat_from_axis_angle((0.0, 0.0, 1.0), facing), rotation)
        if shape == "ball":
            rotation = self.random_rotation()
        return self.add(
            replace(thing, position=(x, y, height + (height_above_rest or 0.0)), rotation=rotation)
        )

    def add(self, thing: Entity) -> int:
        """Put a finished thing on the stage; returns its index."""
        self.entities.append(thing)
        return len(self.entities) - 1

    def random_rotation(self) -> Quaternion:
        """A rotation drawn uniformly."""
        w, x, y, z = self.rng.normal(size=4)
        length = math.sqrt(w * w + x * x + y * y + z * z)
        return (w / length, x / length, y / length, z / length) if length else IDENTITY_ROTATION

    def random_yaw(self, max_angle: float) -> Quaternion:
        """A turn about the vertical by at most `max_angle` radians."""
        return quat_from_axis_angle((0.0, 0.0, 1.0), self.uniform(-max_angle, max_angle))

    def replace_entity(self, index: int, thing: Entity) -> None:
        """Put another thing in the place of one on the stage."""
        self.entities[index] = thing

    def set_moving(self, index: int, velocity: Vector, stop_after: float | None = None) -> None:
        """Set a thing moving along the floor, so that it stops by itself after `stop_after` seconds.

        Rolling things are slowed by rolling friction (a sphere by 5/7 g k / r for the lever arm k),
        sliding ones by friction (g mu). None: it hardly slows down.
        """
        thing = self.entities[index]
        speed = math.hypot(velocity[0], velocity[1])
        on_rim = thing.shape in ("ring", "disc") and thing.position[2] > thing.extent * 0.7
        if thing.shape in _ROLLING_SHAPES:
            radius = rest_pose(thing)[0]
            arm = 0.0 if stop_after is None else 1.4 * radius * speed / (GRAVITY * stop_after)
            self.entities[index] = replace(
                with_rolling_velocity(thing, velocity, radius), rolling_friction=arm
            )
        elif on_rim:
            self.entities[index] = with_rolling_velocity(thing, velocity, thing.extent)
        elif thing.shape == "car":
            self.entities[index] = replace(thing, velocity=velocity)
        else:
            self.entities[index] = self._with_sliding_friction(thing, velocity, speed, stop_after)

    def _with_sliding_friction(
        self, thing: Entity, velocity: Vector, speed: float, stop_after: float | None
    ) -> Entity:
        friction = 0.02 if stop_after is None else speed / (GRAVITY * stop_after)
        return replace(thing, velocity=velocity, friction=friction)

    def add_background(self, max_count: int = 2) -> None:
        """Now and then, put one or two large things far behind the scene."""
        if self.lab or self.bernoulli(0.6):
            return
        count = int(self.rng.integers(1, max_count + 1))
        first = self.random_side()
        for k in range(count):
            x = (first if k == 0 else -first) * self.uniform(0.5, 1.7)
            self.place(
                self.pick(SHAPES), x, 2.1 + 0.8 * k + self.uniform(0.0, 0.4), size="large", role="background"
            )

    def build_proposal(self, *, relation: str = "", view: ViewRange | None = None) -> SceneProposal:
        """What stands on the stage now."""
        return SceneProposal(entities=tuple(self.entities), relation=relation, view=view or ViewRange())

    def bounding_radius(self, index: int) -> float:
        """Radius of a thing's bounding sphere."""
        return build_body(self.entities[index]).radius

    def top_height(self, index: int) -> float:
        """Height of a resting thing's highest point over the floor."""
        thing = self.entities[index]
        corners = build_body(thing).outline @ quat_to_matrix(thing.rotation).T
        return float(corners[:, 2].max()) + thing.position[2]
