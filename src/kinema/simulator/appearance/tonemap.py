"""From light to display values."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from kinema.simulator.appearance.colours import linear_to_srgb

TABLE_ENTRIES = 1024
WHITE_RADIANCE = 16.0
"""Radiance that is certainly white: the last entry of the table."""


def filmic_curve(light: np.ndarray) -> np.ndarray:
    """Display light 0..1 from scene light: a short toe, a straight middle, a long shoulder.

    A rational fit in the manner of K. Narkowicz's ACES approximation, with less toe and less contrast, so
    that dark colours keep their names.
    """
    return np.clip(light * (2.2 * light + 0.10) / (light * (2.1 * light + 0.72) + 0.22), 0, 1)


def build_tone_table() -> Float32[np.ndarray, "1024"]:
    """SRGB display values 0..1; entry i is for radiance (4i / 1023)², the spacing of the tracer's look-up."""
    light = np.linspace(0, np.sqrt(WHITE_RADIANCE), TABLE_ENTRIES) ** 2
    return linear_to_srgb(filmic_curve(light)).astype(np.float32)
