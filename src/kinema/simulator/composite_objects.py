"""Objects built of several solids: pin, snowman, car, ramp, table, box, rod."""

from __future__ import annotations

import math

import numpy as np

from kinema.simulator.entities import IDENTITY_ROTATION, Entity, Quaternion, Vector, quat_from_axis_angle
from kinema.simulator.geometry import (
    LYING_ROTATION,
    Body,
    CollisionGeom,
    Surface,
    VisualGeom,
    Wheel,
    box_outline,
    build_boxes_body,
    convex_hull_planes,
    equal_volume_radius,
)
from kinema.simulator.render.scene import PrimitiveKind


def build_pin(s: float, surface: Surface) -> Body:
    """A bowling pin."""
    stripe = Surface(material="plastic", colour="red")

    def frustum(
        low: float, high: float, z: float, half: float, occlusion: float, part_surface: Surface
    ) -> VisualGeom:
        size = (s * low, s * high, s * half)
        return VisualGeom(
            kind=PrimitiveKind.FRUSTUM,
            size=size,
            surface=part_surface,
            position=(0.0, 0.0, s * z),
            occlusion=s * occlusion,
        )

    return Body(
        collision_geoms=(
            CollisionGeom(type="cylinder", size=(s * 0.3, s * 0.5), position=(0.0, 0.0, -s * 0.5)),
            CollisionGeom(type="capsule", size=(s * 0.2, s * 0.45), position=(0.0, 0.0, s * 0.33)),
        ),
        visual_geoms=(
            frustum(0.3, 0.32, -0.7, 0.3, 0.35, surface),
            frustum(0.32, 0.16, -0.05, 0.35, 0.0, surface),
            frustum(0.17, 0.17, 0.36, 0.06, 0.0, stripe),
            VisualGeom(
                kind=PrimitiveKind.SPHERE,
                size=(s * 0.25, 0.0, 0.0),
                surface=surface,
                position=(0.0, 0.0, s * 0.62),
                occlusion=s * 0.2,
            ),
        ),
        outline=box_outline((s * 0.3, s * 0.3, s * 0.93), (0.0, 0.0, -s * 0.07)),
        rest_height=s,
    )


def build_snowman(s: float, surface: Surface) -> Body:
    """A snowman that faces -y, towards the default camera."""
    carrot, coal = Surface(material="plastic", colour="orange"), Surface(material="plastic", colour="black")
    balls = ((-0.6, 0.62), (0.15, 0.43), (0.7, 0.3))
    hat = ((0.36, 0.03, 0.9), (0.25, 0.16, 1.05))

    def at(x: float, y: float, z: float) -> Vector:
        return (s * x, s * y, s * z)

    parts = [
        VisualGeom(
            kind=PrimitiveKind.SPHERE,
            size=(s * r, 0.0, 0.0),
            surface=surface,
            position=at(0, 0, z),
            occlusion=s * r * 0.8,
        )
        for z, r in balls
    ]
    parts.append(
        VisualGeom(
            kind=PrimitiveKind.FRUSTUM,
            size=at(0.08, 0.0, 0.17),
            surface=carrot,
            position=at(0, -0.42, 0.7),
            rotation=LYING_ROTATION,
        )
    )
    parts += [
        VisualGeom(kind=PrimitiveKind.SPHERE, size=at(0.045, 0, 0), surface=coal, position=at(x, -0.26, 0.79))
        for x in (-0.11, 0.11)
    ]
    parts += [
        VisualGeom(kind=PrimitiveKind.FRUSTUM, size=at(r, r, half), surface=coal, position=at(0, 0, z))
        for r, half, z in hat
    ]
    foot = CollisionGeom(type="cylinder", size=(s * 0.4, s * 0.1), position=at(0, 0, -1.12))
    geoms = tuple(CollisionGeom(type="sphere", size=(s * r,), position=at(0, 0, z)) for z, r in balls)
    return Body(
        collision_geoms=(*geoms, foot),
        visual_geoms=tuple(parts),
        outline=box_outline(at(0.5, 0.5, 1.21)),
        rest_height=s * 1.22,
    )


