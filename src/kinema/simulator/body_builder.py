"""Builds the body of an entity: collision geometry, visual geometry and resting pose."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from kinema.simulator.composite_objects import (
    build_car,
    build_container,
    build_pin,
    build_ramp,
    build_rod,
    build_snowman,
    build_table,
)
from kinema.simulator.entities import (
    IDENTITY_ROTATION,
    Entity,
    Quaternion,
    quat_from_axis_angle,
    quat_to_matrix,
)
from kinema.simulator.geometry import (
    LYING_ROTATION,
    POLYHEDRON_PLANES,
    POLYHEDRON_VERTICES,
    Body,
    CollisionGeom,
    Surface,
    VisualGeom,
    build_boxes_body,
    ellipsoid_outline,
    ring_outline,
)
from kinema.simulator.render.scene import PrimitiveKind

RIM_ROTATION = LYING_ROTATION
_CONE_HALF_HEIGHT, _CONE_RADIUS = 0.95, 0.8
_CYLINDER_ASPECT = 0.62
"""Radius over half height of a cylinder; small enough that it can be knocked over."""
_CONE_VERTICES = np.array(
    [(math.cos(k * math.pi / 12), math.sin(k * math.pi / 12), -_CONE_HALF_HEIGHT) for k in range(24)]
    + [(0.0, 0.0, _CONE_HALF_HEIGHT)]
)


def _scale_planes(planes: Float[np.ndarray, "k 4"], scale: float) -> Float[np.ndarray, "k 4"]:
    return planes * np.array([1.0, 1.0, 1.0, scale])


def _build_round_body(radius: float, top: float, half: float, surface: Surface) -> Body:
    """A cylinder (`top` equals `radius`) or a cone (`top` is 0)."""
    if top:
        geom = CollisionGeom(type="cylinder", size=(radius, half))
        outline = ring_outline(radius, -half, half)
    else:
        vertices = _CONE_VERTICES * np.array([radius, radius, half / _CONE_HALF_HEIGHT])
        geom = CollisionGeom(type="mesh", size=(), vertices=vertices)
        outline = np.concatenate([ring_outline(radius, -half, -half)[:8], [[0.0, 0.0, half]]])
    visual_geom = VisualGeom(
        kind=PrimitiveKind.FRUSTUM,
        size=(radius, top, half),
        surface=surface,
        occlusion=(radius * radius * half) ** (1 / 3) * (1.0 if top else 0.75),
    )
    return Body(collision_geoms=(geom,), visual_geoms=(visual_geom,), outline=outline, rest_height=half)


def _build_ring(s: float, surface: Surface) -> Body:
    radius, tube, count = s * 0.75, s * 0.25, 12
    # Twelve capsules end to end approximate the torus.
    half = radius * math.tan(math.pi / count)
    geoms = []
    for k in range(count):
        angle = 2 * math.pi * k / count
        tangent = quat_from_axis_angle((-math.cos(angle), -math.sin(angle), 0.0), (math.pi / 2))
        position = (radius * math.cos(angle), radius * math.sin(angle), 0.0)
        geoms.append(CollisionGeom(type="capsule", size=(tube, half), position=position, rotation=tangent))
    visual_geom = VisualGeom(
        kind=PrimitiveKind.TORUS, size=(radius, tube, 0.0), surface=surface, occlusion=s * 0.55
    )
    return Body(
        collision_geoms=tuple(geoms),
        visual_geoms=(visual_geom,),
        outline=ring_outline(s, -tube, tube),
        rest_height=tube,
    )


def _build_polyhedron(name: str, s: float, surface: Surface) -> Body:
    vertices = POLYHEDRON_VERTICES[name] * s
    visual_geom = VisualGeom(
        kind=PrimitiveKind.POLYHEDRON,
        size=(s, s, s),
        surface=surface,
        planes=_scale_planes(POLYHEDRON_PLANES[name], s),
        occlusion=s * 0.75,
    )
    return Body(
        collision_geoms=(CollisionGeom(type="mesh", size=(), vertices=vertices),),
        visual_geoms=(visual_geom,),
        outline=vertices,
        rest_height=float(-vertices[:, 2].min()),
    )


def build_body(entity: Entity) -> Body:
    """Build the body of an entity."""
    s = entity.extent
    surface = Surface(
        material=entity.material,
        colour=entity.colour,
        second_colour=entity.second_colour,
        pattern=entity.pattern,
    )
    half = entity.dimensions or (s, s, s)
    match entity.shape:
        case "ball":
            visual_geom = VisualGeom(
                kind=PrimitiveKind.SPHERE, size=(s, 0.0, 0.0), surface=surface, occlusion=s
            )
            outline = ellipsoid_outline((s, s, s))
            return Body(
                collision_geoms=(CollisionGeom(type="sphere", size=(s,)),),
                visual_geoms=(visual_geom,),
                outline=outline,
                rest_height=s,
            )
        case "egg":
            radii = (s * 0.8, s * 0.8, s * 1.1)
            visual_geom = VisualGeom(
                kind=PrimitiveKind.ELLIPSOID, size=radii, surface=surface, occlusion=s * 0.85
            )
            outline = ellipsoid_outline(radii)
            geom = CollisionGeom(type="ellipsoid", size=radii)
            return Body(
                collision_geoms=(geom,), visual_geoms=(visual_geom,), outline=outline, rest_height=s * 1.1
            )
        case "cylinder":
            return _build_round_body(s * _CYLINDER_ASPECT, s * _CYLINDER_ASPECT, s, surface)
        case "disc":
            return _build_round_body(s, s, s * 0.25, surface)
        case "cone":
            return _build_round_body(s * _CONE_RADIUS, 0.0, s * _CONE_HALF_HEIGHT, surface)
        case "capsule":
            visual_geom = VisualGeom(
                kind=PrimitiveKind.CAPSULE, size=(s * 0.5, s * 0.6, 0.0), surface=surface, occlusion=s * 0.65
            )
            geom = CollisionGeom(type="capsule", size=(s * 0.5, s * 0.6))
            outline = ring_outline(s * 0.5, -s * 0.9, s * 0.9)
            outline = np.concatenate([outline, [[0, 0, -s * 1.1], [0, 0, s * 1.1]]])
            return Body(
                collision_geoms=(geom,), visual_geoms=(visual_geom,), outline=outline, rest_height=s * 1.1
            )
        case "ring":
            return _build_ring(s, surface)
        case "pyramid" | "prism" | "octahedron" | "gem" | "hexagonal block" | "pivot":
            return _build_polyhedron(entity.shape, s, surface)
        case "pin":
            return build_pin(s, surface)
        case "snowman":
            return build_snowman(s, surface)
        case "car":
            return build_car(s, surface)
        case "ramp":
            return build_ramp(*half, surface)
        case "table":
            return build_table(half, surface)
        case "box":
            return build_container(half, surface)
        case "rod":
            return build_rod(entity, surface)
        case "cube" | "block" | "wall" | "screen" | "domino" | "plank":
            return build_boxes_body([(half, (0.0, 0.0, 0.0))], surface, half[2])


def rest_pose(entity: Entity, lying: bool = False) -> tuple[float, Quaternion]:
    """The pose in which an entity rests on the floor.

    Args:
        entity: the entity.
        lying: put rings, discs and cylinders on their rims. Eggs and capsules always lie on their sides.

    Returns:
        Height of the origin, metres, and rotation.
    """
    s = entity.extent
    match entity.shape:
        case "egg":
            return s * 0.8, LYING_ROTATION
        case "capsule":
            return s * 0.5, LYING_ROTATION
        case "ring" | "disc" if lying:
            return s, RIM_ROTATION
        case "cylinder" if lying:
            return s * _CYLINDER_ASPECT, RIM_ROTATION
        case "gem":
            # Rest on a face: rotate the lowest face normal to point straight down.
            return _gem_rest_pose(s)
        case "octahedron":
            return s / math.sqrt(3), _face_down_rotation(np.array([1.0, 1.0, 1.0]) / math.sqrt(3))
    return build_body(entity).rest_height, IDENTITY_ROTATION


def _face_down_rotation(normal: Float[np.ndarray, "3"]) -> Quaternion:
    axis = np.cross(normal, [0.0, 0.0, -1.0])
    length = float(np.linalg.norm(axis))
    angle = math.atan2(length, float(-normal[2]))
    x, y, z = axis / length
    return quat_from_axis_angle((float(x), float(y), float(z)), angle)


def _gem_rest_pose(s: float) -> tuple[float, Quaternion]:
    plane = POLYHEDRON_PLANES["gem"][int(np.argmin(POLYHEDRON_PLANES["gem"][:, 2]))]
    rotation = _face_down_rotation(plane[:3])
    low = (POLYHEDRON_VERTICES["gem"] @ quat_to_matrix(rotation).T)[:, 2].min()
    return float(-low * s), rotation
