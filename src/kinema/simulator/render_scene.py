"""Builds the render scene of a sampled scene: primitives, materials, sky, floor and background."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from kinema.simulator.annotations import PAIRED_EVENTS, Environment
from kinema.simulator.appearance.backgrounds import BACKGROUNDS, WALLS, build_background
from kinema.simulator.appearance.environments import LAB_SKY, SKIES
from kinema.simulator.appearance.floors import LAB_FLOOR
from kinema.simulator.appearance.material import MaterialTable, material_row
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.entities import quat_to_matrix
from kinema.simulator.geometry import VisualGeom
from kinema.simulator.render.scene import PosedObject, Primitive, RenderScene
from kinema.simulator.scene_sampler import SampledScene

LAB_ENVIRONMENT = Environment(sky=LAB_SKY, floor=LAB_FLOOR, background="plain")

_PROCEDURAL_SKIES = tuple(name for name, sky in SKIES.items() if not sky.hdri)
_HDRI_SKIES = tuple(name for name, sky in SKIES.items() if sky.hdri)
_HDRI_SHARE = 0.4
"""Share of clips with a photographed sky."""
_BACKGROUND_DISTANCE = {
    "plain": math.inf, "trees": 3.0, "houses": 3.4, "hills": math.inf, "mountains": math.inf, "rocks": 2.0,
    "city": 3.4, "wall": 2.0, "columns": 2.4,
}  # fmt: skip
"""Distance at which the background begins, metres behind the centre of the scene."""


def _scene_depth(scene: SampledScene) -> float:
    """Largest y that any entity reaches, metres."""
    if scene.event in PAIRED_EVENTS:
        return 0.0  # both clips of a pair must get the same background; their entities stay near the centre
    reach = [body.radius for body in scene.bodies]
    return float((scene.trajectory.position[:, :, 1].max(axis=0) + reach).max())


def sample_environment(spec: ClipSpec, scene: SampledScene) -> Environment:
    """Choose the environment of a clip by its seed. The background stays clear of the entities."""
    if spec.lab:
        # A camera move is only visible on a floor with a texture.
        return (
            replace(LAB_ENVIRONMENT, floor="concrete floor") if scene.event == "camera" else LAB_ENVIRONMENT
        )
    rng = np.random.default_rng([spec.seed, 3])
    names = _HDRI_SKIES if rng.random() < _HDRI_SHARE else _PROCEDURAL_SKIES
    name = names[int(rng.integers(len(names)))]
    sky = SKIES[name]
    floor = sky.floors[int(rng.integers(len(sky.floors)))]
    depth = _scene_depth(scene)
    backgrounds = [
        background_name
        for background_name, allowed_places in BACKGROUNDS.items()
        if sky.place in allowed_places and depth < _BACKGROUND_DISTANCE[background_name]
    ]
    background = "plain" if sky.hdri else backgrounds[int(rng.integers(len(backgrounds)))]
    wall = WALLS[int(rng.integers(len(WALLS)))]
    return Environment(
        sky=name, floor=floor, background=background, wall=wall if background == "wall" else ""
    )


def _build_primitive(geom: VisualGeom, materials: MaterialTable) -> Primitive:
    surface = geom.surface
    scale = 1.3 if surface.pattern == "wooden" else 1.0
    row = material_row(surface.material, surface.colour, surface.second_colour, surface.pattern, scale)
    return Primitive(
        kind=geom.kind,
        size=geom.size,
        material=materials.add(row),
        position=geom.position,
        rotation=quat_to_matrix(geom.rotation),
        planes=geom.planes,
        occlusion=geom.occlusion,
    )


def pose_objects(scene: SampledScene, materials: MaterialTable) -> tuple[PosedObject, ...]:
    """The primitives and poses of every entity. The wheels of a car are objects of their own."""
    objects = []
    for index, (entity, body) in enumerate(zip(scene.entities, scene.bodies, strict=True)):
        primitives = tuple(_build_primitive(geom, materials) for geom in body.visual_geoms)
        frames = slice(0, 1) if entity.fixed else slice(None)
        body_object = PosedObject(
            object_id=index + 1,
            primitives=primitives,
            position=scene.trajectory.position[frames, index],
            rotation=scene.trajectory.rotation[frames, index],
        )
        objects.append(body_object)
        for number, wheel in enumerate(body.wheels):
            poses: Float[np.ndarray, "f 12"] = scene.trajectory.wheels[index][:, number]
            wheel_object = replace(
                body_object,
                primitives=tuple(_build_primitive(geom, materials) for geom in wheel.visual_geoms),
                position=poses[:, :3],
                rotation=poses[:, 3:].reshape(-1, 3, 3),
            )
            objects.append(wheel_object)
    return tuple(objects)


def build_render_scene(spec: ClipSpec, scene: SampledScene, environment: Environment) -> RenderScene:
    """Build the input of the ray tracer for a clip."""
    rng = np.random.default_rng([spec.seed, 4])
    sky_seed, floor_seed = (0, 0) if spec.lab else (int(rng.integers(1 << 20)), int(rng.integers(1 << 20)))
    materials = MaterialTable()
    objects = pose_objects(scene, materials)
    if environment.background != "plain":
        dark = SKIES[environment.sky].dark
        objects += build_background(environment.background, rng, materials, night=dark, wall=environment.wall)
    return RenderScene(
        objects=objects,
        materials=materials.array(),
        sky=environment.sky,
        sky_seed=sky_seed,
        floor=environment.floor,
        floor_seed=floor_seed,
        cameras=scene.cameras,
    )
