"""Skies: nine procedural ones, eighteen photographed ones, and the uniform light of the lab."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32

from kinema.errors import UserError, did_you_mean
from kinema.simulator.appearance import hdri
from kinema.simulator.appearance.noise import latlong_directions, smoothstep

Place = Literal["studio", "outdoor", "indoor"]
ROWS, COLUMNS = 256, 512
VARIANTS = 4
"""Variants of each procedural sky; a seed chooses the variant and its rotation."""

OUTDOOR_FLOORS = ("grass", "sand", "snow", "concrete floor", "asphalt", "plain floor", "brick pavement")
STUDIO_FLOORS = (
    "wooden floor", "checkered floor", "concrete floor", "tiled floor", "carpet", "marble floor",
    "plain floor",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sky:
    """A sky, the kind of place it belongs to, and the floors that suit it."""

    place: Place
    floors: tuple[str, ...]
    hdri: str = ""
    """Name of the photograph; empty for a procedural sky."""
    dark: bool = False
    """Whether windows are lit."""


SKIES: MappingProxyType[str, Sky] = MappingProxyType(
    {
        "clear blue sky": Sky(place="outdoor", floors=OUTDOOR_FLOORS),
        "cloudy sky": Sky(place="outdoor", floors=OUTDOOR_FLOORS),
        "overcast sky": Sky(place="outdoor", floors=OUTDOOR_FLOORS),
        "sunset": Sky(place="outdoor", floors=OUTDOOR_FLOORS),
        "dawn": Sky(place="outdoor", floors=OUTDOOR_FLOORS),
        "night": Sky(place="outdoor", floors=OUTDOOR_FLOORS, dark=True),
        "studio": Sky(place="studio", floors=STUDIO_FLOORS),
        "dark studio": Sky(place="studio", floors=STUDIO_FLOORS, dark=True),
        "pastel studio": Sky(place="studio", floors=STUDIO_FLOORS),
        "apartment": Sky(place="indoor", floors=("wooden floor", "carpet", "marble floor"), hdri="apartment"),
        "bridge": Sky(place="indoor", floors=("asphalt", "concrete floor"), hdri="bridge"),
        "city street": Sky(place="outdoor", floors=("asphalt", "brick pavement"), hdri="city"),
        "dawn field": Sky(place="outdoor", floors=("grass", "asphalt", "sand"), hdri="dawn"),
        "esplanade": Sky(place="indoor", floors=("brick pavement", "concrete floor"), hdri="esplanade"),
        "forest": Sky(place="outdoor", floors=("grass", "sand"), hdri="forest"),
        "hall": Sky(place="indoor", floors=("wooden floor", "checkered floor", "marble floor"), hdri="hall"),
        "laboratory": Sky(place="indoor", floors=("tiled floor", "concrete floor"), hdri="lab"),
        "lobby": Sky(place="indoor", floors=("marble floor", "carpet"), hdri="lobby"),
        "city at night": Sky(place="outdoor", floors=("asphalt", "concrete floor"), hdri="night", dark=True),
        "park": Sky(place="outdoor", floors=("grass",), hdri="park"),
        "open sky": Sky(place="outdoor", floors=("grass", "sand", "snow"), hdri="sky"),
        "photo studio": Sky(place="studio", floors=("plain floor",), hdri="studio"),
        "sunrise": Sky(place="outdoor", floors=("sand", "grass"), hdri="sunrise"),
        "rooftop sunset": Sky(place="outdoor", floors=("sand", "concrete floor"), hdri="sunset"),
        "waterfront": Sky(place="outdoor", floors=("brick pavement",), hdri="venice"),
        "warehouse": Sky(place="indoor", floors=("concrete floor",), hdri="warehouse"),
        "workshop": Sky(place="indoor", floors=("concrete floor", "wooden floor"), hdri="workshop"),
    }
)
LAB_SKY = "lab light"
"""Uniform white light and a soft lamp; not one of `SKIES`."""
LAB_SKY_SPEC = Sky(place="studio", floors=("lab floor",))


@dataclass(frozen=True, kw_only=True, eq=False)
class SkyLighting:
    """The lighting of a sky, for the ray tracer."""

    sky: Sky
    radiance: Float32[np.ndarray, "h w 3"]
    glossy: Float32[np.ndarray, "h2 w2 3"]
    """Radiance blurred as a semi-rough surface reflects it."""
    rough: Float32[np.ndarray, "h3 w3 3"]
    irradiance: Float32[np.ndarray, "9 3"]
    sun: Float[np.ndarray, "3"]
    """Direction to the sun before the rotation by `yaw`."""
    sun_colour: Float[np.ndarray, "3"]
    spread: float
    """Tangent of the sun's angular radius."""
    exposure: float = 1.0
    yaw: float = 0.0
    """Rotation about z, radians."""