def build_car(s: float, surface: Surface) -> Body:
    """A toy car that drives along +x."""
    cabin, tyre = Surface(material="plastic", colour="gray"), Surface(material="rubber", colour="black")
    hub = Surface(material="metal", colour="white")

    def at(x: float, y: float, z: float) -> Vector:
        return (s * x, s * y, s * z)

    boxes = (
        (at(1, 0.45, 0.2), at(0, 0, -0.07), surface, 0.5),
        (at(0.5, 0.38, 0.18), at(-0.1, 0, 0.29), cabin, 0.0),
        (at(0.42, 0.385, 0.05), at(-0.1, 0, 0.49), surface, 0.0),
    )
    wheels = []
    for x in (-0.6, 0.6):
        for y in (-0.5, 0.5):
            parts = tuple(
                VisualGeom(
                    kind=PrimitiveKind.FRUSTUM, size=at(r, r, half), surface=seen, rotation=LYING_ROTATION
                )
                for r, half, seen in ((0.25, 0.1, tyre), (0.13, 0.105, hub))
            )
            # Ellipsoids have one contact point each, so they roll more steadily than cylinders.
            geom = CollisionGeom(type="ellipsoid", size=at(0.25, 0.1, 0.25), density=600.0, friction=1.2)
            wheels.append(Wheel(position=at(x, y, -0.29), collision_geom=geom, visual_geoms=parts))
    body, roof = at(1, 0.45, 0.2), at(0.5, 0.38, 0.2)
    return Body(
        collision_geoms=(
            CollisionGeom(type="box", size=body, position=at(0, 0, -0.07), density=300.0, friction=0.3),
            CollisionGeom(type="box", size=roof, position=at(-0.1, 0, 0.33), density=100.0, friction=0.3),
        ),
        visual_geoms=tuple(
            VisualGeom(
                kind=PrimitiveKind.BOX, size=half, surface=seen, position=centre, occlusion=s * occlusion
            )
            for half, centre, seen, occlusion in boxes
        ),
        outline=box_outline(at(1, 0.6, 0.54)),
        rest_height=s * 0.54,
        wheels=tuple(wheels),
    )


def build_ramp(length: float, depth: float, height: float, surface: Surface) -> Body:
    """A wedge that is high at -x. `half` are half extents; its collision box continues below the floor."""
    corners = np.array(
        [
            (x, y, z)
            for y in (-depth, depth)
            for x, z in ((-length, -height), (length, -height), (-length, height))
        ]
    )
    angle = math.atan2(height, length)
    thickness = 0.6
    slope = math.hypot(length, height)
    # The upper face of the box is the slope, so its centre lies half a thickness below it.
    centre = (-math.sin(angle) * thickness / 2, 0.0, -math.cos(angle) * thickness / 2)
    geom = CollisionGeom(
        type="box",
        size=(slope, depth, thickness / 2),
        position=centre,
        rotation=quat_from_axis_angle((0.0, 1.0, 0.0), angle),
    )
    part = VisualGeom(
        kind=PrimitiveKind.POLYHEDRON,
        size=(length, depth, height),
        surface=surface,
        planes=convex_hull_planes(corners),
        occlusion=equal_volume_radius((length, depth, height)),
    )
    return Body(collision_geoms=(geom,), visual_geoms=(part,), outline=corners, rest_height=height)


def build_table(half: Vector, surface: Surface) -> Body:
    """A board on four legs; `half[2]` is half of the total height."""
    x, y, z = half
    board, leg = 0.05, 0.06
    boxes: list[tuple[Vector, Vector]] = [((x, y, board), (0.0, 0.0, z - board))]
    for a in (-1, 1):
        for b in (-1, 1):
            boxes.append(((leg, leg, z - board), (a * (x - 0.12), b * (y - 0.12), -board)))
    return build_boxes_body(boxes, surface, z)


def build_container(half: Vector, surface: Surface) -> Body:
    """A box that is open at the top."""
    x, y, z = half
    wall = 0.04
    boxes: list[tuple[Vector, Vector]] = [((x, y, wall), (0.0, 0.0, wall - z))]
    boxes += [((wall, y, z), (a * (x - wall), 0.0, 0.0)) for a in (-1, 1)]
    boxes += [((x - 2 * wall, wall, z), (0.0, b * (y - wall), 0.0)) for b in (-1, 1)]
    return build_boxes_body(boxes, surface, z)


def build_rod(entity: Entity, surface: Surface) -> Body:
    """A thin rod along z. A fixed rod is a stand: a post at +y with an arm towards the camera."""
    thickness, reach, half = entity.dimensions or (0.025, 0.0, 0.8)

    def bar(length: float, position: Vector, rotation: Quaternion = IDENTITY_ROTATION) -> VisualGeom:
        return VisualGeom(
            kind=PrimitiveKind.CAPSULE,
            size=(thickness, length, 0.0),
            surface=surface,
            position=position,
            rotation=rotation,
        )

    if not entity.fixed:
        parts = (bar(half, (0.0, 0.0, 0.0)),)
        return Body(
            collision_geoms=(),
            visual_geoms=parts,
            outline=box_outline((thickness, thickness, half)),
            rest_height=half + thickness,
        )
    arm = bar(reach / 2, (0.0, reach / 2, half), LYING_ROTATION)
    post = bar(half, (0.0, reach, 0.0))
    outline = np.array([(0.0, 0.0, half), (0.0, reach, half), (0.0, reach, -half)])
    return Body(collision_geoms=(), visual_geoms=(arm, post), outline=outline, rest_height=half)
