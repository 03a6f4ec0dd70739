"""The twelve named colours, and conversions between colour spaces."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from kinema.simulator.annotations import Colour

COLOURS: MappingProxyType[Colour, tuple[float, float, float]] = MappingProxyType(
    {
        "red": (0.80, 0.05, 0.05),
        "orange": (0.97, 0.46, 0.02),
        "yellow": (0.96, 0.78, 0.05),
        "green": (0.08, 0.50, 0.13),
        "cyan": (0.08, 0.70, 0.76),
        "blue": (0.03, 0.25, 0.82),
        "purple": (0.50, 0.08, 0.60),
        "pink": (0.96, 0.45, 0.63),
        "white": (0.92, 0.92, 0.90),
        "black": (0.11, 0.11, 0.115),
        "brown": (0.36, 0.19, 0.08),
        "gray": (0.45, 0.45, 0.46),
    }
)
"""sRGB values, 0 to 1."""


def srgb_to_linear(colour: Sequence[float] | Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Convert sRGB values in 0..1 to linear light (IEC 61966-2-1)."""
    colour = np.asarray(colour, float)
    return np.where(colour <= 0.04045, colour / 12.92, ((np.maximum(colour, 0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: Sequence[float] | Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Convert linear light to sRGB values in 0..1; the inverse of `srgb_to_linear`."""
    light = np.clip(np.asarray(light, float), 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def srgb_to_lab(srgb: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Convert sRGB values in 0..1 to CIE L*a*b* (D65); distances of about 2 are just noticeable."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = srgb_to_linear(srgb) @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
