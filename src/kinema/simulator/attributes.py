"""Attributes of simulated objects and their physical values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from kinema.simulator.annotations import CameraMove, Colour, Event, Material, Pattern, Shape, Size

COLOURS: tuple[Colour, ...] = get_args(Colour)
LAB_COLOURS: tuple[Colour, ...] = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
"""Hues that stand out from the gray lab floor; white, black, gray and brown do so less."""
SHAPES: tuple[Shape, ...] = (
    "ball", "egg", "cube", "cylinder", "cone", "capsule", "ring", "disc", "pyramid", "prism", "gem",
    "octahedron", "hexagonal block",
)  # fmt: skip
LAB_SHAPES: tuple[Shape, ...] = ("ball", "cube", "cylinder", "cone")

MATERIALS: tuple[Material, ...] = ("plastic", "rubber", "metal", "glass", "wood", "marble", "clay")
LAB_MATERIALS: tuple[Material, ...] = ("plastic", "rubber")
PATTERNS: tuple[Pattern, ...] = ("striped", "checkered", "spotted", "two-tone")
"""Two-coloured patterns. 'wooden' and 'marbled' belong to their materials."""
SECOND_COLOURS: tuple[Colour, ...] = ("white", "black", "yellow", "blue", "red")

EXTENT: dict[Size, float] = {"small": 0.26, "medium": 0.36, "large": 0.5}
"""Half extent of an object of each size, metres."""

CAMERA_MOVES: tuple[CameraMove, ...] = get_args(CameraMove)
EVENTS: tuple[Event, ...] = get_args(Event)


@dataclass(frozen=True, kw_only=True)
class MaterialProperties:
    """Physical properties of a material."""

    density: float
    """Kilograms per cubic metre; low, because the objects are hollow toys."""
    restitution: float
    """Share of the speed that remains after a bounce on the floor, 0..1."""
    friction: float
    """Coefficient of sliding friction on the floor."""


MATERIAL_PROPERTIES: dict[Material, MaterialProperties] = {
    "plastic": MaterialProperties(density=500, restitution=0.55, friction=0.45),
    "rubber": MaterialProperties(density=900, restitution=0.80, friction=0.8),
    "metal": MaterialProperties(density=3000, restitution=0.25, friction=0.35),
    "glass": MaterialProperties(density=1500, restitution=0.40, friction=0.3),
    "wood": MaterialProperties(density=500, restitution=0.35, friction=0.5),
    "marble": MaterialProperties(density=2200, restitution=0.25, friction=0.4),
    "clay": MaterialProperties(density=1200, restitution=0.02, friction=0.85),
    "glowing": MaterialProperties(density=500, restitution=0.50, friction=0.5),
}

SLOW_SPEED = 1.0
"""Captions call a mean speed of at most this slow, metres per second."""
QUICK_SPEED = 2.3
"""Captions call a mean speed of at least this quick, metres per second; speeds between get no word."""
