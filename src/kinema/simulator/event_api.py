"""The interface of events: a scene builder, the proposal it gives, and the outcome after simulation."""

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
"""Radians about z. Seen end-on, a prism looks like a square and an egg or a capsule like a ball."""


@dataclass(frozen=True, kw_only=True)
class ViewRange:
    """The camera views that suit a scene."""

    elevation: tuple[float, float] = (9.0, 22.0)
    """Range of the camera's elevation above the target, degrees."""
    azimuth: float = 12.0
    """Largest deviation from the default direction, degrees."""
    moves: tuple[CameraMove, ...] = CAMERA_MOVES


@dataclass(frozen=True, kw_only=True)
class SceneProposal:
    """A scene that is likely to have the requested outcome."""

    entities: tuple[Entity, ...]
    relation: str = ""
    """The relation hashed for the lab split: a direction, a side or an outcome."""
    view: ViewRange = ViewRange()


@dataclass(frozen=True, kw_only=True)
class VisibilityConstraint:
    """An entity that must be fully in view from `first_frame` to `last_frame`, inclusive."""

    entity: int
    first_frame: int
    last_frame: int


@dataclass(frozen=True, kw_only=True)
class EventOutcome:
    """The outcome of a simulated event."""

    outcome: str
    claims: tuple[Claim, ...]
    event_frame: float
    """Time of the event, in fractional frames."""
    visibility: tuple[VisibilityConstraint, ...] = ()
    """Entities with their own visibility spans; all others must be in view while they are near the centre."""


class EventType(Protocol):
    """One kind of event. Instances are frozen and have no state."""

    @property
    def name(self) -> Event:
        """The event's name in annotations."""
        ...

    @property
    def outcomes(self) -> tuple[str, ...]:
        """All possible outcomes."""
        ...

    def propose(self, builder: SceneBuilder, outcome: str) -> SceneProposal:
        """Propose a scene in which `outcome` is likely."""
        ...

    def evaluate(self, proposal: SceneProposal, trajectory: Trajectory) -> EventOutcome | None:
        """Determine the outcome of a simulated proposal; None if it is none of `outcomes`."""
        ...


