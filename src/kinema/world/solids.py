"""From an entity to its solids: what collides and what is seen.

Frames: each entity's origin is the middle of its height when it rests on the floor, z up, and its long or
open side as described at each builder. Sizes are half extents in metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull

from kinema.world.entities import UNTURNED, Entity, Quaternion, Vector, matrix, turn
from kinema.world.facts import Colour, Material, Pattern
from kinema.world.render.scene import Kind

_HALF_PI = math.pi / 2
LYING = turn((1.0, 0.0, 0.0), _HALF_PI)
"""z laid along -y."""
ON_RIM = turn((1.0, 0.0, 0.0), _HALF_PI)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What one part looks like; `kinema.world.look.material` makes a row of numbers of it."""

    material: Material
    colour: Colour | None
    second_colour: Colour | None = None
    pattern: Pattern = "solid"


@dataclass(frozen=True, kw_only=True)
class Geom:
    """One collision solid, in MuJoCo's words: type, size, place in the entity's frame."""

    type: str
    size: tuple[float, ...]
    position: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = UNTURNED
    vertices: Float[np.ndarray, "v 3"] | None = None
    """For a mesh: the corners of its convex hull."""
    density: float | None = None
    friction: float | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One visible solid, in the renderer's words."""

    kind: Kind
    size: Vector
    surface: Surface
    position: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = UNTURNED
    planes: Float[np.ndarray, "k 4"] | None = None
    occlusion: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A part of an entity that turns about the entity's y axis by itself."""

    position: Vector
    geom: Geom
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Solid:
    """An entity's body."""

    geoms: tuple[Geom, ...]
    parts: tuple[Part, ...]
    outline: Float[np.ndarray, "k 3"]
    """Points on the surface whose projections bound it on screen, within a few percent."""
    rest: float
    """Height of the origin over the floor when it rests as built."""
    wheels: tuple[Wheel, ...] = field(default=())

    @property
    def radius(self) -> float:
        """Distance of the farthest outline point from the origin."""
        return float(np.linalg.norm(self.outline, axis=1).max())


def planes_of(vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "k 4"]:
    """The faces of a convex hull as outward unit normals and distances, coplanar triangles merged."""
    equations = np.unique(np.round(ConvexHull(vertices).equations, 6), axis=0)
    return np.concatenate([equations[:, :3], -equations[:, 3:]], axis=1)


def _polyhedra() -> dict[str, Float[np.ndarray, "v 3"]]:
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


POLYHEDRA = _polyhedra()
PLANES = {name: planes_of(vertices) for name, vertices in POLYHEDRA.items()}
_CONE_HALF_HEIGHT, _CONE_RADIUS = 0.95, 0.8
_CYLINDER = 0.62
"""Radius of a cylinder over its half height: slim enough to be knocked over."""
_CONE = np.array(
    [(math.cos(k * math.pi / 12), math.sin(k * math.pi / 12), -_CONE_HALF_HEIGHT) for k in range(24)]
    + [(0.0, 0.0, _CONE_HALF_HEIGHT)]
)


def _box_outline(half: Vector, centre: Vector = (0.0, 0.0, 0.0)) -> Float[np.ndarray, "8 3"]:
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    return signs * np.array(half) + np.array(centre)


def _round_outline(half: Vector) -> Float[np.ndarray, "12 3"]:
    # An icosahedron's corners reach every direction to within 5% once they are moved out a little.
    return POLYHEDRA["gem"] * np.array(half) * 1.05


def _ring_outline(radius: float, low: float, high: float) -> Float[np.ndarray, "16 3"]:
    angles = np.arange(8) * math.pi / 4
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius * 1.03
    return np.concatenate([np.c_[circle, np.full(8, z)] for z in (low, high)])


def _scaled_planes(planes: Float[np.ndarray, "k 4"], scale: float) -> Float[np.ndarray, "k 4"]:
    return planes * np.array([1.0, 1.0, 1.0, scale])


def _volume_radius(half: Vector) -> float:
    return (half[0] * half[1] * half[2]) ** (1 / 3)


def _boxes(boxes: list[tuple[Vector, Vector]], look: Surface, rest: float) -> Solid:
    """A solid of several boxes given as (half extents, centre)."""
    return Solid(
        geoms=tuple(Geom(type="box", size=half, position=centre) for half, centre in boxes),
        parts=tuple(
            Part(
                kind=Kind.BOX,
                size=half,
                surface=look,
                position=centre,
                occlusion=_volume_radius(half) * 1.1,
            )
            for half, centre in boxes
        ),
        outline=np.concatenate([_box_outline(half, centre) for half, centre in boxes]),
        rest=rest,
    )


