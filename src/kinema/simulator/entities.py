"""Entities of a scene, their prescribed motions, and quaternion arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from kinema.simulator.annotations import Colour, EntityAnnotation, Material, Pattern, Role, Shape, Size

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
"""w, x, y, z of a unit quaternion."""

IDENTITY_ROTATION: Quaternion = (1.0, 0.0, 0.0, 0.0)


def quat_from_axis_angle(axis: Vector, angle: float) -> Quaternion:
    """The rotation by `angle` radians about a unit axis."""
    sine = math.sin(angle / 2)
    return (math.cos(angle / 2), axis[0] * sine, axis[1] * sine, axis[2] * sine)


def quat_mul(second: Quaternion, first: Quaternion) -> Quaternion:
    """The rotation by `first` followed by `second`."""
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
    """A hinge: the entity rotates about an axis through an anchor, both in its own frame."""

    axis: Vector
    anchor: Vector
    damping: float = 0.01
    limit: float | None = None
    """Largest angle in either direction, radians."""


@dataclass(frozen=True, kw_only=True)
class CircularMotion:
    """Prescribed motion on a horizontal circle; counterclockwise from above for a positive `period`.

    Lengths in metres, `period` in seconds, `phase` in radians.
    """

    centre: Vector
    radius: float
    period: float
    phase: float
    bob: float = 0.0
    """Amplitude of a vertical oscillation, metres."""


@dataclass(frozen=True, kw_only=True)
class SpinMotion:
    """Prescribed rotation in the air; counterclockwise from above for a positive `period` (seconds)."""

    period: float
    tilt: float = 0.0
    bob: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RigidAttachment:
    """Rigid attachment to another entity, without contacts (the rod of a pendulum)."""

    entity: int
    position: Vector
    rotation: Quaternion = IDENTITY_ROTATION


@dataclass(frozen=True, kw_only=True)
class Entity:
    """One object: its appearance, material, initial pose and initial velocity."""

    shape: Shape
    size: Size = "medium"
    extent: float = 0.36
    """Half of its extent, metres; `body_builder` defines the extent of each shape."""
    dimensions: Vector | None = None
    """Half extents along x, y and z, for shapes that need all three (walls, tables, planks)."""
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
    """In world axes, radians per second."""
    fixed: bool = False
    motion: Hinge | CircularMotion | SpinMotion | RigidAttachment | None = None
    density: float | None = None
    restitution: float | None = None
    friction: float | None = None
    rolling_friction: float = 0.0
    """Lever arm of the rolling resistance, metres."""

    def to_annotation(self, index: int) -> EntityAnnotation:
        """The attributes that captions use."""
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
    """The entity with a velocity and the angular velocity of rolling without slipping."""
    return replace(
        entity, velocity=velocity, angular_velocity=(-velocity[1] / radius, velocity[0] / radius, 0.0)
    )


def mirror_entity(entity: Entity) -> Entity:
    """The entity in the mirror image of its scene, with left and right exchanged.

    Only valid for shapes that are symmetric in x, such as those of the lab.
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
