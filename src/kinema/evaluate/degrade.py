"""Films made worse on purpose: what a judge must see through."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage

from kinema.media import read_film, write_film

Frames = UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True, kw_only=True)
class Wear:
    """How a film is worn: first blurred, then made noisy, then compressed."""

    blur: float = 0.0
    """Standard deviation of a Gaussian, pixels."""
    noise: float = 0.0
    """Standard deviation, as a share of full scale, independent in every pixel, channel and frame."""
    compress: bool = False
    """H.264 at crf 28, 4:2:0."""
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Added to red, green and blue, as shares of full scale."""


WORN = Wear(blur=0.7, noise=0.02, compress=True)
"""The wear under which every measure must hold."""


def worn(frames: Frames, wear: Wear, *, seed: int) -> Frames:
    """A worn copy of a film; the same seed gives the same copy."""
    film = frames.astype(np.float32)
    if wear.blur:
        film = ndimage.gaussian_filter(film, sigma=(0, wear.blur, wear.blur, 0), mode="nearest")
    film += np.array(wear.tint, dtype=np.float32) * 255
    if wear.noise:
        rng = np.random.default_rng([seed, 11])
        film += rng.standard_normal(film.shape, dtype=np.float32) * np.float32(255 * wear.noise)
    result = np.clip(film + 0.5, 0, 255).astype(np.uint8)
    if wear.compress:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            write_film(path, result, fps=12, quality="small")
            result = read_film(path).frames
    return result


def shuffled(frames: Frames, *, seed: int) -> Frames:
    """The same pictures in another order."""
    return frames[np.random.default_rng([seed, 12]).permutation(len(frames))]


def frozen(frames: Frames) -> Frames:
    """The first picture all the way through."""
    return np.repeat(frames[:1], len(frames), axis=0)