def _upright_round(radius: float, top: float, half: float, look: Surface) -> Solid:
    """A cylinder (`top` equal to `radius`), or a cone (`top` 0)."""
    if top:
        geom = Geom(type="cylinder", size=(radius, half))
        outline = _ring_outline(radius, -half, half)
    else:
        vertices = _CONE * np.array([radius, radius, half / _CONE_HALF_HEIGHT])
        geom = Geom(type="mesh", size=(), vertices=vertices)
        outline = np.concatenate([_ring_outline(radius, -half, -half)[:8], [[0.0, 0.0, half]]])
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
        tangent = turn((-math.cos(angle), -math.sin(angle), 0.0), _HALF_PI)
        place = (radius * math.cos(angle), radius * math.sin(angle), 0.0)
        geoms.append(Geom(type="capsule", size=(tube, half), position=place, rotation=tangent))
    part = Part(kind=Kind.TORUS, size=(radius, tube, 0.0), surface=look, occlusion=s * 0.55)
    return Solid(geoms=tuple(geoms), parts=(part,), outline=_ring_outline(s, -tube, tube), rest=tube)


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


def _pin(s: float, look: Surface) -> Solid:
    stripe = Surface(material="plastic", colour="red")

    def frustum(low: float, high: float, z: float, half: float, occlusion: float, seen: Surface) -> Part:
        size = (s * low, s * high, s * half)
        return Part(
            kind=Kind.FRUSTUM, size=size, surface=seen, position=(0.0, 0.0, s * z), occlusion=s * occlusion
        )

    return Solid(
        geoms=(
            Geom(type="cylinder", size=(s * 0.3, s * 0.5), position=(0.0, 0.0, -s * 0.5)),
            Geom(type="capsule", size=(s * 0.2, s * 0.45), position=(0.0, 0.0, s * 0.33)),
        ),
        parts=(
            frustum(0.3, 0.32, -0.7, 0.3, 0.35, look),
            frustum(0.32, 0.16, -0.05, 0.35, 0.0, look),
            frustum(0.17, 0.17, 0.36, 0.06, 0.0, stripe),
            Part(
                kind=Kind.SPHERE,
                size=(s * 0.25, 0.0, 0.0),
                surface=look,
                position=(0.0, 0.0, s * 0.62),
                occlusion=s * 0.2,
            ),
        ),
        outline=_box_outline((s * 0.3, s * 0.3, s * 0.93), (0.0, 0.0, -s * 0.07)),
        rest=s,
    )


def _snowman(s: float, look: Surface) -> Solid:
    """Faces -y, towards the neutral camera."""
    carrot, coal = Surface(material="plastic", colour="orange"), Surface(material="plastic", colour="black")
    balls = ((-0.6, 0.62), (0.15, 0.43), (0.7, 0.3))
    hat = ((0.36, 0.03, 0.9), (0.25, 0.16, 1.05))

    def at(x: float, y: float, z: float) -> Vector:
        return (s * x, s * y, s * z)

    parts = [
        Part(
            kind=Kind.SPHERE,
            size=(s * r, 0.0, 0.0),
            surface=look,
            position=at(0, 0, z),
            occlusion=s * r * 0.8,
        )
        for z, r in balls
    ]
    parts.append(
        Part(
            kind=Kind.FRUSTUM,
            size=at(0.08, 0.0, 0.17),
            surface=carrot,
            position=at(0, -0.42, 0.7),
            rotation=LYING,
        )
    )
    parts += [
        Part(kind=Kind.SPHERE, size=at(0.045, 0, 0), surface=coal, position=at(x, -0.26, 0.79))
        for x in (-0.11, 0.11)
    ]
    parts += [
        Part(kind=Kind.FRUSTUM, size=at(r, r, half), surface=coal, position=at(0, 0, z)) for r, half, z in hat
    ]
    foot = Geom(type="cylinder", size=(s * 0.4, s * 0.1), position=at(0, 0, -1.12))
    geoms = tuple(Geom(type="sphere", size=(s * r,), position=at(0, 0, z)) for z, r in balls)
    return Solid(
        geoms=(*geoms, foot),
        parts=tuple(parts),
        outline=_box_outline(at(0.5, 0.5, 1.21)),
        rest=s * 1.22,
    )


def _car(s: float, look: Surface) -> Solid:
    """Drives along +x."""
    cabin, tyre = Surface(material="plastic", colour="gray"), Surface(material="rubber", colour="black")
    hub = Surface(material="metal", colour="white")

    def at(x: float, y: float, z: float) -> Vector:
        return (s * x, s * y, s * z)

    boxes = (
        (at(1, 0.45, 0.2), at(0, 0, -0.07), look, 0.5),
        (at(0.5, 0.38, 0.18), at(-0.1, 0, 0.29), cabin, 0.0),
        (at(0.42, 0.385, 0.05), at(-0.1, 0, 0.49), look, 0.0),
    )
    wheels = []
    for x in (-0.6, 0.6):
        for y in (-0.5, 0.5):
            parts = tuple(
                Part(kind=Kind.FRUSTUM, size=at(r, r, half), surface=seen, rotation=LYING)
                for r, half, seen in ((0.25, 0.1, tyre), (0.13, 0.105, hub))
            )
            # An ellipsoid touches the floor in one point, which rolls more steadily than a cylinder's edge.
            geom = Geom(type="ellipsoid", size=at(0.25, 0.1, 0.25), density=600.0, friction=1.2)
            wheels.append(Wheel(position=at(x, y, -0.29), geom=geom, parts=parts))
    body, roof = at(1, 0.45, 0.2), at(0.5, 0.38, 0.2)
    return Solid(
        geoms=(
            Geom(type="box", size=body, position=at(0, 0, -0.07), density=300.0, friction=0.3),
            Geom(type="box", size=roof, position=at(-0.1, 0, 0.33), density=100.0, friction=0.3),
        ),
        parts=tuple(
            Part(kind=Kind.BOX, size=half, surface=seen, position=centre, occlusion=s * occlusion)
            for half, centre, seen, occlusion in boxes
        ),
        outline=_box_outline(at(1, 0.6, 0.54)),
        rest=s * 0.54,
        wheels=tuple(wheels),
    )


