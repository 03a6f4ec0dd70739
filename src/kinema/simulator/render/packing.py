"""Packs a render scene into the arrays of the kernels."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int32

from kinema.simulator.appearance.environments import SkyLighting, build_sky_lighting
from kinema.simulator.appearance.floors import build_floor_texture
from kinema.simulator.appearance.material import GLASS, MATERIAL_COLUMNS
from kinema.simulator.appearance.tonemap import build_tone_table
from kinema.simulator.render import buffers as at
from kinema.simulator.render.buffers import RenderBuffers
from kinema.simulator.render.scene import PosedObject, Primitive, PrimitiveKind, RenderScene

FLOOR_FADE = {"studio": (7.0, 18.0), "outdoor": (12.0, 36.0), "indoor": (3.4, 8.0)}
"""Distances between which the floor fades into the sky image, metres from the origin."""
HDRI_FLOOR_FADE = (3.4, 8.5)
HDRI_CAMERA_HEIGHT = 1.9
"""Camera height of a sky photograph above its ground, metres."""


def bounding_radius(primitive: Primitive) -> float:
    """Radius of the bounding sphere around the primitive's origin, metres."""
    a, b, c = primitive.size
    match primitive.kind:
        case PrimitiveKind.SPHERE:
            return a
        case PrimitiveKind.ELLIPSOID:
            return max(a, b, c)
        case PrimitiveKind.BOX:
            return math.sqrt(a * a + b * b + c * c)
        case PrimitiveKind.FRUSTUM:
            return math.hypot(max(a, b), c)
        case PrimitiveKind.CAPSULE | PrimitiveKind.TORUS:
            return a + b
        case PrimitiveKind.POLYHEDRON:
            return float(np.linalg.norm(polyhedron_corners(polyhedron_planes(primitive)), axis=1).max())


def largest_half_extent(primitive: Primitive) -> float:
    """The largest half extent, metres. Patterns scale with it."""
    a, b, c = primitive.size
    match primitive.kind:
        case PrimitiveKind.SPHERE:
            return a
        case PrimitiveKind.ELLIPSOID | PrimitiveKind.BOX:
            return max(a, b, c)
        case PrimitiveKind.FRUSTUM:
            return max(a, b, c)
        case PrimitiveKind.CAPSULE | PrimitiveKind.TORUS:
            return a + b
        case PrimitiveKind.POLYHEDRON:
            return float(np.abs(polyhedron_corners(polyhedron_planes(primitive))).max())


def polyhedron_planes(primitive: Primitive) -> Float[np.ndarray, "k 4"]:
    """The planes of a polyhedron.

    Raises:
        ValueError: there are fewer than four.
    """
    if primitive.planes is None or len(primitive.planes) < 4:
        raise ValueError("a polyhedron needs at least four planes")
    return np.asarray(primitive.planes, float)


def polyhedron_corners(planes: Float[np.ndarray, "k 4"]) -> Float[np.ndarray, "c 3"]:
    """Corners of the convex polyhedron n·x <= d: intersections of three planes inside all others.

    Raises:
        ValueError: the planes do not bound a volume.
    """
    corners = []
    count = len(planes)
    for i in range(count):
        for j in range(i + 1, count):
            for k in range(j + 1, count):
                triple = planes[[i, j, k]]
                if abs(np.linalg.det(triple[:, :3])) < 1e-9:
                    continue
                point = np.linalg.solve(triple[:, :3], triple[:, 3])
                if (planes[:, :3] @ point <= planes[:, 3] + 1e-6).all():
                    corners.append(point)
    if len(corners) < 4:
        raise ValueError("the planes of a polyhedron must bound a volume")
    return np.unique(np.round(corners, 9), axis=0)


