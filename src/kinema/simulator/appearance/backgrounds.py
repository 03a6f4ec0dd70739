"""Static backgrounds behind the scene. Their object id is BACKGROUND_ID; captions never name them as
objects."""

from __future__ import annotations

import functools
import math
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from kinema.errors import UserError, did_you_mean
from kinema.simulator.appearance.material import MaterialTable, material_row
from kinema.simulator.render.scene import BACKGROUND_ID, PosedObject, Primitive, PrimitiveKind

BACKGROUNDS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "plain": ("studio", "outdoor", "indoor"),
        "trees": ("outdoor",),
        "houses": ("outdoor",),
        "hills": ("outdoor",),
        "mountains": ("outdoor",),
        "rocks": ("outdoor",),
        "city": ("outdoor",),
        "wall": ("studio", "outdoor"),
        "columns": ("studio", "outdoor"),
    }
)
"""Backgrounds and the places that they suit. Photographed skies go with 'plain': they show a background."""
WALLS: tuple[str, ...] = ("brick", "plain", "striped", "wooden")
"""Kinds of walls; `build_background` chooses one if none is given."""

_PALE_COLOURS = (
    (0.93, 0.90, 0.82), (0.76, 0.83, 0.88), (0.92, 0.81, 0.64), (0.81, 0.88, 0.77), (0.90, 0.76, 0.73),
    (0.74, 0.74, 0.77), (0.70, 0.62, 0.76),
)  # fmt: skip
_IDENTITY_ROTATION = np.eye(3)


def build_background(
    kind: str,
    rng: np.random.Generator,
    materials: MaterialTable,
    *,
    night: bool = False,
    wall: str = "",
) -> tuple[PosedObject, ...]:
    """Build a random background at y >= 2.4 metres, behind the action.

    Args:
        kind: one of `BACKGROUNDS`.
        rng: source of randomness.
        materials: the scene's materials; those of the background are added.
        night: light the windows.
        wall: one of `WALLS` for the kind 'wall'; empty chooses one.

    Raises:
        UserError: no such background or wall.
    """
    if kind not in BACKGROUNDS:
        raise UserError(
            f"there is no background {kind!r}{did_you_mean(kind, BACKGROUNDS)}; "
            f"choose one of: {', '.join(BACKGROUNDS)}"
        )
    if wall and wall not in WALLS:
        raise UserError(
            f"there is no wall {wall!r}{did_you_mean(wall, WALLS)}; choose one of: {', '.join(WALLS)}"
        )
    match kind:
        case "trees":
            parts = _trees(rng, materials)
        case "houses":
            parts = _houses(rng, materials, night)
        case "hills":
            parts = _hills(rng, materials)
        case "mountains":
            parts = _mountains(rng, materials)
        case "rocks":
            parts = _rocks(rng, materials)
        case "city":
            parts = _city(rng, materials, night)
        case "wall":
            parts = _wall(wall or WALLS[int(rng.integers(len(WALLS)))], rng, materials)
        case "columns":
            parts = _columns(materials)
        case _:
            parts = []
    if not parts:
        return ()
    return (
        PosedObject(
            object_id=BACKGROUND_ID,
            primitives=tuple(parts),
            position=np.zeros((1, 3)),
            rotation=_IDENTITY_ROTATION[None],
        ),
    )


def rotation_matrix(about_z: float, about_x: float = 0.0) -> Float[np.ndarray, "3 3"]:
    """The rotation about x followed by the rotation about z, radians."""
    c, s = math.cos(about_z), math.sin(about_z)
    d, t = math.cos(about_x), math.sin(about_x)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ np.array(
        [[1.0, 0.0, 0.0], [0.0, d, -t], [0.0, t, d]]
    )


def _scatter_positions(
    rng: np.random.Generator, count: int, near: float, far: float, half_width: float, gap: float
) -> list[tuple[float, float]]:
    """Up to `count` random floor positions, at least `gap` metres apart; distant ones spread wider."""
    positions: list[tuple[float, float]] = []
    for _ in range(80):
        y = rng.uniform(near, far)
        x = rng.uniform(-half_width, half_width) * (0.6 + 0.6 * y / far)
        if all(math.hypot(x - a, y - b) > gap for a, b in positions):
            positions.append((x, y))
        if len(positions) == count:
            break
    return positions


