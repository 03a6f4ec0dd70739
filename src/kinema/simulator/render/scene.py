"""Input and output types of the ray tracer. They do not depend on physics or captions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float, UInt8


class PrimitiveKind(IntEnum):
    """Primitive solids. Sizes are half extents in the primitive's frame, metres."""

    SPHERE = 0  # radius, -, -
    ELLIPSOID = 1  # three radii
    BOX = 2  # three half extents
    FRUSTUM = 3  # radius at the bottom, radius at the top, half height (axis z); cylinders and cones too
    CAPSULE = 4  # radius, half length of the axis (z), -
    TORUS = 5  # ring radius, tube radius, - (axis z)
    POLYHEDRON = 6  # convex; defined by `planes`


BACKGROUND_ID = 255
"""The object id of the background."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Primitive:
    """One solid of an entity, with its pose in the entity's frame."""

    kind: PrimitiveKind
    size: tuple[float, float, float]
    material: int
    """Row of `RenderScene.materials`."""
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation: Float[np.ndarray, "3 3"] | None = None
    planes: Float[np.ndarray, "k 4"] | None = None
    """Planes of a polyhedron: outward unit normals and distances, n·x <= d."""
    occlusion: float = 0.0
    """Radius of the sphere that represents it in ambient occlusion; 0 for none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PosedObject:
    """Primitives of one entity and its pose in every frame, or one pose for a static entity."""

    object_id: int
    """Its value in the id buffer: entity index + 1, or BACKGROUND_ID."""
    primitives: tuple[Primitive, ...]
    position: Float[np.ndarray, "f 3"]
    rotation: Float[np.ndarray, "f 3 3"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderScene:
    """A scene to render. The number of frames is that of `cameras`."""

    objects: tuple[PosedObject, ...]
    materials: Float[np.ndarray, "m 16"]
    """Rows of `kinema.simulator.appearance.material.material_row`."""
    sky: str
    sky_seed: int
    floor: str
    floor_seed: int
    cameras: Float[np.ndarray, "f 13"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderResult:
    """The rendered frames and buffers."""

    frames: UInt8[np.ndarray, "f h w 3"]
    object_ids: UInt8[np.ndarray, "f h w"] | None = None
    """Object-id buffer: 0 is floor or sky, k + 1 is entity k, BACKGROUND_ID is the background."""
    depth: Float[np.ndarray, "f h w"] | None = None
    """Distance along the ray in metres; infinity for the sky."""