def _ramp(length: float, depth: float, height: float, look: Surface) -> Solid:
    """A wedge, high at -x. Half extents; the collision box under the slope runs on into the floor."""
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
    # The box's upper face is the slope: its centre lies half a thickness under the middle of the slope.
    centre = (-math.sin(angle) * thickness / 2, 0.0, -math.cos(angle) * thickness / 2)
    geom = Geom(
        type="box",
        size=(slope, depth, thickness / 2),
        position=centre,
        rotation=turn((0.0, 1.0, 0.0), angle),
    )
    part = Part(
        kind=Kind.POLYHEDRON,
        size=(length, depth, height),
        surface=look,
        planes=planes_of(corners),
        occlusion=_volume_radius((length, depth, height)),
    )
    return Solid(geoms=(geom,), parts=(part,), outline=corners, rest=height)


def _table(half: Vector, look: Surface) -> Solid:
    """A board on four legs; z of `half` is half its whole height."""
    x, y, z = half
    board, leg = 0.05, 0.06
    boxes: list[tuple[Vector, Vector]] = [((x, y, board), (0.0, 0.0, z - board))]
    for a in (-1, 1):
        for b in (-1, 1):
            boxes.append(((leg, leg, z - board), (a * (x - 0.12), b * (y - 0.12), -board)))
    return _boxes(boxes, look, z)


def _container(half: Vector, look: Surface) -> Solid:
    """A box open at the top."""
    x, y, z = half
    wall = 0.04
    boxes: list[tuple[Vector, Vector]] = [((x, y, wall), (0.0, 0.0, wall - z))]
    boxes += [((wall, y, z), (a * (x - wall), 0.0, 0.0)) for a in (-1, 1)]
    boxes += [((x - 2 * wall, wall, z), (0.0, b * (y - wall), 0.0)) for b in (-1, 1)]
    return _boxes(boxes, look, z)


def _rod(entity: Entity, look: Surface) -> Solid:
    """A thin rod along z; a fixed one is a stand, a post at +y with an arm towards the camera."""
    thickness, reach, half = entity.dimensions or (0.025, 0.0, 0.8)

    def bar(length: float, position: Vector, rotation: Quaternion = UNTURNED) -> Part:
        return Part(
            kind=Kind.CAPSULE,
            size=(thickness, length, 0.0),
            surface=look,
            position=position,
            rotation=rotation,
        )

    if not entity.fixed:
        parts = (bar(half, (0.0, 0.0, 0.0)),)
        return Solid(
            geoms=(), parts=parts, outline=_box_outline((thickness, thickness, half)), rest=half + thickness
        )
    arm = bar(reach / 2, (0.0, reach / 2, half), LYING)
    post = bar(half, (0.0, reach, 0.0))
    outline = np.array([(0.0, 0.0, half), (0.0, reach, half), (0.0, reach, -half)])
    return Solid(geoms=(), parts=(arm, post), outline=outline, rest=half)


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
            outline = _round_outline((s, s, s))
            return Solid(geoms=(Geom(type="sphere", size=(s,)),), parts=(part,), outline=outline, rest=s)
        case "egg":
            radii = (s * 0.8, s * 0.8, s * 1.1)
            part = Part(kind=Kind.ELLIPSOID, size=radii, surface=look, occlusion=s * 0.85)
            outline = _round_outline(radii)
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
            outline = _ring_outline(s * 0.5, -s * 0.9, s * 0.9)
            outline = np.concatenate([outline, [[0, 0, -s * 1.1], [0, 0, s * 1.1]]])
            return Solid(geoms=(geom,), parts=(part,), outline=outline, rest=s * 1.1)
        case "ring":
            return _ring(s, look)
        case "pyramid" | "prism" | "octahedron" | "gem" | "hexagonal block" | "pivot":
            return _polyhedron(entity.shape, s, look)
        case "pin":
            return _pin(s, look)
        case "snowman":
            return _snowman(s, look)
        case "car":
            return _car(s, look)
        case "ramp":
            return _ramp(*half, look)
        case "table":
            return _table(half, look)
        case "box":
            return _container(half, look)
        case "rod":
            return _rod(entity, look)
        case "cube" | "block" | "wall" | "screen" | "domino" | "plank":
            return _boxes([(half, (0.0, 0.0, 0.0))], look, half[2])


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
