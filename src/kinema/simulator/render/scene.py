"""What the ray tracer is given: arrays, and nothing that knows of captions or physics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float, UInt8


class PrimitiveKind(IntEnum):
    """Primitive solids. Sizes are half extents in the primitive's own frame, metres."""

    SPHERE = 0  # radius, -, -
    ELLIPSOID = 1  # three radii
    BOX = 2  # three half extents
    FRUSTUM = 3  # radius at the bottom, radius at the top, half height (axis z); cylinders and cones too
    CAPSULE = 4  # radius, half length of the axis (z), -
    TORUS = 5  # ring radius, tube radius, - (axis z)
    POLYHEDRON = 6  # convex; its planes stand in `planes`


BACKGROUND_ID = 255
"""The id of everything that is scenery."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Primitive:
    """One solid of an entity, placed in the entity's own frame."""

    kind: PrimitiveKind
    size: tuple[float, float, float]
    material: int
    """Row of `Scene.materials`."""
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation: Float[np.ndarray, "3 3"] | None = None
    planes: Float[np.ndarray, "k 4"] | None = None
    """For a polyhedron: outward unit normals and distances, n·x <= d."""
    occlusion: float = 0.0
    """Radius of the sphere that stands in for it in ambient occlusion; 0 casts none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PosedObject:
    """Primitives of one entity with its pose in every frame. A still thing may give one frame only."""

    object_id: int
    """What the id buffer holds where it is seen: entity index + 1, or BACKGROUND."""
    primitives: tuple[Primitive, ...]
    position: Float[np.ndarray, "f 3"]
    rotation: Float[np.ndarray, "f 3 3"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderScene:
    """A film to be rendered. The number of frames is that of `cameras`."""

    objects: tuple[PosedObject, ...]
    materials: Float[np.ndarray, "m 16"]
    """Rows made by `kinema.simulator.appearance.material`."""
    sky: str
    sky_seed: int
    floor: str
    floor_seed: int
    cameras: Float[np.ndarray, "f 13"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderResult:
    """What the renderer made."""

    frames: UInt8[np.ndarray, "f h w 3"]
    object_ids: UInt8[np.ndarray, "f h w"] | None = None
    """Object-id buffer: 0 is floor or sky, k + 1 is entity k, BACKGROUND is scenery."""
    depth: Float[np.ndarray, "f h w"] | None = None
    """Distance along the ray in metres, infinity where the sky is seen."""
