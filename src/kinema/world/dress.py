"""From a drawn scene to what the ray tracer is given: primitives, materials, sky, floor, scenery."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from kinema.world.draw import Drawn
from kinema.world.entities import matrix
from kinema.world.facts import Setting
from kinema.world.look.lab import LAB_SETTING
from kinema.world.look.material import MaterialTable, material
from kinema.world.look.skies import SKIES
from kinema.world.render.scene import Placed, Primitive, Scene
from kinema.world.solids import Part
from kinema.world.spec import ClipSpec

_PAINTED = tuple(name for name, sky in SKIES.items() if not sky.picture)
_PHOTOGRAPHED = tuple(name for name, sky in SKIES.items() if sky.picture)
_PHOTOGRAPHS = 0.4
"""Share of clips under a photographed sky."""


def setting_of(spec: ClipSpec) -> Setting:
    """Where a clip plays, from its seed alone: both clips of a pair play in the same place."""
    if spec.lab:
        return LAB_SETTING
    rng = np.random.default_rng([spec.seed, 3])
    names = _PHOTOGRAPHED if rng.random() < _PHOTOGRAPHS else _PAINTED
    sky = names[int(rng.integers(len(names)))]
    floors = SKIES[sky].floors
    return Setting(sky=sky, floor=floors[int(rng.integers(len(floors)))], decor="plain")


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
    return Scene(
        placed=placed,
        materials=table.array(),
        sky=setting.sky,
        sky_seed=sky_seed,
        floor=setting.floor,
        floor_seed=floor_seed,
        cameras=scene.cameras,
    )