class SceneBuilder:
    """Places random entities on an empty floor."""

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        lab: bool,
        num_frames: int,
        fps: float,
        main_shape: Shape | None = None,
        partner_shape: Shape | None = None,
    ) -> None:
        self.rng = rng
        self.lab = lab
        self.num_frames = num_frames
        self.fps = fps
        self.main_shape: Shape | None = main_shape
        self.partner_shape: Shape | None = partner_shape
        self.entities: list[Entity] = []

    @property
    def duration(self) -> float:
        """Time from the first frame to the last, seconds."""
        return (self.num_frames - 1) / self.fps

    def pick(self, options: Sequence[T]) -> T:
        """Choose one option uniformly."""
        return options[int(self.rng.integers(len(options)))]

    def uniform(self, low: float, high: float) -> float:
        """A uniform random number."""
        return float(self.rng.uniform(low, high))

    def bernoulli(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < probability)

    def random_side(self) -> int:
        """1 (right) or -1 (left)."""
        return 1 if self.bernoulli(0.5) else -1

    def unused_colour(self) -> Colour:
        """A random colour that no entity of the scene has yet, if there is one."""
        used_colours = {entity.colour for entity in self.entities}
        palette = LAB_COLOURS if self.lab else COLOURS
        return self.pick([c for c in palette if c not in used_colours] or list(palette))

    def random_entity(self, shape: Shape, materials: Sequence[Material] = MATERIALS) -> Entity:
        """An entity with a random material, colour and perhaps a pattern."""
        allowed: list[Material] = [m for m in materials if m in LAB_MATERIALS or not self.lab]
        if shape in ("car", "domino", "screen", "wall", "block"):
            allowed = [m for m in allowed if m not in ("glass", "marble")]
        if shape == "car":
            allowed = [m for m in allowed if m in ("plastic", "metal")]
        material = self.pick(allowed or LAB_MATERIALS)
        if shape == "snowman":
            return Entity(shape=shape, material="clay", colour="white")
        if material in ("wood", "marble"):
            # A caption could not distinguish two wooden objects of one shape.
            has_twin = any(entity.material == material and entity.shape == shape for entity in self.entities)
            if not has_twin:
                natural_pattern: Pattern = "wooden" if material == "wood" else "marbled"
                return Entity(shape=shape, material=material, colour=None, pattern=natural_pattern)
            material = "clay"
        colour = self.unused_colour()
        is_plain = self.lab or material not in ("plastic", "rubber") or shape in ("car", "screen", "domino")
        if is_plain or not self.bernoulli(0.35):
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
        """The candidate shapes that are allowed; the lab has only four."""
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
        """Place a random entity on the floor, or above it.

        Args:
            shape: its shape.
            x: position, metres.
            y: position, metres.
            height_above_rest: metres above the height at which it rests on the floor.
            size: its size; None chooses one of `sizes`.
            sizes: sizes to choose from.
            materials: materials to choose from.
            role: its role in the event.
            facing: rotation about z, radians; random if None.
            lying: put rings and discs on their rims.
            group: name of its group.

        Returns:
            The index of the entity.
        """
        if self.main_shape is not None and not self.entities:
            shape, lying = self.main_shape, True
        if self.partner_shape is not None and role == "partner":
            shape = self.partner_shape
        entity = self.random_entity(shape, materials)
        size = "medium" if self.lab else (size or self.pick(sizes))
        extent = self.uniform(0.38, 0.46) if self.lab else EXTENT[size]
        if shape in ("car", "snowman"):
            extent *= 0.9
        entity = replace(entity, size=size, extent=extent, role=role, group=group)
        height, rotation = rest_pose(entity, lying)
        if facing is None:
            has_random_yaw = shape not in ("car", "snowman") and not lying
            facing = self.uniform(-0.5, 0.5) + _DEFAULT_YAW.get(shape, 0.0) if has_random_yaw else 0.0
        rotation = quat_mul(quat_from_axis_angle((0.0, 0.0, 1.0), facing), rotation)
        if shape == "ball":
            rotation = self.random_rotation()
        return self.add(
            replace(entity, position=(x, y, height + (height_above_rest or 0.0)), rotation=rotation)
        )

    def add(self, entity: Entity) -> int:
        """Add an entity to the scene; returns its index."""
        self.entities.append(entity)
        return len(self.entities) - 1

    def random_rotation(self) -> Quaternion:
        """A uniformly distributed random rotation."""
        w, x, y, z = self.rng.normal(size=4)
        length = math.sqrt(w * w + x * x + y * y + z * z)
        return (w / length, x / length, y / length, z / length) if length else IDENTITY_ROTATION

    def random_yaw(self, max_angle: float) -> Quaternion:
        """A random rotation about z by at most `max_angle` radians."""
        return quat_from_axis_angle((0.0, 0.0, 1.0), self.uniform(-max_angle, max_angle))

    def replace_entity(self, index: int, entity: Entity) -> None:
        """Replace an entity of the scene."""
        self.entities[index] = entity

    def set_moving(self, index: int, velocity: Vector, stop_after: float | None = None) -> None:
        """Give an entity a velocity along the floor and the friction that stops it.

        Rolling resistance with lever arm k decelerates a sphere by 5/7 g k / r; sliding friction decelerates
        by g mu.

        Args:
            index: the entity.
            velocity: metres per second.
            stop_after: seconds until it stops; None for hardly any friction.
        """
        entity = self.entities[index]
        speed = math.hypot(velocity[0], velocity[1])
        on_rim = entity.shape in ("ring", "disc") and entity.position[2] > entity.extent * 0.7
        if entity.shape in _ROLLING_SHAPES:
            radius = rest_pose(entity)[0]
            arm = 0.0 if stop_after is None else 1.4 * radius * speed / (GRAVITY * stop_after)
            self.entities[index] = replace(
                with_rolling_velocity(entity, velocity, radius), rolling_friction=arm
            )
        elif on_rim:
            self.entities[index] = with_rolling_velocity(entity, velocity, entity.extent)
        elif entity.shape == "car":
            self.entities[index] = replace(entity, velocity=velocity)
        else:
            self.entities[index] = self._with_sliding_friction(entity, velocity, speed, stop_after)

    def _with_sliding_friction(
        self, entity: Entity, velocity: Vector, speed: float, stop_after: float | None
    ) -> Entity:
        friction = 0.02 if stop_after is None else speed / (GRAVITY * stop_after)
        return replace(entity, velocity=velocity, friction=friction)

    def add_background(self, max_count: int = 2) -> None:
        """Sometimes add large background objects, at most `max_count`."""
        if self.lab or self.bernoulli(0.6):
            return
        count = int(self.rng.integers(1, max_count + 1))
        first_side = self.random_side()
        for index in range(count):
            x = (first_side if index == 0 else -first_side) * self.uniform(0.5, 1.7)
            self.place(
                self.pick(SHAPES),
                x,
                2.1 + 0.8 * index + self.uniform(0.0, 0.4),
                size="large",
                role="background",
            )

    def build_proposal(self, *, relation: str = "", view: ViewRange | None = None) -> SceneProposal:
        """The proposal with all entities added so far."""
        return SceneProposal(entities=tuple(self.entities), relation=relation, view=view or ViewRange())

    def bounding_radius(self, index: int) -> float:
        """The radius of an entity's bounding sphere, metres."""
        return build_body(self.entities[index]).radius

    def top_height(self, index: int) -> float:
        """The height of an entity's highest point above the floor, metres."""
        entity = self.entities[index]
        corners = build_body(entity).outline @ quat_to_matrix(entity.rotation).T
        return float(corners[:, 2].max()) + entity.position[2]
