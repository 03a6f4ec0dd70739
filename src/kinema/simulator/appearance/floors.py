"""Twelve floors and the plain floor of the lab, as small tileable textures."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Float32

from kinema.errors import UserError, did_you_mean
from kinema.simulator.appearance.colours import srgb_to_linear
from kinema.simulator.appearance.noise import fractal_noise, value_noise

TEXTURE_SIZE = 256
"""Edge length of a texture in texels."""
VARIANTS = 4
"""Variants of each floor; a seed chooses the variant and its rotation."""


@dataclass(frozen=True, kw_only=True)
class FloorSurface:
    """Scale and reflectance of a floor."""

    tile: float
    """Edge length covered by the texture, metres."""
    roughness: float
    specular: float


FLOORS: MappingProxyType[str, FloorSurface] = MappingProxyType(
    {
        "wooden floor": FloorSurface(tile=2.4, roughness=0.30, specular=0.8),
        "checkered floor": FloorSurface(tile=2.0, roughness=0.15, specular=1.0),
        "grass": FloorSurface(tile=3.2, roughness=0.95, specular=0.0),
        "sand": FloorSurface(tile=3.6, roughness=0.95, specular=0.0),
        "snow": FloorSurface(tile=4.0, roughness=0.90, specular=0.2),
        "concrete floor": FloorSurface(tile=4.0, roughness=0.60, specular=0.5),
        "tiled floor": FloorSurface(tile=2.0, roughness=0.12, specular=1.0),
        "carpet": FloorSurface(tile=1.6, roughness=0.97, specular=0.0),
        "marble floor": FloorSurface(tile=3.0, roughness=0.08, specular=1.1),
        "asphalt": FloorSurface(tile=2.4, roughness=0.85, specular=0.4),
        "plain floor": FloorSurface(tile=2.0, roughness=0.40, specular=0.7),
        "brick pavement": FloorSurface(tile=2.0, roughness=0.80, specular=0.3),
    }
)
LAB_FLOOR = "lab floor"
"""Uniform light gray without gloss; not one of `FLOORS`."""
LAB_FLOOR_SURFACE = FloorSurface(tile=1.0, roughness=1.0, specular=0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class FloorTexture:
    """The texture of a floor, for the ray tracer."""

    surface: FloorSurface
    texture: Float32[np.ndarray, "texels 3"]
    """Linear light; mip pyramid from 256 x 256 down to one texel."""
    mean: Float[np.ndarray, "3"]
    rotation: float
    """Rotation of the texture, radians."""


def get_floor_surface(name: str) -> FloorSurface:
    """Look up a floor.

    Raises:
        UserError: there is no floor of this name.
    """
    if name == LAB_FLOOR:
        return LAB_FLOOR_SURFACE
    if name not in FLOORS:
        raise UserError(
            f"there is no floor {name!r}{did_you_mean(name, FLOORS)}; choose one of: {', '.join(FLOORS)}"
        )
    return FLOORS[name]


def build_floor_texture(name: str, seed: int) -> FloorTexture:
    """Build the texture of a floor. The seed chooses the variant and its rotation.

    Raises:
        UserError: there is no floor of this name.
    """
    surface = get_floor_surface(name)
    texture = _mip_pyramid(name, seed % VARIANTS)
    turn = float(np.random.default_rng(seed).uniform(-0.35, 0.35)) if name not in ("sand",) else 0.0
    return FloorTexture(surface=surface, texture=texture, mean=texture[-1].astype(float), rotation=turn)


@functools.cache
def _mip_pyramid(name: str, variant: int) -> Float32[np.ndarray, "texels 3"]:
    # Cached: at most 49 textures of 1 MB; one takes longer to compute than a small clip to render.
    image = srgb_to_linear(np.clip(_paint_texture(name, np.random.default_rng([7, variant])), 0, 1))
    levels = [image]
    while len(image) > 1:
        image = (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4
        levels.append(image)
    return np.concatenate([level.reshape(-1, 3) for level in levels]).astype(np.float32)


def _mix_colours(first: tuple[float, float, float], second: tuple[float, float, float], share: np.ndarray):
    share = np.clip(share, 0, 1)[..., None]
    return np.asarray(first) * (1 - share) + np.asarray(second) * share


def _paint_texture(name: str, rng: np.random.Generator) -> Float[np.ndarray, "256 256 3"]:
    """Draw a texture, in sRGB values."""
    n = TEXTURE_SIZE
    y, x = np.mgrid[0:n, 0:n]
    soft = fractal_noise(n, 4, rng)
    fine = rng.random((n, n))
    if name == "wooden floor":
        boards = 8
        board = x // (n // boards)
        shift = rng.integers(0, n, boards)[board]
        plank = ((y + shift) // (n // 2)) % 2
        tint = rng.random((boards, 2))[board, plank]
        grain = value_noise(n, n, (8, 128), rng) * 0.6 + value_noise(n, n, (4, 64), rng) * 0.4
        image = _mix_colours((0.42, 0.26, 0.14), (0.68, 0.47, 0.28), 0.15 + 0.45 * tint + 0.45 * grain)
        gap = (x % (n // boards) < 1) | ((y + shift) % (n // 2) < 1)
        image[gap] *= 0.5
        return image
    if name == "checkered floor":
        image = _mix_colours((0.80, 0.78, 0.74), (0.20, 0.22, 0.26), ((x // 64 + y // 64) % 2).astype(float))
        return image * (0.92 + 0.12 * soft[..., None])
    if name == "grass":
        blades = 0.45 * fractal_noise(n, 32, rng) + 0.4 * fine + 0.35 * (soft - 0.35)
        return _mix_colours((0.13, 0.27, 0.07), (0.40, 0.55, 0.17), blades)
    if name == "sand":
        ripples = 0.5 + 0.5 * np.sin((y / n * 9 + 1.6 * soft) * 2 * np.pi)
        return _mix_colours(
            (0.72, 0.59, 0.40),
            (0.89, 0.78, 0.58),
            0.35 * fractal_noise(n, 16, rng) + 0.2 * fine + 0.35 * ripples,
        )
    if name == "snow":
        return _mix_colours((0.80, 0.84, 0.91), (0.95, 0.96, 0.98), 0.2 + 0.8 * soft + 0.12 * (fine - 0.5))
    if name == "concrete floor":
        image = _mix_colours((0.43, 0.43, 0.42), (0.62, 0.61, 0.59), 0.75 * soft + 0.25 * fine)
        seam = (x % 128 < 1) | (y % 128 < 1)
        image[seam] *= 0.72
        return image
    if name == "tiled floor":
        image = _mix_colours((0.50, 0.63, 0.67), (0.66, 0.77, 0.80), rng.random((8, 8))[y // 32, x // 32])
        image[(x % 32 < 2) | (y % 32 < 2)] = (0.86, 0.86, 0.84)
        return image
    if name == "carpet":
        return _mix_colours(
            (0.40, 0.11, 0.13), (0.58, 0.20, 0.20), 0.5 * fine + 0.5 * fractal_noise(n, 64, rng)
        )
    if name == "marble floor":
        veins = fractal_noise(n, 4, rng)
        veins = (0.5 + 0.5 * np.sin(2 * np.pi * (2 * x / n + 3 * veins))) ** 8
        image = _mix_colours((0.90, 0.89, 0.87), (0.60, 0.60, 0.62), 0.8 * veins)
        image[(x % 64 < 1) | (y % 64 < 1)] *= 0.78
        return image
    if name == "asphalt":
        return _mix_colours((0.16, 0.16, 0.17), (0.36, 0.36, 0.37), fine**2 * 0.6 + 0.45 * soft)
    if name == "brick pavement":
        row = y // 16
        across = (x + 16 * (row % 2)) % n
        tint = rng.random((16, 8))[row, across // 32]
        image = _mix_colours((0.50, 0.25, 0.19), (0.67, 0.39, 0.29), tint) * (
            0.85 + 0.3 * (fine[..., None] - 0.5)
        )
        image[(y % 16 < 1) | (across % 32 < 1)] = (0.56, 0.53, 0.49)
        return image
    gray = 0.62 if name == "plain floor" else 0.72
    return np.full((n, n, 3), gray)
