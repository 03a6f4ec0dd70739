"""Surface materials: rows of 16 numbers for the ray tracer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float32

from kinema.errors import UserError, did_you_mean
from kinema.simulator.annotations import Colour, Material, Pattern
from kinema.simulator.appearance.colours import COLOURS, srgb_to_linear

BackgroundPattern = Literal["windows", "bricks", "planks", "wedges"]
"""Patterns of backgrounds, in addition to `annotations.Pattern`."""

# Columns of a material row.
COLOUR = 0  # 3, linear light
SECOND_COLOUR = 3  # 3, linear light
PATTERN = 6
SCALE = 7
ROUGHNESS = 8  # 0 mirror to 1 matte
METALLIC = 9  # 0 or 1
GLASS = 10  # 0 or 1
REFRACTIVE_INDEX = 11  # index of refraction
EMISSION = 12  # emitted light, as a multiple of the colour
LIT_SHARE = 13  # share of windows that are lit
OPACITY = 14  # share of sunlight that it blocks
SPECULAR = 15  # strength of the specular reflection
MATERIAL_COLUMNS = 16

PATTERNS: tuple[str, ...] = (*get_args(Pattern), *get_args(BackgroundPattern))
"""A row stores the index of its pattern in this tuple."""

ROUGHNESS_BY_MATERIAL = {
    "plastic": 0.22, "rubber": 0.85, "metal": 0.13, "glass": 0.02, "wood": 0.5, "marble": 0.14,
    "clay": 0.9, "glowing": 0.9,
}  # fmt: skip
SPECULAR_BY_MATERIAL = {
    "plastic": 1.0, "rubber": 0.35, "metal": 1.0, "glass": 1.0, "wood": 0.5, "marble": 1.0,
    "clay": 0.1, "glowing": 0.0,
}  # fmt: skip
WOOD_COLOURS = ((0.60, 0.38, 0.19), (0.40, 0.22, 0.10))
MARBLE_COLOURS = ((0.90, 0.89, 0.87), (0.46, 0.46, 0.50))
"""Natural colours of wood and marble, sRGB."""

ColourLike = Colour | Sequence[float] | np.ndarray


def linear_colour(colour: ColourLike) -> Float[np.ndarray, "3"]:
    """Convert a named colour, or three sRGB values in 0..1, to linear light.

    Raises:
        UserError: there is no colour of this name.
    """
    if isinstance(colour, str):
        if colour not in COLOURS:
            raise UserError(
                f"there is no colour {colour!r}{did_you_mean(colour, COLOURS)}; "
                f"choose one of: {', '.join(COLOURS)}"
            )
        return srgb_to_linear(COLOURS[colour])
    return srgb_to_linear(np.asarray(colour, float))


def material_row(
    kind: Material,
    colour: ColourLike | None = None,
    second_colour: ColourLike | None = None,
    pattern: Pattern | BackgroundPattern = "solid",
    scale: float = 1.0,
    *,
    emission: float | None = None,
    lit_share: float = 1.0,
) -> Float32[np.ndarray, "16"]:
    """Build a row of `RenderScene.materials`.

    Args:
        kind: the material.
        colour: a colour name or sRGB values; None for the natural colour and pattern of wood and marble (gray
            for other materials).
        second_colour: the second colour of the pattern; None repeats the first.
        pattern: how the two colours are arranged.
        scale: frequency of the pattern relative to the default. Patterns of objects scale with the object;
            'windows', 'bricks' and 'planks' are per metre.
        emission: emitted light as a multiple of the colour; None for that of the material.
        lit_share: share of 'windows' that show the second colour.

    Raises:
        UserError: an unknown material, colour or pattern.
    """
    if kind not in ROUGHNESS_BY_MATERIAL:
        raise UserError(
            f"there is no material {kind!r}{did_you_mean(kind, ROUGHNESS_BY_MATERIAL)}; "
            f"choose one of: {', '.join(ROUGHNESS_BY_MATERIAL)}"
        )
    if pattern not in PATTERNS:
        raise UserError(
            f"there is no pattern {pattern!r}{did_you_mean(pattern, PATTERNS)}; "
            f"choose one of: {', '.join(PATTERNS)}"
        )
    if colour is None and kind in ("wood", "marble"):
        colour, second_colour = WOOD_COLOURS if kind == "wood" else MARBLE_COLOURS
        pattern = "wooden" if kind == "wood" else "marbled"
    first = linear_colour("gray" if colour is None else colour)
    second = first if second_colour is None else linear_colour(second_colour)
    if kind == "metal":
        # Metals only reflect, so black metal needs a minimum reflectance to be visible.
        first, second = 0.06 + 0.88 * first, 0.06 + 0.88 * second
    if kind == "glass":
        # Light passes through glass up to twice; the root keeps the hue and most of the light.
        first, second = np.maximum(first, 0.004) ** 0.3, np.maximum(second, 0.004) ** 0.3
    row = np.zeros(MATERIAL_COLUMNS, np.float32)
    row[COLOUR : COLOUR + 3] = first
    row[SECOND_COLOUR : SECOND_COLOUR + 3] = second
    row[PATTERN] = PATTERNS.index(pattern)
    row[SCALE] = scale
    row[ROUGHNESS] = ROUGHNESS_BY_MATERIAL[kind]
    row[METALLIC] = kind == "metal"
    row[GLASS] = kind == "glass"
    row[REFRACTIVE_INDEX] = 1.45
    row[EMISSION] = (1.6 if kind == "glowing" else 0.0) if emission is None else emission
    row[LIT_SHARE] = lit_share
    row[OPACITY] = 0.45 if kind == "glass" else 1.0
    row[SPECULAR] = SPECULAR_BY_MATERIAL[kind]
    return row


@dataclass(kw_only=True)
class MaterialTable:
    """Collects the material rows of a scene. Equal rows share an index."""

    rows: list[Float32[np.ndarray, "16"]] = field(default_factory=list)

    def add(self, row: Float32[np.ndarray, "16"]) -> int:
        """Add a row; returns its index, for `Primitive.material`."""
        if row.shape != (MATERIAL_COLUMNS,) or not all(map(math.isfinite, row.tolist())):
            raise ValueError(f"a material row is {MATERIAL_COLUMNS} finite numbers, not {row.tolist()}")
        for number, existing in enumerate(self.rows):
            if np.array_equal(existing, row):
                return number
        self.rows.append(np.asarray(row, np.float32))
        return len(self.rows) - 1

    def array(self) -> Float32[np.ndarray, "m 16"]:
        """All rows, for `RenderScene.materials`."""
        return np.stack(self.rows) if self.rows else np.zeros((0, MATERIAL_COLUMNS), np.float32)