@dataclass(frozen=True, kw_only=True)
class _ProceduralSky:
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    sun: tuple[float, float, float]
    elevation: tuple[float, float]
    strength: float
    clouds: float = 0.0
    spread: float = 0.03
    exposure: float = 1.0


_PROCEDURAL_SKIES = {
    "clear blue sky": _ProceduralSky(
        zenith=(0.10, 0.27, 0.72), horizon=(0.55, 0.72, 0.92), sun=(1, 0.95, 0.87), elevation=(32, 58),
        strength=2.2,
    ),
    "cloudy sky": _ProceduralSky(
        zenith=(0.15, 0.33, 0.70), horizon=(0.62, 0.75, 0.89), sun=(1, 0.96, 0.90), elevation=(32, 58),
        strength=1.8, clouds=0.75,
    ),
    "overcast sky": _ProceduralSky(
        zenith=(0.60, 0.63, 0.68), horizon=(0.76, 0.78, 0.80), sun=(1, 1, 1), elevation=(50, 70),
        strength=0.6, clouds=0.3, spread=0.30,
    ),
    "sunset": _ProceduralSky(
        zenith=(0.20, 0.19, 0.42), horizon=(1.0, 0.47, 0.20), sun=(1, 0.66, 0.40), elevation=(13, 22),
        strength=2.1, clouds=0.5, spread=0.045,
    ),
    "dawn": _ProceduralSky(
        zenith=(0.32, 0.38, 0.64), horizon=(1.0, 0.68, 0.58), sun=(1, 0.80, 0.68), elevation=(15, 24),
        strength=1.7, clouds=0.35, spread=0.045,
    ),
    "night": _ProceduralSky(
        zenith=(0.012, 0.018, 0.048), horizon=(0.05, 0.065, 0.12), sun=(0.78, 0.85, 1.0), elevation=(35, 58),
        strength=0.62, exposure=1.35,
    ),
    "studio": _ProceduralSky(
        zenith=(0.75, 0.75, 0.77), horizon=(0.60, 0.60, 0.62), sun=(1, 0.98, 0.95), elevation=(45, 65),
        strength=1.2, spread=0.12,
    ),
    "dark studio": _ProceduralSky(
        zenith=(0.05, 0.05, 0.055), horizon=(0.08, 0.08, 0.09), sun=(1, 0.97, 0.93), elevation=(45, 65),
        strength=1.7, spread=0.10,
    ),
    "pastel studio": _ProceduralSky(
        zenith=(0.85, 0.70, 0.75), horizon=(0.64, 0.71, 0.84), sun=(1, 0.98, 0.96), elevation=(45, 65),
        strength=1.2, spread=0.12,
    ),
}  # fmt: skip
_HDRI_EXPOSURE = {"night": 0.6, "dawn": 1.25}
"""Exposure of photographs whose common scaling is wrong: dusk must be darker, dawn brighter."""


def get_sky(name: str) -> Sky:
    """Look up a sky.

    Raises:
        UserError: there is no sky of this name.
    """
    if name == LAB_SKY:
        return LAB_SKY_SPEC
    if name not in SKIES:
        raise UserError(
            f"there is no sky {name!r}{did_you_mean(name, SKIES)}; choose one of: {', '.join(SKIES)}"
        )
    return SKIES[name]