def pack_scene(scene: RenderScene) -> RenderBuffers:
    """Pack a scene for the kernels.

    Raises:
        ValueError: poses or cameras of different lengths, or a material that the scene does not have.
        UserError: no such sky or floor.
    """
    num_frames = len(scene.cameras)
    sky = build_sky_lighting(scene.sky, scene.sky_seed)
    light = _pack_light(scene, sky)
    solids, labels, planes = _pack_solids(scene, num_frames, light)
    return RenderBuffers(
        counts=np.array([solids.shape[1], 0], np.int32),
        solids=np.ascontiguousarray(solids.reshape(-1, at.SOLID_COLUMNS)),
        labels=np.ascontiguousarray(np.tile(labels, (num_frames, 1))),
        planes=planes,
        materials=np.ascontiguousarray(scene.materials, np.float32).reshape(-1, MATERIAL_COLUMNS),
        occluders=np.zeros((0, at.OCCLUDER_COLUMNS), np.float32),
        cameras=np.ascontiguousarray(scene.cameras, np.float32),
        light=light,
        sky=sky.radiance,
        glossy=sky.glossy,
        rough=sky.rough,
        irradiance=sky.irradiance,
        texture=build_floor_texture(scene.floor, scene.floor_seed).texture,
        tone=build_tone_table(),
    )._replace(**_pack_occluders(scene, num_frames, solids, labels))


def _pack_light(scene: RenderScene, sky: SkyLighting) -> np.ndarray:
    floor = build_floor_texture(scene.floor, scene.floor_seed)
    c, s = math.cos(sky.yaw), math.sin(sky.yaw)
    # The yaw rotates the sun; look-ups in the sky image apply the inverse rotation.
    sun = np.array([c * sky.sun[0] - s * sky.sun[1], s * sky.sun[0] + c * sky.sun[1], sky.sun[2]])
    across = np.cross(sun, [0.0, 0.0, 1.0])
    across = across / np.linalg.norm(across) if np.linalg.norm(across) > 1e-6 else np.array([1.0, 0.0, 0.0])
    along = np.cross(sun, across)
    light = np.zeros(at.LIGHT_ENTRIES, np.float32)
    light[at.SUN : at.SUN + 3] = sun
    light[at.SUN_COLOUR : at.SUN_COLOUR + 3] = sky.sun_colour
    light[at.SUN_ACROSS : at.SUN_ACROSS + 3] = across
    light[at.SUN_ALONG : at.SUN_ALONG + 3] = along
    light[at.SUN_SPREAD] = sky.spread
    light[at.YAW : at.YAW + 2] = c, -s
    light[at.EXPOSURE] = sky.exposure
    light[at.FLOOR_TILE] = floor.surface.tile
    light[at.FLOOR_ROUGHNESS] = floor.surface.roughness
    light[at.FLOOR_SPECULAR] = floor.surface.specular
    light[at.FADE_FROM : at.FADE_TO + 1] = HDRI_FLOOR_FADE if sky.sky.hdri else FLOOR_FADE[sky.sky.place]
    light[at.FLOOR_BOUNCE : at.FLOOR_BOUNCE + 3] = floor.mean
    light[at.HDRI_HEIGHT] = HDRI_CAMERA_HEIGHT if sky.sky.hdri else 0.0
    light[at.HAZE] = 0.0 if sky.sky.place != "outdoor" else 0.7
    light[at.FLOOR_ROTATION : at.FLOOR_ROTATION + 2] = math.cos(floor.rotation), math.sin(floor.rotation)
    return light


