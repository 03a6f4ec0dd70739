"""The words of the film set, and what each of them means in metres and kilograms."""

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
"""Two-coloured patterns; wooden and marbled belong to their materials."""
SECOND_COLOURS: tuple[Colour, ...] = ("white", "black", "yellow", "blue", "red")

EXTENT: dict[Size, float] = {"small": 0.26, "medium": 0.36, "large": 0.5}
"""Half the extent of a thing of this size, metres."""

CAMERA_MOVES: tuple[CameraMove, ...] = get_args(CameraMove)
EVENTS: tuple[Event, ...] = get_args(Event)


@dataclass(frozen=True, kw_only=True)
class MaterialProperties:
    """What a material is made of, as far as collisions go."""

    density: float
    """Kilograms per cubic metre. Things are hollow toys, so these are low."""
    restitution: float
    """Share of the speed that a bounce off the floor gives back, 0..1."""
    friction: float
    """Sliding friction against the floor."""


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
"""Mean speed in metres per second below which a motion is told as slow ..."""
QUICK_SPEED = 2.3
"""... and above which it is told as quick. Between them the captions say nothing of speed."""
