"""Shared by GIF and animated WebP: the rectangle that changed, and durations in integer ticks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from jaxtyping import UInt8

KEYFRAME_INTERVAL = 48
"""Every how many frames a complete frame is written, so that players recover after seeking."""


def dirty_rect(
    previous: UInt8[np.ndarray, "h w 3"] | None, image: UInt8[np.ndarray, "h w 3"]
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the changed pixels; left and top are even, and it is never empty."""
    height, width = image.shape[:2]
    if previous is None:
        return 0, 0, width, height
    changed = (previous != image).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(columns[0]) & ~1, int(rows[0]) & ~1, int(columns[-1]) + 1, int(rows[-1]) + 1


def frame_duration(number: int, rate: Fraction, unit: int) -> int:
    """The duration of frame `number` in 1/`unit` seconds; rounding errors do not add up."""
    return round((number + 1) * unit / rate) - round(number * unit / rate)
