"""Annotation types of a clip. Captions are written from them and the caption audit checks against them.

All values are measured in the simulation or in the renderer's object-id buffer. World axes: x to the right of
the default camera, y away from it, z up, metres. Screen coordinates: x from 0 (left edge) to 1 (right edge),
y from 0 (top) to 1 (bottom).
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
"""Events whose clips come in pairs that differ in one cause."""

ClaimKind = Literal[
    "moves",  # subject moves; value: left | right | away | toward | down
    "speed",  # subject's speed when it moves; value: slowly | quickly
    "stops",  # subject comes to rest within the clip
    "leaves",  # subject leaves the frame
    "hits",  # subject touches object
    "misses",  # subject passes object without touching it
    "short of",  # subject stops before reaching object
    "pushed",  # subject is set in motion by the hit; value: left | right | away | aside
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
    "re-emerges",  # subject is visible again; value: left | right (screen side of the occluder)
    "stays hidden",  # subject is out of sight at the end
    "in front",  # subject passes in front of object
    "falls in",  # subject ends inside object (a container)
    "seesaw",  # object (plank) tips; value: left | right is the end that goes down; subject caused it
    "thrown",  # subject is thrown up by the seesaw
    "left of", "right of", "middle", "in a row",  # positions on screen
    "count",  # number of members of a group; value: the number as digits
    "fallen",  # how many members of a group end fallen; value: digits
    "topple",  # a chain of dominoes falls; value: left | right is the side it starts from
    "chain stops",  # the chain ends early
    "swings",  # subject swings on its rod
    "circles",  # subject circles around object; value: clockwise | counterclockwise, from above
    "spins",  # subject turns in place; value: clockwise | counterclockwise, from above
    "camera",  # value: a CameraMove
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EntityAnnotation:
    """One object of the clip. `index` is its position in per-entity arrays; its object id is index + 1."""

    index: int
    role: Role
    shape: Shape
    size: Size
    material: Material
    colour: Colour | None
    """None for materials with a colour of their own (wood, marble)."""
    pattern: Pattern = "solid"
    second_colour: Colour | None = None
    fixed: bool = False
    named: bool = True
    """False for objects that captions do not mention individually (a seesaw's pivot, one of many pins)."""
    group: str | None = None
    """Name shared by the members of a group (pins, dominoes, tower, count)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracks:
    """Per-frame measurements. Axes: f frames, n entities."""

    position: Float[np.ndarray, "f n 3"]
    """Centre in world coordinates, metres."""
    rotation: Float[np.ndarray, "f n 3 3"]
    velocity: Float[np.ndarray, "f n 3"]
    """Metres per second."""
    upright: Float[np.ndarray, "f n"]
    """Cosine between world up and the axis that was up in the first frame: 1 standing, 0 lying."""
    screen: Float[np.ndarray, "f n 2"]
    """Projected centre; outside 0..1 where it is out of frame."""
    depth: Float[np.ndarray, "f n"]
    """Distance along the view axis, metres; negative behind the camera."""
    radius: Float[np.ndarray, "f n"]
    """Projected bounding radius as a share of the image height."""
    pixels: Int[np.ndarray, "f n"]
    """Number of pixels in the id buffer at the rendered size."""
    box: Float[np.ndarray, "f n 4"]
    """Left, top, right and bottom of those pixels, 0..1; NaN where there are none."""


@dataclass(frozen=True, kw_only=True)
class Contact:
    """A contact of two entities. Times are fractional frames."""

    a: int
    b: int
    first: float
    last: float


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One checkable statement. A caption states some of the claims of its clip."""

    kind: ClaimKind
    subject: int | None = None
    object: int | None = None
    value: str = ""
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Surroundings of a clip, by the names used in `kinema.simulator.appearance`."""

    sky: str
    floor: str
    background: str
    wall: str = ""
    """Kind of wall where the background is 'wall'."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipAnnotations:
    """All annotations of one clip."""

    seed: int
    lab: bool
    event: Event
    outcome: str
    """The outcome of the event in the simulation."""
    fps: float
    height: int
    width: int
    """Image size at which pixels and boxes were measured."""
    entities: tuple[EntityAnnotation, ...]
    tracks: Tracks
    contacts: tuple[Contact, ...]
    claims: tuple[Claim, ...]
    event_frame: int
    """The frame of the event: a contact, a landing, an occlusion."""
    camera: CameraMove
    cameras: Float[np.ndarray, "f 13"]
    """Camera per frame: position, right, up and forward axes, and tan(vertical field of view / 2)."""
    environment: Environment
    pair_id: str = ""
    """Shared by both clips of a pair; empty for other events."""
    cause: str = ""
    """The cause in which the clips of a pair differ ('wall', 'no wall', 'light', 'heavy')."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """One caption of a clip; `style` is the name of a `captions.CaptionStyle`."""

    style: str
    text: str
    claims: tuple[int, ...] = ()
    """Indices into `ClipAnnotations.claims` of the claims that the text states."""
