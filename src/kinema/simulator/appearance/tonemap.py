"""Tone mapping from scene radiance to display values."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from kinema.simulator.appearance.colours import linear_to_srgb

TABLE_ENTRIES = 1024
WHITE_RADIANCE = 16.0
"""Radiance that maps to white: the last entry of the table."""


def filmic_curve(light: np.ndarray) -> np.ndarray:
    """Map scene radiance to display light in 0..1 with a short toe and a long shoulder.

    A rational function like K. Narkowicz's ACES approximation, with less toe and less contrast, so that dark
    colours stay recognisable.
    """
    return np.clip(light * (2.2 * light + 0.10) / (light * (2.1 * light + 0.72) + 0.22), 0, 1)


def build_tone_table() -> Float32[np.ndarray, "1024"]:
    """Table of sRGB display values in 0..1; entry i is for radiance (4i / 1023)²."""
    light = np.linspace(0, np.sqrt(WHITE_RADIANCE), TABLE_ENTRIES) ** 2
    return linear_to_srgb(filmic_curve(light)).astype(np.float32)
