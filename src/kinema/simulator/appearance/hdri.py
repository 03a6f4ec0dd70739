"""Reads and writes the eighteen photographed skies.

Each is a latitude-longitude image of 512 x 256 texels, stored as a lossless WebP of 8-bit logarithmic values
in one npz file, with the direction and colour of its strongest light. `assets/README.md` names the source.
"""

from __future__ import annotations

import functools
import importlib.resources
import io
import math

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

ASSETS = "assets"
ASSET_FILE = "skies.npz"
LOG_KNEE = 0.03
MAX_RADIANCE = 8.0
"""Upper limit of the radiance. The sun is stored separately, as a direction and a colour."""


def encode(radiance: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "bytes"]:
    """Encode radiance as a lossless WebP; the mean error above the knee is about 1% of the value."""
    share = np.log1p(np.clip(radiance, 0, MAX_RADIANCE) / LOG_KNEE) / math.log1p(MAX_RADIANCE / LOG_KNEE)
    buffer = io.BytesIO()
    Image.fromarray(np.round(share * 255).astype(np.uint8)).save(
        buffer, "WEBP", lossless=True, quality=100, method=6
    )
    return np.frombuffer(buffer.getvalue(), np.uint8)


def decode(data: UInt8[np.ndarray, "bytes"]) -> Float32[np.ndarray, "h w 3"]:
    """Decode radiance written by `encode`."""
    values = np.asarray(Image.open(io.BytesIO(data.tobytes())).convert("RGB"), np.float32) / 255
    return (LOG_KNEE * np.expm1(values * math.log1p(MAX_RADIANCE / LOG_KNEE))).astype(np.float32)


@functools.cache
def load(name: str) -> tuple[Float32[np.ndarray, "256 512 3"], Float32[np.ndarray, "7"]]:
    """Load a sky.

    Returns:
        Its radiance, and its strongest light: direction (3), colour (3) and angular radius in radians.
        Results are cached; all eighteen skies take 28 MB.
    """
    source = importlib.resources.files("kinema.simulator.appearance").joinpath(ASSETS, ASSET_FILE)
    with source.open("rb") as file, np.load(file) as stored:
        return decode(stored[name]), stored[f"{name} light"].astype(np.float32)