def build_sky_lighting(name: str, seed: int) -> SkyLighting:
    """Build the lighting of a sky. The seed chooses the variant and its rotation.

    Raises:
        UserError: there is no sky of this name.
    """
    sky = get_sky(name)
    if name == LAB_SKY:
        return _lab_lighting()
    base = _hdri_lighting(sky) if sky.hdri else _procedural_lighting(name, seed % VARIANTS)
    # The sun is to one side of the scene or behind the camera. From behind the scene it would leave the
    # visible sides
    # dark, and the background would cast shadows on the scene.
    yaw = float(np.random.default_rng(seed).uniform(-math.pi, 0)) - math.atan2(base.sun[1], base.sun[0])
    return SkyLighting(
        sky=sky,
        radiance=base.radiance,
        glossy=base.glossy,
        rough=base.rough,
        irradiance=base.irradiance,
        sun=base.sun,
        sun_colour=base.sun_colour,
        spread=base.spread,
        exposure=base.exposure,
        yaw=yaw,
    )


def _build_lighting(
    sky: Sky, radiance: np.ndarray, sun: np.ndarray, colour: np.ndarray, spread: float, exposure: float
) -> SkyLighting:
    small = _downsample(radiance, 32, 64)
    return SkyLighting(
        sky=sky,
        radiance=np.ascontiguousarray(radiance, np.float32),
        glossy=_blur(small, 32, 64, 60.0),
        rough=_blur(small, 16, 32, 9.0),
        irradiance=_irradiance_harmonics(small),
        sun=sun,
        sun_colour=colour,
        spread=spread,
        exposure=exposure,
    )