def _broadcast_poses(posed: PosedObject, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    position, rotation = np.asarray(posed.position, float), np.asarray(posed.rotation, float)
    if len(position) not in (1, num_frames) or len(rotation) not in (1, num_frames):
        raise ValueError(
            f"poses of entity {posed.object_id} cover {len(position)} frames but the cameras {num_frames}; "
            "give one pose, or one per frame"
        )
    return np.broadcast_to(position, (num_frames, 3)), np.broadcast_to(rotation, (num_frames, 3, 3))


def _pack_solids(
    scene: RenderScene, num_frames: int, light: np.ndarray
) -> tuple[Float[np.ndarray, "f n c"], Int32[np.ndarray, "n l"], Float[np.ndarray, "k 4"]]:
    count = sum(len(posed.primitives) for posed in scene.objects)
    solids = np.zeros((num_frames, count, at.SOLID_COLUMNS))
    labels = np.zeros((count, at.LABEL_COLUMNS), np.int32)
    planes: list[np.ndarray] = []
    known: dict[bytes, tuple[int, float, float]] = {}
    first_plane = 0
    row = 0
    for posed in scene.objects:
        position, rotation = _broadcast_poses(posed, num_frames)
        for primitive in posed.primitives:
            if not 0 <= primitive.material < len(scene.materials):
                raise ValueError(
                    f"entity {posed.object_id} uses material {primitive.material}, which does not exist"
                )
            local_rotation = (
                np.eye(3) if primitive.rotation is None else np.asarray(primitive.rotation, float)
            )
            world_rotation = rotation @ local_rotation
            solids[:, row, at.CENTRE : at.CENTRE + 3] = position + rotation @ np.asarray(
                primitive.position, float
            )
            solids[:, row, at.ROTATION : at.ROTATION + 9] = world_rotation.reshape(num_frames, 9)
            solids[:, row, at.SIZE : at.SIZE + 3] = primitive.size
            labels[row] = primitive.kind, primitive.material, posed.object_id, 0, 0
            if primitive.kind == PrimitiveKind.POLYHEDRON:
                own_planes = polyhedron_planes(primitive)
                key = own_planes.tobytes()
                if key not in known:
                    known[key] = (first_plane, bounding_radius(primitive), largest_half_extent(primitive))
                    planes.append(own_planes)
                    first_plane += len(own_planes)
                labels[row, at.FIRST_PLANE], radius, extent = known[key]
                labels[row, at.PLANE_COUNT] = len(own_planes)
            else:
                radius, extent = bounding_radius(primitive), largest_half_extent(primitive)
            solids[:, row, at.BOUND] = radius * 1.0005
            solids[:, row, at.PATTERN_SCALE] = 1 / extent
            row += 1
    centre = solids[..., at.CENTRE : at.CENTRE + 3]
    sun = light[at.SUN : at.SUN + 3].astype(float)
    axes = np.stack(
        [light[at.SUN_ACROSS : at.SUN_ACROSS + 3], light[at.SUN_ALONG : at.SUN_ALONG + 3], sun], 1
    )
    solids[..., at.SUN_SPACE_CENTRE : at.SUN_SPACE_CENTRE + 3] = centre @ axes
    world_rotation = solids[..., at.ROTATION : at.ROTATION + 9].reshape(num_frames, count, 3, 3)
    solids[..., at.LOCAL_SUN : at.LOCAL_SUN + 3] = np.swapaxes(world_rotation, 2, 3) @ sun
    all_planes = np.concatenate(planes) if planes else np.zeros((1, 4))
    return solids.astype(np.float32), labels, np.ascontiguousarray(all_planes, np.float32)


def _pack_occluders(
    scene: RenderScene, num_frames: int, solids: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    radii = np.array([p.occlusion for posed in scene.objects for p in posed.primitives])
    chosen = np.flatnonzero(radii > 0)
    table = np.zeros((num_frames, len(chosen), at.OCCLUDER_COLUMNS), np.float32)
    if len(chosen):
        table[..., :3] = solids[:, chosen, at.CENTRE : at.CENTRE + 3]
        table[..., at.OCCLUDER_RADIUS_SQUARED] = radii[chosen] ** 2
        table[..., at.OCCLUDER_ROW] = chosen
        table[..., at.OCCLUDER_OBJECT_ID] = labels[chosen, at.OBJECT_ID]
        materials = np.asarray(scene.materials, np.float32)[labels[chosen, at.MATERIAL]]
        table[..., at.OCCLUDER_COLOUR : at.OCCLUDER_COLOUR + 3] = materials[:, :3]
        # Glass transmits most of the light.
        table[..., at.OCCLUDER_RADIUS_SQUARED] *= np.where(materials[:, GLASS] > 0.5, 0.4, 1.0)
    return {
        "occluders": np.ascontiguousarray(table.reshape(-1, at.OCCLUDER_COLUMNS)),
        "counts": np.array([solids.shape[1], len(chosen)], np.int32),
    }
