"""What an entity's body is made of: collision solids, visible solids, and the points that bound them.

Frames: each entity's origin is the middle of its height when it rests on the floor, z up. Sizes are half
extents in metres.
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
"""z laid along -y."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What one part looks like; `kinema.simulator.appearance.material` makes a row of numbers of it."""

    material: Material
    colour: Colour | None
    second_colour: Colour | None = None
    pattern: Pattern = "solid"


@dataclass(frozen=True, kw_only=True)
class CollisionGeom:
    """One collision solid, in MuJoCo's words: type, size, place in the entity's frame."""

    type: str
    size: tuple[float, ...]
    position: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = IDENTITY_ROTATION
    vertices: Float[np.ndarray, "v 3"] | None = None
    """For a mesh: the corners of its convex hull."""
    density: float | None = None
    friction: float | None = None


@dataclass(frozen=True, kw_only=True)
class VisualGeom:
    """One visible solid, in the renderer's words."""

    kind: PrimitiveKind
    size: Vector
    surface: Surface
    position: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = IDENTITY_ROTATION
    planes: Float[np.ndarray, "k 4"] | None = None
    occlusion: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A part of an entity that turns about the entity's y axis by itself."""

    position: Vector
    collision_geom: CollisionGeom
    visual_geoms: tuple[VisualGeom, ...]


@dataclass(frozen=True, kw_only=True)
class Body:
    """An entity's body."""

    collision_geoms: tuple[CollisionGeom, ...]
    visual_geoms: tuple[VisualGeom, ...]
    outline: Float[np.ndarray, "k 3"]
    """Points on the surface whose projections bound it on screen, within a few percent."""
    rest_height: float
    """Height of the origin over the floor when it rests as built."""
    wheels: tuple[Wheel, ...] = field(default=())

    @property
    def radius(self) -> float:
        """Distance of the farthest outline point from the origin."""
        return float(np.linalg.norm(self.outline, axis=1).max())


def convex_hull_planes(vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "k 4"]:
    """The faces of a convex hull as outward unit normals and distances, coplanar triangles merged."""
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
    """The corners of a box."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    return signs * np.array(half) + np.array(centre)


def ellipsoid_outline(half: Vector) -> Float[np.ndarray, "32 3"]:
    """Points round an ellipsoid."""
    # The corners and face middles of an icosahedron, moved out a little, reach every direction within 4%.
    directions = np.concatenate([POLYHEDRON_VERTICES["gem"], POLYHEDRON_PLANES["gem"][:, :3]])
    return directions * np.array(half) * 1.04


def ring_outline(radius: float, low: float, high: float) -> Float[np.ndarray, "16 3"]:
    """Points on two level circles."""
    angles = np.arange(8) * math.pi / 4
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius * 1.03
    return np.concatenate([np.c_[circle, np.full(8, z)] for z in (low, high)])


def equal_volume_radius(half: Vector) -> float:
    """The size of a cube or ball that takes up about as much room."""
    return (half[0] * half[1] * half[2]) ** (1 / 3)


def build_boxes_body(boxes: list[tuple[Vector, Vector]], surface: Surface, rest_height: float) -> Body:
    """A solid of several boxes given as (half extents, centre)."""
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