def _trees(rng: np.random.Generator, materials: MaterialTable) -> list[Primitive]:
    bark = materials.add(material_row("clay", (0.34, 0.22, 0.14)))
    firs = rng.random() < 0.5
    autumn = not firs and rng.random() < 0.25
    leaves = []
    for shade in rng.uniform(0, 1, 3):
        dark = (
            (0.62, 0.30 + 0.16 * shade, 0.07) if autumn else (0.10 + 0.06 * shade, 0.28 + 0.08 * shade, 0.09)
        )
        pale = (0.85, 0.52, 0.13) if autumn else (0.24 + 0.06 * shade, 0.47 + 0.1 * shade, 0.15)
        leaves.append(materials.add(material_row("clay", dark, pale, "marbled", 3.0)))
    parts = []
    for x, y in _scatter_positions(rng, int(rng.integers(5, 11)), 3.4, 11, 6.0, 1.3):
        h = rng.uniform(1.7, 3.2)
        leaf = leaves[int(rng.integers(3))]
        trunk = (0.05 * h, 0.035 * h, 0.25 * h)
        parts.append(
            Primitive(
                kind=PrimitiveKind.FRUSTUM,
                size=trunk,
                material=bark,
                position=(x, y, 0.25 * h),
                occlusion=0.08 * h,
            )
        )
        if firs:
            parts += [
                Primitive(
                    kind=PrimitiveKind.FRUSTUM, size=(h * (0.29 - 0.07 * k), 0.0, h * 0.2), material=leaf,
                    position=(x, y, h * (0.45 + 0.21 * k)),
                )
                for k in range(3)
            ]  # fmt: skip
        else:
            crowns = ((0.0, 0.0, 0.70, 0.29), (0.20, -0.05, 0.57, 0.20), (-0.19, 0.04, 0.60, 0.21))
            parts += [
                Primitive(
                    kind=PrimitiveKind.SPHERE, size=(radius * h, 0.0, 0.0), material=leaf,
                    position=(x + dx * h, y + dy * h, z * h),
                )
                for dx, dy, z, radius in crowns
            ]  # fmt: skip
    return parts


def _houses(rng: np.random.Generator, materials: MaterialTable, night: bool) -> list[Primitive]:
    door = materials.add(material_row("clay", (0.34, 0.21, 0.13)))
    glass = (
        material_row("glowing", (0.95, 0.80, 0.45), emission=1.2)
        if night
        else material_row("plastic", (0.34, 0.46, 0.58))
    )
    window = materials.add(glass)
    parts = []
    for x, y in _scatter_positions(rng, int(rng.integers(2, 5)), 4.8, 9, 5.0, 3.0):
        s = rng.uniform(0.8, 1.2)
        wall = materials.add(material_row("clay", _PALE_COLOURS[int(rng.integers(len(_PALE_COLOURS)))]))
        tiles = (0.50, 0.20, 0.15) if rng.random() < 0.6 else (0.30, 0.31, 0.36)
        roof = materials.add(material_row("clay", tiles))
        turn = rotation_matrix(rng.uniform(-0.4, 0.4))
        parts.append(
            Primitive(
                kind=PrimitiveKind.BOX, size=(s, 0.8 * s, 0.7 * s), material=wall, position=(x, y, 0.7 * s),
                rotation=turn, occlusion=0.8 * s,
            )
        )  # fmt: skip
        parts.append(
            Primitive(
                kind=PrimitiveKind.POLYHEDRON, size=(s, s, s), material=roof, position=(x, y, 1.4 * s),
                rotation=turn, planes=_gable(1.12 * s, 0.95 * s, 0.75 * s),
            ),
        )  # fmt: skip
        for across, up, wide, high in ((-0.55, 0.8, 0.2, 0.2), (0.55, 0.8, 0.2, 0.2), (0.0, 0.4, 0.2, 0.4)):
            place = turn @ np.array([across * s, -0.8 * s, 0.0])
            parts.append(
                Primitive(
                    kind=PrimitiveKind.BOX, size=(s * wide, s * 0.03, s * high),
                    material=window if across else door, position=(x + place[0], y + place[1], up * s),
                    rotation=turn,
                ),
            )  # fmt: skip
    return parts


def _gable(half_length: float, half_width: float, height: float) -> Float[np.ndarray, "5 4"]:
    """The planes of a gable roof over the origin, with its ridge along x."""
    slope = np.array([0.0, height, half_width]) / math.hypot(height, half_width)
    top = slope[2] * height
    return np.array(
        [
            [0.0, slope[1], slope[2], top],
            [0.0, -slope[1], slope[2], top],
            [0.0, 0.0, -1.0, 0.0],
            [1.0, 0.0, 0.0, half_length],
            [-1.0, 0.0, 0.0, half_length],
        ]
    )


def _hills(rng: np.random.Generator, materials: MaterialTable) -> list[Primitive]:
    parts = []
    for k in range(7):
        green = rng.uniform(0, 1)
        grass = material_row(
            "clay", (0.20 + 0.06 * green, 0.40 + 0.05 * green, 0.14), (0.34, 0.52, 0.20), "marbled", 2.5
        )
        width, height = rng.uniform(5, 9), rng.uniform(1.6, 4.0)
        parts.append(
            Primitive(
                kind=PrimitiveKind.ELLIPSOID, size=(width, 0.7 * width, height),
                material=materials.add(grass),
                position=(-18 + 6 * k + rng.uniform(-2, 2), rng.uniform(16, 24), -0.2),
            ),
        )  # fmt: skip
    return parts


