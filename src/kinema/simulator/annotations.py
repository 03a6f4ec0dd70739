"""What is true of a clip: the facts that captions are written from and the audit checks them against.

Everything here is measured, from the simulation or from the renderer's object-id buffer, never guessed
from what an event meant to do. World axes: x to the right of the neutral camera, y away from it, z up,
metres. Screen coordinates: x from 0 (left edge) to 1 (right edge), y from 0 (top) to 1 (bottom).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Shape = Literal[
    "ball", "egg", "cube", "cylinder", "cone", "capsule", "ring", "disc", "pyramid", "prism", "gem",
    "octahedron", "hexagonal block", "car", "snowman", "pin", "domino", "block", "wall", "screen", "ramp",
    "table", "plank", "pivot", "box", "rod",
]  # fmt: skip
Colour = Literal[
    "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black", "brown", "gray",
]  # fmt: skip
Material = Literal["plastic", "rubber", "metal", "glass", "wood", "marble", "clay", "glowing"]
Pattern = Literal["solid", "striped", "checkered", "spotted", "two-tone", "wooden", "marbled"]
Size = Literal["small", "medium", "large"]
Role = Literal["main", "partner", "prop", "background"]
CameraMove = Literal[
    "static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "dolly in", "dolly out",
    "orbit left", "orbit right", "truck left", "truck right", "crane up", "crane down",
]  # fmt: skip
Event = Literal[
    "roll", "collide", "drop", "ramp", "tower", "domino", "occlude", "orbit", "edge", "pendulum", "bowl",
    "still", "spin", "seesaw", "container", "chain", "count", "wall pair", "mass pair", "camera",
]  # fmt: skip

PAIRED_EVENTS: tuple[Event, ...] = ("wall pair", "mass pair")
"""Events of which each clip has a twin that differs in one cause."""

ClaimKind = Literal[
    "moves",  # subject travels; value: left | right | away | toward | down
    "speed",  # subject's speed when it moves; value: slowly | quickly
    "stops",  # subject comes to rest within the clip
    "leaves",  # subject leaves the frame
    "hits",  # subject touches object
    "misses",  # subject passes object without touching it
    "short of",  # subject stops before reaching object
    "pushed",  # object of the sentence is set moving by the hit; value: left | right | away | aside
    "stays",  # subject does not move
    "bounces back",  # subject reverses after a hit
    "tips over",  # subject falls over
    "stands",  # subject is still upright at the end
    "falls",  # subject drops through the air
    "bounces",  # after falling; value: high | little | none
    "lands on",  # subject ends at rest on top of object
    "falls beside",  # subject meets object from above and ends beside it
    "falls off",  # subject goes over the edge of object
    "slides down",  # subject goes down object (a ramp); value: left | right
    "rests on",  # subject stays on object from beginning to end
    "hides",  # subject is out of sight behind object for a while
    "re-emerges",  # subject is seen again; value: left | right (screen side of the occluder)
    "stays hidden",  # subject is out of sight at the end
    "in front",  # subject passes in front of object
    "falls in",  # subject ends inside object (a container)
    "seesaw",  # object (plank) tips; value: left | right is the end that goes down; subject caused it
    "thrown",  # subject is thrown up by the seesaw
    "left of", "right of", "middle", "in a row",  # where things stand on screen
    "count",  # number of members of a group; value: the number as digits
    "fallen",  # how many members of a group end fallen; value: digits
    "topple",  # a chain of dominoes falls; value: left | right is the side it starts from
    "chain stops",  # the chain ends early
    "swings",  # subject swings on its rod
    "circles",  # subject travels round object; value: clockwise | counterclockwise, seen from above
    "spins",  # subject turns in place; value: clockwise | counterclockwise, seen from above
    "camera",  # value: a CameraMove
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EntityAnnotation:
    """One thing in the clip: `index` is its place in per-entity arrays; the id buffer holds index + 1."""

    index: int
    role: Role
    shape: Shape
    size: Size
    material: Material
    colour: Colour | None
    """None where the material has its own colour (wood, marble)."""
    pattern: Pattern = "solid"
    second_colour: Colour | None = None
    fixed: bool = False
    named: bool = True
    """False for things no caption mentions on their own (a seesaw's pivot, one pin of many)."""
    group: str | None = None
    """The members of a group (pins, dominoes, tower, count) share this word."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracks:
    """Per-frame measurements. Axes: f frames, n entities."""

    position: Float[np.ndarray, "f n 3"]
    """Centre in the world, metres."""
    rotation: Float[np.ndarray, "f n 3 3"]
    velocity: Float[np.ndarray, "f n 3"]
    """Metres per second."""
    upright: Float[np.ndarray, "f n"]
    """Cosine between the entity's own up axis now and in the first frame's world up: 1 standing, 0 lying."""
    screen: Float[np.ndarray, "f n 2"]
    """Projected centre; outside 0..1 when out of frame."""
    depth: Float[np.ndarray, "f n"]
    """Distance along the view axis, metres; negative behind the camera."""
    radius: Float[np.ndarray, "f n"]
    """Projected bounding radius as a share of the frame's height."""
    pixels: Int[np.ndarray, "f n"]
    """Pixels in the id buffer, at the size it was rendered."""
    box: Float[np.ndarray, "f n 4"]
    """Left, top, right, bottom of those pixels on screen, 0..1; NaN where there are none."""


@dataclass(frozen=True, kw_only=True)
class Contact:
    """Two entities touched. Times are in frames, fractional, from the physics step they happened in."""

    a: int
    b: int
    first: float
    last: float


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One checkable statement. A caption is the wording of some of a clip's claims, in their order."""

    kind: ClaimKind
    subject: int | None = None
    object: int | None = None
    value: str = ""
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where the clip plays. The names are those of `kinema.simulator.appearance`."""

    sky: str
    floor: str
    background: str
    wall: str = ""
    """For decor 'wall': which kind of wall stands behind the scene."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipAnnotations:
    """Everything that is true of one clip."""

    seed: int
    lab: bool
    event: Event
    outcome: str
    """Which of the event's possible outcomes happened, by the simulation."""
    fps: float
    height: int
    width: int
    """Size at which pixels and boxes were counted."""
    entities: tuple[EntityAnnotation, ...]
    tracks: Tracks
    contacts: tuple[Contact, ...]
    claims: tuple[Claim, ...]
    event_frame: int
    """The frame in which the event happens: the contact, the landing, the vanishing."""
    camera: CameraMove
    cameras: Float[np.ndarray, "f 13"]
    """Position, right, up, forward, and tan(vertical field of view / 2) of the camera in each frame."""
    environment: Environment
    pair_id: str = ""
    """One-cause pairs: both clips of a pair share this key ..."""
    cause: str = ""
    """... and differ in this ('wall', 'no wall', 'light', 'heavy')."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """One wording of a clip. `style` is 'core', 'terse', 'plain', 'rich', 'everyday', 'simple', ..."""

    style: str
    text: str
    claims: tuple[int, ...] = ()
    """Which of the clip's claims the text states, as places in `ClipFacts.claims`."""
