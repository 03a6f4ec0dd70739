"""Geometry of an entity's body: collision solids, visible solids and outline points.

The origin of an entity is at half its height when it rests on the floor, z up. Sizes are half extents in
metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull

from kinema.simulator.annotations import Colour, Material, Pattern
from kinema.simulator.entities import IDENTITY_ROTATION, Quaternion, Vector, quat_from_axis_angle
from kinema.simulator.render.scene import PrimitiveKind

LYING_ROTATION = quat_from_axis_angle((1.0, 0.0, 0.0), math.pi / 2)
"""Rotation that turns the z axis to -y."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Appearance of one visible solid; `kinema.simulator.appearance.material` converts it to a row of
    numbers."""

    material: Material
    colour: Colour | None
    second_colour: Colour | None = None
    pattern: Pattern = "solid"


@dataclass(frozen=True, kw_only=True)
class CollisionGeom:
    """One collision solid in MuJoCo's terms: type, size and pose in the entity's frame."""

    type: str
    size: tuple[float, ...]
    position: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = IDENTITY_ROTATION
    vertices: Float[np.ndarray, "v 3"] | None = None
    """Vertices of the convex hull, for a mesh."""
    density: float | None = None
    friction: float | None = None


@dataclass(frozen=True, kw_only=True)
class VisualGeom:
    """One visible solid in the renderer's terms."""

    kind: PrimitiveKind
    size: Vector
    surface: Surface
    position: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = IDENTITY_ROTATION
    planes: Float[np.ndarray, "k 4"] | None = None
    occlusion: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A part of an entity that rotates about the entity's y axis."""

    position: Vector
    collision_geom: CollisionGeom
    visual_geoms: tuple[VisualGeom, ...]


@dataclass(frozen=True, kw_only=True)
class Body:
    """The body of an entity."""

    collision_geoms: tuple[CollisionGeom, ...]
    visual_geoms: tuple[VisualGeom, ...]
    outline: Float[np.ndarray, "k 3"]
    """Surface points whose projections bound the body on screen to within a few percent."""
    rest_height: float
    """Height of the origin above the floor at rest, without rotation."""
    wheels: tuple[Wheel, ...] = field(default=())

    @property
    def radius(self) -> float:
        """Distance of the farthest outline point from the origin, metres."""
        return float(np.linalg.norm(self.outline, axis=1).max())


def convex_hull_planes(vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "k 4"]:
    """Faces of a convex hull as outward unit normals and distances; coplanar triangles are merged."""
    equations = np.unique(np.round(ConvexHull(vertices).equations, 6), axis=0)
    return np.concatenate([equations[:, :3], -equations[:, 3:]], axis=1)


def _polyhedron_vertices() -> dict[str, Float[np.ndarray, "v 3"]]:
    golden = (1 + math.sqrt(5)) / 2
    gem = [p for a in (-1, 1) for b in (-golden, golden) for p in ((0, a, b), (a, b, 0), (b, 0, a))]
    hexagon = [(math.cos(k * math.pi / 3), math.sin(k * math.pi / 3)) for k in range(6)]
    shapes = {
        "pyramid": [(x, y, -0.85) for x in (-1, 1) for y in (-1, 1)] + [(0, 0, 0.85)],
        "prism": [(x, y, z) for x in (-1, 1) for y, z in ((-0.9, -0.75), (0.9, -0.75), (0, 0.75))],
        "octahedron": [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)],
        "gem": gem,
        "hexagonal block": [(x, y, z) for x, y in hexagon for z in (-0.8, 0.8)],
        "pivot": [(x, y, -0.5) for x in (-0.6, 0.6) for y in (-1, 1)] + [(0, -1, 0.5), (0, 1, 0.5)],
    }
    found = {name: np.array(points, dtype=float) for name, points in shapes.items()}
    found["gem"] = found["gem"] / np.linalg.norm(found["gem"][0])
    return found


POLYHEDRON_VERTICES = _polyhedron_vertices()
POLYHEDRON_PLANES = {name: convex_hull_planes(vertices) for name, vertices in POLYHEDRON_VERTICES.items()}


def box_outline(half: Vector, centre: Vector = (0.0, 0.0, 0.0)) -> Float[np.ndarray, "8 3"]:
    """Corners of a box."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    return signs * np.array(half) + np.array(centre)


def ellipsoid_outline(half: Vector) -> Float[np.ndarray, "32 3"]:
    """Outline points of an ellipsoid."""
    # Vertices and face centres of an icosahedron, moved out a little, bound it to within 4%.
    directions = np.concatenate([POLYHEDRON_VERTICES["gem"], POLYHEDRON_PLANES["gem"][:, :3]])
    return directions * np.array(half) * 1.04


def ring_outline(radius: float, low: float, high: float) -> Float[np.ndarray, "16 3"]:
    """Points on two horizontal circles."""
    angles = np.arange(8) * math.pi / 4
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius * 1.03
    return np.concatenate([np.c_[circle, np.full(8, z)] for z in (low, high)])


def equal_volume_radius(half: Vector) -> float:
    """The radius of a sphere with about the volume of the shape."""
    return (half[0] * half[1] * half[2]) ** (1 / 3)


def build_boxes_body(boxes: list[tuple[Vector, Vector]], surface: Surface, rest_height: float) -> Body:
    """A body of several boxes, given as pairs of half extents and centre."""
    return Body(
        collision_geoms=tuple(
            CollisionGeom(type="box", size=half, position=centre) for half, centre in boxes
        ),
        visual_geoms=tuple(
            VisualGeom(
                kind=PrimitiveKind.BOX,
                size=half,
                surface=surface,
                position=centre,
                occlusion=equal_volume_radius(half) * 1.1,
            )
            for half, centre in boxes
        ),
        outline=np.concatenate([box_outline(half, centre) for half, centre in boxes]),
        rest_height=rest_height,
    )
