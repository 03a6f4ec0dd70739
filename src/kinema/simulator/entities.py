"""What can stand in a scene: one typed value for each thing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from kinema.simulator.annotations import Colour, EntityAnnotation, Material, Pattern, Role, Shape, Size

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
"""w, x, y, z; unit length."""

IDENTITY_ROTATION: Quaternion = (1.0, 0.0, 0.0, 0.0)


def quat_from_axis_angle(axis: Vector, angle: float) -> Quaternion:
    """The rotation by `angle` radians about a unit axis."""
    sine = math.sin(angle / 2)
    return (math.cos(angle / 2), axis[0] * sine, axis[1] * sine, axis[2] * sine)


def quat_mul(second: Quaternion, first: Quaternion) -> Quaternion:
    """The rotation that turns by `first`, then by `second`."""
    a, b, c, d = second
    e, f, g, h = first
    return (
        a * e - b * f - c * g - d * h,
        a * f + b * e + c * h - d * g,
        a * g - b * h + c * e + d * f,
        a * h + b * g - c * f + d * e,
    )


def quat_to_matrix(q: Quaternion) -> Float[np.ndarray, "3 3"]:
    """The rotation matrix of a quaternion."""
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@dataclass(frozen=True, kw_only=True)
class Hinge:
    """The entity can only turn about an axis through a point given in its own frame."""

    axis: Vector
    anchor: Vector
    damping: float = 0.01
    limit: float | None = None
    """Largest angle to either side, radians."""


@dataclass(frozen=True, kw_only=True)
class CircularMotion:
    """Moved by hand on a level circle, counterclockwise from above where `period` is positive."""

    centre: Vector
    radius: float
    period: float
    phase: float
    bob: float = 0.0
    """Amplitude of the rise and fall on the way, metres."""


@dataclass(frozen=True, kw_only=True)
class SpinMotion:
    """Turned by hand in the air, counterclockwise from above where `period` is positive."""

    period: float
    tilt: float = 0.0
    bob: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RigidAttachment:
    """Rigidly carried by another entity, and touched by nothing (the rod of a pendulum)."""

    entity: int
    position: Vector
    rotation: Quaternion = IDENTITY_ROTATION


@dataclass(frozen=True, kw_only=True)
class Entity:
    """One thing: how it looks, what it is made of, where it starts and how fast."""

    shape: Shape
    size: Size = "medium"
    extent: float = 0.36
    """Half of its extent, metres; what that means for each shape stands in `solids`."""
    dimensions: Vector | None = None
    """Half extents along x, y, z, for the shapes that have no one size (walls, tables, planks)."""
    material: Material = "plastic"
    colour: Colour | None = "red"
    pattern: Pattern = "solid"
    second_colour: Colour | None = None
    role: Role = "main"
    named: bool = True
    group: str | None = None
    position: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = IDENTITY_ROTATION
    velocity: Vector = (0.0, 0.0, 0.0)
    angular_velocity: Vector = (0.0, 0.0, 0.0)
    """Angular velocity in the world, radians per second."""
    fixed: bool = False
    motion: Hinge | CircularMotion | SpinMotion | RigidAttachment | None = None
    density: float | None = None
    restitution: float | None = None
    friction: float | None = None
    rolling_friction: float = 0.0
    """Rolling friction, metres: the lever arm by which the floor slows a rolling thing."""

    def to_annotation(self, index: int) -> EntityAnnotation:
        """What captions may say of it."""
        return EntityAnnotation(
            index=index,
            role=self.role,
            shape=self.shape,
            size=self.size,
            material=self.material,
            colour=self.colour,
            pattern=self.pattern,
            second_colour=self.second_colour,
            fixed=self.fixed,
            named=self.named,
            group=self.group,
        )


def with_rolling_velocity(entity: Entity, velocity: Vector, radius: float) -> Entity:
    """The entity set rolling along the floor without slipping."""
    return replace(
        entity, velocity=velocity, angular_velocity=(-velocity[1] / radius, velocity[0] / radius, 0.0)
    )


def mirror_entity(entity: Entity) -> Entity:
    """The entity in the mirror image of its scene, left and right exchanged.

    Right for things that are their own mirror images and look the same from both ends of x, which the
    lab's shapes are.
    """
    w, x, y, z = entity.rotation
    return replace(
        entity,
        position=(-entity.position[0], *entity.position[1:]),
        rotation=(w, x, -y, -z),
        velocity=(-entity.velocity[0], *entity.velocity[1:]),
        angular_velocity=(
            entity.angular_velocity[0],
            -entity.angular_velocity[1],
            -entity.angular_velocity[2],
        ),
    )
