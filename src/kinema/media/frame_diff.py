"""What GIF and animated WebP share: the rectangle that changed, and times in whole ticks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from jaxtyping import UInt8

KEYFRAME_INTERVAL = 48
"""A whole frame this often, so that a player that seeks or drops a rectangle recovers."""


def dirty_rect(
    previous: UInt8[np.ndarray, "h w 3"] | None, image: UInt8[np.ndarray, "h w 3"]
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of what differs from the frame before; left and top even, never empty."""
    height, width = image.shape[:2]
    if previous is None:
        return 0, 0, width, height
    differs = (previous != image).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(columns[0]) & ~1, int(rows[0]) & ~1, int(columns[-1]) + 1, int(rows[-1]) + 1


def frame_duration(number: int, rate: Fraction, unit: int) -> int:
    """How long frame `number` lasts, in 1/`unit` seconds, such that rounding errors never add up."""
    return round((number + 1) * unit / rate) - round(number * unit / rate)
