"""From a drawn scene to what the ray tracer is given: primitives, materials, sky, floor, scenery."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from kinema.world.bodies import Part
from kinema.world.draw import Drawn
from kinema.world.entities import matrix
from kinema.world.facts import PAIRED, Setting
from kinema.world.look.decor import DECORS, WALLS, decor
from kinema.world.look.lab import LAB_SETTING
from kinema.world.look.material import MaterialTable, material
from kinema.world.look.skies import SKIES
from kinema.world.render.scene import Placed, Primitive, Scene
from kinema.world.spec import ClipSpec

_PAINTED = tuple(name for name, sky in SKIES.items() if not sky.picture)
_PHOTOGRAPHED = tuple(name for name, sky in SKIES.items() if sky.picture)
_PHOTOGRAPHS = 0.4
"""Share of clips under a photographed sky."""
_NEAREST = {
    "plain": math.inf, "trees": 3.0, "houses": 3.4, "hills": math.inf, "mountains": math.inf, "rocks": 2.0,
    "city": 3.4, "wall": 2.0, "columns": 2.4,
}  # fmt: skip
"""How far back a scene may reach, metres, before it meets the scenery."""


def _room_behind(scene: Drawn) -> float:
    """How far back anything of the scene reaches, metres."""
    if scene.event in PAIRED:
        return 0.0  # the same for both clips of a pair, whatever happens in them; nothing goes far back
    reach = [solid.radius for solid in scene.solids]
    return float((scene.seen.position[:, :, 1].max(axis=0) + reach).max())


def setting_of(spec: ClipSpec, scene: Drawn) -> Setting:
    """Where a clip plays: from its seed, among the places that leave the scene room."""
    if spec.lab:
        # A move of the camera shows on a floor with something on it to be seen moving.
        return replace(LAB_SETTING, floor="concrete floor") if scene.event == "camera" else LAB_SETTING
    rng = np.random.default_rng([spec.seed, 3])
    names = _PHOTOGRAPHED if rng.random() < _PHOTOGRAPHS else _PAINTED
    name = names[int(rng.integers(len(names)))]
    sky = SKIES[name]
    floor = sky.floors[int(rng.integers(len(sky.floors)))]
    room = _room_behind(scene)
    kinds = [kind for kind, places in DECORS.items() if sky.place in places and room < _NEAREST[kind]]
    decor_kind = "plain" if sky.picture else kinds[int(rng.integers(len(kinds)))]
    wall = WALLS[int(rng.integers(len(WALLS)))]
    return Setting(sky=name, floor=floor, decor=decor_kind, wall=wall if decor_kind == "wall" else "")


def _primitive(part: Part, table: MaterialTable) -> Primitive:
    look = part.surface
    scale = 1.3 if look.pattern == "wooden" else 1.0
    row = material(look.material, look.colour, look.second_colour, look.pattern, scale)
    return Primitive(
        kind=part.kind,
        size=part.size,
        material=table.add(row),
        position=part.position,
        rotation=matrix(part.rotation),
        planes=part.planes,
        occlusion=part.occlusion,
    )


def placed_of(scene: Drawn, table: MaterialTable) -> tuple[Placed, ...]:
    """Every entity with its poses; a car's wheels turn by themselves."""
    found = []
    for index, (entity, solid) in enumerate(zip(scene.entities, scene.solids, strict=True)):
        primitives = tuple(_primitive(part, table) for part in solid.parts)
        frames = slice(0, 1) if entity.fixed else slice(None)
        whole = Placed(
            identity=index + 1,
            primitives=primitives,
            position=scene.seen.position[frames, index],
            rotation=scene.seen.rotation[frames, index],
        )
        found.append(whole)
        for number, wheel in enumerate(solid.wheels):
            poses: Float[np.ndarray, "f 12"] = scene.seen.wheels[index][:, number]
            turning = replace(
                whole,
                primitives=tuple(_primitive(part, table) for part in wheel.parts),
                position=poses[:, :3],
                rotation=poses[:, 3:].reshape(-1, 3, 3),
            )
            found.append(turning)
    return tuple(found)


def scene_of(spec: ClipSpec, scene: Drawn, setting: Setting) -> Scene:
    """The whole film set as the ray tracer wants it."""
    rng = np.random.default_rng([spec.seed, 4])
    sky_seed, floor_seed = (0, 0) if spec.lab else (int(rng.integers(1 << 20)), int(rng.integers(1 << 20)))
    table = MaterialTable()
    placed = placed_of(scene, table)
    if setting.decor != "plain":
        dark = SKIES[setting.sky].dark
        placed += decor(setting.decor, rng, table, night=dark, wall=setting.wall)
    return Scene(
        placed=placed,
        materials=table.array(),
        sky=setting.sky,
        sky_seed=sky_seed,
        floor=setting.floor,
        floor_seed=floor_seed,
        cameras=scene.cameras,
    )
