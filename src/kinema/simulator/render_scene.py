"""From a drawn scene to what the ray tracer is given: primitives, materials, sky, floor, scenery."""

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
"""Share of clips under a photographed sky."""
_BACKGROUND_DISTANCE = {
    "plain": math.inf, "trees": 3.0, "houses": 3.4, "hills": math.inf, "mountains": math.inf, "rocks": 2.0,
    "city": 3.4, "wall": 2.0, "columns": 2.4,
}  # fmt: skip
"""How far back a scene may reach, metres, before it meets the scenery."""


def _scene_depth(scene: SampledScene) -> float:
    """How far back anything of the scene reaches, metres."""
    if scene.event in PAIRED_EVENTS:
        return 0.0  # the same for both clips of a pair, whatever happens in them; nothing goes far back
    reach = [solid.radius for solid in scene.bodies]
    return float((scene.trajectory.position[:, :, 1].max(axis=0) + reach).max())


def sample_environment(spec: ClipSpec, scene: SampledScene) -> Environment:
    """Where a clip plays: from its seed, among the places that leave the scene room."""
    if spec.lab:
        # A move of the camera shows on a floor with something on it to be seen moving.
        return (
            replace(LAB_ENVIRONMENT, floor="concrete floor") if scene.event == "camera" else LAB_ENVIRONMENT
        )
    rng = np.random.default_rng([spec.seed, 3])
    names = _HDRI_SKIES if rng.random() < _HDRI_SHARE else _PROCEDURAL_SKIES
    name = names[int(rng.integers(len(names)))]
    sky = SKIES[name]
    floor = sky.floors[int(rng.integers(len(sky.floors)))]
    room = _scene_depth(scene)
    kinds = [
        kind
        for kind, places in BACKGROUNDS.items()
        if sky.place in places and room < _BACKGROUND_DISTANCE[kind]
    ]
    decor_kind = "plain" if sky.hdri else kinds[int(rng.integers(len(kinds)))]
    wall = WALLS[int(rng.integers(len(WALLS)))]
    return Environment(
        sky=name, floor=floor, background=decor_kind, wall=wall if decor_kind == "wall" else ""
    )


def _build_primitive(geom: VisualGeom, materials: MaterialTable) -> Primitive:
    look = geom.surface
    scale = 1.3 if look.pattern == "wooden" else 1.0
    row = material_row(look.material, look.colour, look.second_colour, look.pattern, scale)
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
    """Every entity with its poses; a car's wheels turn by themselves."""
    found = []
    for index, (entity, solid) in enumerate(zip(scene.entities, scene.bodies, strict=True)):
        primitives = tuple(_build_primitive(part, materials) for part in solid.visual_geoms)
        frames = slice(0, 1) if entity.fixed else slice(None)
        whole = PosedObject(
            object_id=index + 1,
            primitives=primitives,
            position=scene.trajectory.position[frames, index],
            rotation=scene.trajectory.rotation[frames, index],
        )
        found.append(whole)
        for number, wheel in enumerate(solid.wheels):
            poses: Float[np.ndarray, "f 12"] = scene.trajectory.wheels[index][:, number]
            turning = replace(
                whole,
                primitives=tuple(_build_primitive(part, materials) for part in wheel.visual_geoms),
                position=poses[:, :3],
                rotation=poses[:, 3:].reshape(-1, 3, 3),
            )
            found.append(turning)
    return tuple(found)


def build_render_scene(spec: ClipSpec, scene: SampledScene, environment: Environment) -> RenderScene:
    """The whole film set as the ray tracer wants it."""
    rng = np.random.default_rng([spec.seed, 4])
    sky_seed, floor_seed = (0, 0) if spec.lab else (int(rng.integers(1 << 20)), int(rng.integers(1 << 20)))
    table = MaterialTable()
    placed = pose_objects(scene, table)
    if environment.background != "plain":
        dark = SKIES[environment.sky].dark
        placed += build_background(environment.background, rng, table, night=dark, wall=environment.wall)
    return RenderScene(
        objects=placed,
        materials=table.array(),
        sky=environment.sky,
        sky_seed=sky_seed,
        floor=environment.floor,
        floor_seed=floor_seed,
        cameras=scene.cameras,
    )
