"""Tileable value noise for textures, and directions on the sphere."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Hermite step from 0 below `low` to 1 above `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def value_noise(
    rows: int, columns: int, cells: tuple[int, int], rng: np.random.Generator
) -> Float[np.ndarray, "{rows} {columns}"]:
    """Tileable smooth noise in 0..1 with `cells` grid cells down and across."""
    down, across = cells
    grid = rng.random((down, across))
    y, x = np.arange(rows) / rows * down, np.arange(columns) / columns * across
    i, j = y.astype(int), x.astype(int)
    fy, fx = y - i, x - j
    fy, fx = (fy * fy * (3 - 2 * fy))[:, None], (fx * fx * (3 - 2 * fx))[None]
    below, right = (i + 1) % down, (j + 1) % across
    top = grid[np.ix_(i, j)] * (1 - fx) + grid[np.ix_(i, right)] * fx
    bottom = grid[np.ix_(below, j)] * (1 - fx) + grid[np.ix_(below, right)] * fx
    return top * (1 - fy) + bottom * fy


def fractal_noise(
    size: int, cells: int, rng: np.random.Generator, octaves: int = 5, gain: float = 0.55
) -> Float[np.ndarray, "{size} {size}"]:
    """Tileable sum of octaves of value noise, 0..1."""
    total, weight, sum_of_weights = np.zeros((size, size)), 1.0, 0.0
    for octave in range(octaves):
        fine = cells << octave
        if fine > size:
            break
        total += weight * value_noise(size, size, (fine, fine), rng)
        sum_of_weights += weight
        weight *= gain
    return total / sum_of_weights


def latlong_directions(rows: int, columns: int) -> Float[np.ndarray, "{rows} {columns} 3"]:
    """Unit directions of the texels of a latitude-longitude image; the top row points to +z."""
    polar = (np.arange(rows) + 0.5) / rows * np.pi
    azimuth = ((np.arange(columns) + 0.5) / columns - 0.5) * 2 * np.pi
    sine = np.sin(polar)[:, None]
    return np.stack(
        [sine * np.cos(azimuth), sine * np.sin(azimuth), np.cos(polar)[:, None] * np.ones((1, columns))], -1
    )