def _downsample(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    h, w = image.shape[:2]
    return image.reshape(rows, h // rows, columns, w // columns, 3).mean((1, 3))


def _blur(small: np.ndarray, rows: int, columns: int, sharpness: float) -> Float32[np.ndarray, "h w 3"]:
    """Convolve with a lobe exp(sharpness·(cosine − 1)) over the sphere."""
    source = latlong_directions(*small.shape[:2]).reshape(-1, 3)
    target = latlong_directions(rows, columns).reshape(-1, 3)
    weight = np.exp(sharpness * (target @ source.T - 1)) * np.sqrt(1 - source[:, 2] ** 2)
    weight /= weight.sum(1, keepdims=True)
    return (weight @ np.minimum(small, 8).reshape(-1, 3)).reshape(rows, columns, 3).astype(np.float32)


def _irradiance_harmonics(small: np.ndarray) -> Float32[np.ndarray, "9 3"]:
    """Diffuse light over pi in spherical harmonics (Ramamoorthi and Hanrahan 2001)."""
    rows, columns = small.shape[:2]
    x, y, z = latlong_directions(rows, columns).reshape(-1, 3).T
    solid_angle = np.repeat(np.sin((np.arange(rows) + 0.5) / rows * np.pi), columns)
    solid_angle = solid_angle * (np.pi / rows) * (2 * np.pi / columns)
    scale = np.array([0.282095] + [0.488603] * 3 + [1.092548] * 2 + [0.315392, 1.092548, 0.546274])
    cosine_lobe = np.array([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5)
    basis = np.stack([np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y])
    basis = basis * scale[:, None]
    coefficients = (basis * solid_angle) @ np.minimum(small, 8).reshape(-1, 3)
    return (coefficients * (cosine_lobe * scale / np.pi)[:, None]).astype(np.float32)


@functools.cache
def _lab_lighting() -> SkyLighting:
    # Uniform light: walls, ceiling and the distant floor have the same gray.
    radiance = np.full((ROWS, COLUMNS, 3), 0.62, np.float32)
    sun = np.array([-0.35, -0.45, 0.82])
    return _build_lighting(LAB_SKY_SPEC, radiance, sun / np.linalg.norm(sun), np.full(3, 0.45), 0.12, 1.0)


@functools.cache
def _hdri_lighting(sky: Sky) -> SkyLighting:
    radiance, light = hdri.load(sky.hdri)
    exposure = _HDRI_EXPOSURE.get(sky.hdri, 1.0)
    return _build_lighting(
        sky, radiance, light[:3].astype(float), light[3:6].astype(float), math.tan(float(light[6])), exposure
    )


@functools.cache
def _procedural_lighting(name: str, variant: int) -> SkyLighting:
    # Cached: at most 36 skies of 1.6 MB; one takes longer to compute than a small clip to render.
    recipe = _PROCEDURAL_SKIES[name]
    rng = np.random.default_rng([11, variant])
    outward = latlong_directions(ROWS, COLUMNS)
    height = outward[..., 2]
    elevation = math.radians(rng.uniform(*recipe.elevation))
    sun = np.array([math.cos(elevation), 0.0, math.sin(elevation)])
    sun_cosine = outward @ sun
    zenith, horizon, sun_tint = map(np.asarray, (recipe.zenith, recipe.horizon, recipe.sun))
    studio = SKIES[name].place == "studio"
    share = np.clip(height, 0, 1) ** 0.5 if studio else 1 - np.exp(-5.5 * np.clip(height, 0, 1))
    image = horizon * (1 - share[..., None]) + zenith * share[..., None]
    if studio:
        for _ in range(3):
            azimuth = rng.uniform(0, 2 * math.pi)
            box = outward @ np.array([math.cos(azimuth) * 0.75, math.sin(azimuth) * 0.75, 0.66])
            image += smoothstep(0.86, 0.96, box)[..., None] * (1.0 if name == "dark studio" else 1.5)
    else:
        if recipe.clouds:
            cover = _clouds(outward, rng)
            cover = smoothstep(0.62 - recipe.clouds * 0.22, 0.80 - recipe.clouds * 0.12, cover)
            cover = (cover * smoothstep(0.0, 0.10, height))[..., None]
            white = np.array([0.95, 0.95, 0.96]) if name == "cloudy sky" else horizon * 1.05 + 0.05
            image = image * (1 - cover) + white * cover
        if name == "night":
            stars = (rng.random((ROWS, COLUMNS)) > 0.9975) * rng.random((ROWS, COLUMNS)) ** 2
            image += (stars * smoothstep(0.03, 0.2, height))[..., None] * 0.8
            image += np.array([0.9, 0.93, 1.0]) * smoothstep(0.9984, 0.9990, sun_cosine)[..., None] * 1.2
        else:
            sun_cosine_clipped = np.clip(sun_cosine, 0, 1)
            glow = (
                sun_cosine_clipped**8 * 0.14
                + sun_cosine_clipped**64 * 0.4
                + smoothstep(0.9985, 0.9993, sun_cosine) * 5
            )
            image += sun_tint * glow[..., None] * (0.25 if name == "overcast sky" else 1.0)
    # Below the horizon the image only lights objects from below; the floor covers it in view.
    ground = horizon * 0.55
    below = smoothstep(0.0, -0.12, height)[..., None] if not studio else (height < 0)[..., None] * 1.0
    image = image * (1 - below) + ground * below
    return _build_lighting(
        SKIES[name], image, sun, sun_tint * recipe.strength, recipe.spread, recipe.exposure
    )


def _clouds(outward: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cloud cover in 0..1: noise on a flat layer overhead."""
    total = np.zeros(outward.shape[:2])
    flat = np.clip(outward[..., 2], 0.03, 1) + 0.22
    u, v = outward[..., 0] / flat * 2.1, outward[..., 1] / flat * 2.1
    for octave in range(5):
        grid = rng.random((64, 64))
        a, b = (u * 2**octave) % 64, (v * 2**octave) % 64
        i, j = a.astype(int), b.astype(int)
        a, b = a - i, b - j
        a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
        i, j, i1, j1 = i % 64, j % 64, (i + 1) % 64, (j + 1) % 64
        row = grid[i, j] * (1 - a) + grid[i1, j] * a
        next_row = grid[i, j1] * (1 - a) + grid[i1, j1] * a
        total += 0.5 ** (octave + 1) * (row * (1 - b) + next_row * b)
    return total