def _mountains(rng: np.random.Generator, materials: MaterialTable) -> list[Primitive]:
    rock = materials.add(material_row("clay", (0.42, 0.43, 0.48), (0.30, 0.31, 0.36), "marbled", 2.5))
    snow = materials.add(material_row("clay", (0.92, 0.93, 0.96)))
    parts = []
    for k in range(7):
        x, y = -21 + 7 * k + rng.uniform(-2, 2), rng.uniform(19, 27)
        width, height = rng.uniform(5, 8), rng.uniform(4, 7.5)
        parts.append(
            Primitive(
                kind=PrimitiveKind.FRUSTUM,
                size=(width, 0.0, height / 2),
                material=rock,
                position=(x, y, height / 2 - 0.1),
            )
        )
        cap = 0.32
        parts.append(
            Primitive(
                kind=PrimitiveKind.FRUSTUM, size=(width * cap * 1.03, 0.0, height * cap / 2), material=snow,
                position=(x, y, height * (1 - cap / 2) - 0.08),
            )
        )  # fmt: skip
    return parts


def _rocks(rng: np.random.Generator, materials: MaterialTable) -> list[Primitive]:
    grays = [
        materials.add(
            material_row(
                "clay", np.array([0.50, 0.47, 0.44]) * q, np.array([0.35, 0.33, 0.31]) * q, "marbled", 1.5
            )
        )
        for q in rng.uniform(0.75, 1.2, 3)
    ]
    parts = []
    for x, y in _scatter_positions(rng, int(rng.integers(4, 9)), 3.2, 9, 5.0, 1.1):
        s = rng.uniform(0.3, 0.9)
        planes = _icosahedron().copy()
        planes[:, 3] *= s * rng.uniform(0.82, 1.0, 20)
        parts.append(
            Primitive(
                kind=PrimitiveKind.POLYHEDRON, size=(s, s, s), material=grays[int(rng.integers(3))],
                position=(x, y, 0.35 * s), planes=planes,
                rotation=rotation_matrix(rng.uniform(0, 6), rng.uniform(0, 6)), occlusion=0.75 * s,
            )
        )  # fmt: skip
    return parts


@functools.cache
def _icosahedron() -> Float[np.ndarray, "20 4"]:
    """Twenty random planes around a sphere of radius 0.8; the corners lie at a radius of about 1."""
    golden = (1 + math.sqrt(5)) / 2
    normals = [(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]
    for a in (-1 / golden, 1 / golden):
        for b in (-golden, golden):
            normals += [(0, a, b), (a, b, 0), (b, 0, a)]
    unit = np.array(normals, float) / math.sqrt(3)
    return np.column_stack([unit, np.full(20, 0.8)])


def _city(rng: np.random.Generator, materials: MaterialTable, night: bool) -> list[Primitive]:
    parts = []
    for k in range(9):
        x, y = -10 + 2.5 * k + rng.uniform(-0.4, 0.4), rng.uniform(8, 13)
        height, half = rng.uniform(1.5, 4.5), rng.uniform(0.7, 1.15)
        tint = np.array([1.0, rng.uniform(0.86, 1.0), rng.uniform(0.78, 1.0)])
        facade = material_row(
            "clay", rng.uniform(0.45, 0.78) * tint, (0.98, 0.86, 0.55) if night else (0.30, 0.38, 0.47),
            "windows", rng.uniform(1.6, 2.4), emission=1.3 if night else 0.0,
            lit_share=0.55 if night else 1.0,
        )  # fmt: skip
        parts.append(
            Primitive(
                kind=PrimitiveKind.BOX,
                size=(half, half, height),
                material=materials.add(facade),
                position=(x, y, height),
            )
        )
    return parts


def _wall(kind: str, rng: np.random.Generator, materials: MaterialTable) -> list[Primitive]:
    pale = _PALE_COLOURS[int(rng.integers(1, len(_PALE_COLOURS)))]
    match kind:
        case "brick":
            face = material_row("clay", (0.56, 0.29, 0.22), (0.77, 0.73, 0.68), "bricks", 1.9)
        case "wooden":
            face = material_row("clay", (0.62, 0.44, 0.28), (0.36, 0.24, 0.15), "planks", 1.6)
        case "striped":
            face = material_row("clay", _PALE_COLOURS[0], pale, "striped", 12.0)
        case _:
            face = material_row("clay", pale)
    upright = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    across = kind == "striped"
    size = (2.4, 0.1, 12.0) if across else (12.0, 0.1, 2.4)
    return [
        Primitive(
            kind=PrimitiveKind.BOX, size=size, material=materials.add(face),
            position=(0.0, rng.uniform(2.5, 3.4), 2.4), rotation=upright if across else None,
        )
    ]  # fmt: skip


def _columns(materials: MaterialTable) -> list[Primitive]:
    stone = materials.add(material_row("marble", (0.86, 0.85, 0.81), (0.62, 0.60, 0.57), "marbled", 1.0))
    parts = []
    for k in range(7):
        x = -6.0 + 2.0 * k
        parts.append(
            Primitive(
                kind=PrimitiveKind.FRUSTUM,
                size=(0.25, 0.21, 1.3),
                material=stone,
                position=(x, 3.3, 1.5),
                occlusion=0.2,
            )
        )
        parts += [
            Primitive(kind=PrimitiveKind.BOX, size=(0.36, 0.36, 0.1), material=stone, position=(x, 3.3, z))
            for z in (0.1, 2.9)
        ]
    return parts
