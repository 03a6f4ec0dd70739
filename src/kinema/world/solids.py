"""From an entity to its body: what collides, what is seen, and how it rests on the floor."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from kinema.world.bodies import (
    LYING,
    PLANES,
    POLYHEDRA,
    Geom,
    Part,
    Solid,
    Surface,
    boxes_solid,
    ring_outline,
    round_outline,
)
from kinema.world.entities import UNTURNED, Entity, Quaternion, matrix, turn
from kinema.world.furnishings import car, container, pin, ramp, rod, snowman, table
from kinema.world.render.scene import Kind

ON_RIM = LYING
_CONE_HALF_HEIGHT, _CONE_RADIUS = 0.95, 0.8
_CYLINDER = 0.62
"""Radius of a cylinder over its half height: slim enough to be knocked over."""
_CONE = np.array(
    [(math.cos(k * math.pi / 12), math.sin(k * math.pi / 12), -_CONE_HALF_HEIGHT) for k in range(24)]
    + [(0.0, 0.0, _CONE_HALF_HEIGHT)]
)


def _scaled_planes(planes: Float[np.ndarray, "k 4"], scale: float) -> Float[np.ndarray, "k 4"]:
    return planes * np.array([1.0, 1.0, 1.0, scale])


def _upright_round(radius: float, top: float, half: float, look: Surface) -> Solid:
    """A cylinder (`top` equal to `radius`), or a cone (`top` 0)."""
    if top:
        geom = Geom(type="cylinder", size=(radius, half))
        outline = ring_outline(radius, -half, half)
    else:
        vertices = _CONE * np.array([radius, radius, half / _CONE_HALF_HEIGHT])
        geom = Geom(type="mesh", size=(), vertices=vertices)
        outline = np.concatenate([ring_outline(radius, -half, -half)[:8], [[0.0, 0.0, half]]])
    part = Part(
        kind=Kind.FRUSTUM,
        size=(radius, top, half),
        surface=look,
        occlusion=(radius * radius * half) ** (1 / 3) * (1.0 if top else 0.75),
    )
    return Solid(geoms=(geom,), parts=(part,), outline=outline, rest=half)


def _ring(s: float, look: Surface) -> Solid:
    radius, tube, count = s * 0.75, s * 0.25, 12
    # Twelve capsules laid head to tail; their half length makes the ends meet.
    half = radius * math.tan(math.pi / count)
    geoms = []
    for k in range(count):
        angle = 2 * math.pi * k / count
        tangent = turn((-math.cos(angle), -math.sin(angle), 0.0), (math.pi / 2))
        place = (radius * math.cos(angle), radius * math.sin(angle), 0.0)
        geoms.append(Geom(type="capsule", size=(tube, half), position=place, rotation=tangent))
    part = Part(kind=Kind.TORUS, size=(radius, tube, 0.0), surface=look, occlusion=s * 0.55)
    return Solid(geoms=tuple(geoms), parts=(part,), outline=ring_outline(s, -tube, tube), rest=tube)


def _polyhedron(name: str, s: float, look: Surface) -> Solid:
    vertices = POLYHEDRA[name] * s
    part = Part(
        kind=Kind.POLYHEDRON,
        size=(s, s, s),
        surface=look,
        planes=_scaled_planes(PLANES[name], s),
        occlusion=s * 0.75,
    )
    return Solid(
        geoms=(Geom(type="mesh", size=(), vertices=vertices),),
        parts=(part,),
        outline=vertices,
        rest=float(-vertices[:, 2].min()),
    )


def solid_of(entity: Entity) -> Solid:
    """The body of an entity."""
    s = entity.extent
    look = Surface(
        material=entity.material,
        colour=entity.colour,
        second_colour=entity.second_colour,
        pattern=entity.pattern,
    )
    half = entity.dimensions or (s, s, s)
    match entity.shape:
        case "ball":
            part = Part(kind=Kind.SPHERE, size=(s, 0.0, 0.0), surface=look, occlusion=s)
            outline = round_outline((s, s, s))
            return Solid(geoms=(Geom(type="sphere", size=(s,)),), parts=(part,), outline=outline, rest=s)
        case "egg":
            radii = (s * 0.8, s * 0.8, s * 1.1)
            part = Part(kind=Kind.ELLIPSOID, size=radii, surface=look, occlusion=s * 0.85)
            outline = round_outline(radii)
            geom = Geom(type="ellipsoid", size=radii)
            return Solid(geoms=(geom,), parts=(part,), outline=outline, rest=s * 1.1)
        case "cylinder":
            return _upright_round(s * _CYLINDER, s * _CYLINDER, s, look)
        case "disc":
            return _upright_round(s, s, s * 0.25, look)
        case "cone":
            return _upright_round(s * _CONE_RADIUS, 0.0, s * _CONE_HALF_HEIGHT, look)
        case "capsule":
            part = Part(kind=Kind.CAPSULE, size=(s * 0.5, s * 0.6, 0.0), surface=look, occlusion=s * 0.65)
            geom = Geom(type="capsule", size=(s * 0.5, s * 0.6))
            outline = ring_outline(s * 0.5, -s * 0.9, s * 0.9)
            outline = np.concatenate([outline, [[0, 0, -s * 1.1], [0, 0, s * 1.1]]])
            return Solid(geoms=(geom,), parts=(part,), outline=outline, rest=s * 1.1)
        case "ring":
            return _ring(s, look)
        case "pyramid" | "prism" | "octahedron" | "gem" | "hexagonal block" | "pivot":
            return _polyhedron(entity.shape, s, look)
        case "pin":
            return pin(s, look)
        case "snowman":
            return snowman(s, look)
        case "car":
            return car(s, look)
        case "ramp":
            return ramp(*half, look)
        case "table":
            return table(half, look)
        case "box":
            return container(half, look)
        case "rod":
            return rod(entity, look)
        case "cube" | "block" | "wall" | "screen" | "domino" | "plank":
            return boxes_solid([(half, (0.0, 0.0, 0.0))], look, half[2])


def standing(entity: Entity, lying: bool = False) -> tuple[float, Quaternion]:
    """Height of the origin and rotation with which the entity rests on the floor.

    Eggs and capsules always lie on their sides; `lying` puts rings, discs and cylinders on their rims.
    """
    s = entity.extent
    match entity.shape:
        case "egg":
            return s * 0.8, LYING
        case "capsule":
            return s * 0.5, LYING
        case "ring" | "disc" if lying:
            return s, ON_RIM
        case "cylinder" if lying:
            return s * _CYLINDER, ON_RIM
        case "gem":
            # On a face, not on an edge: the lowest face normal is turned to point straight down.
            return _gem_rest(s)
        case "octahedron":
            return s / math.sqrt(3), _face_down(np.array([1.0, 1.0, 1.0]) / math.sqrt(3))
    return solid_of(entity).rest, UNTURNED


def _face_down(normal: Float[np.ndarray, "3"]) -> Quaternion:
    axis = np.cross(normal, [0.0, 0.0, -1.0])
    length = float(np.linalg.norm(axis))
    angle = math.atan2(length, float(-normal[2]))
    x, y, z = axis / length
    return turn((float(x), float(y), float(z)), angle)


def _gem_rest(s: float) -> tuple[float, Quaternion]:
    plane = PLANES["gem"][int(np.argmin(PLANES["gem"][:, 2]))]
    rotation = _face_down(plane[:3])
    low = (POLYHEDRA["gem"] @ matrix(rotation).T)[:, 2].min()
    return float(-low * s), rotation
