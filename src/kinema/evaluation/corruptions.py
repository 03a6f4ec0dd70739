"""Films made worse on purpose: what a judge must see through."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage

from kinema.media import read_video, write_video

FrameArray = UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True, kw_only=True)
class CorruptionConfig:
    """How a film is worn: first blurred, then made noisy, then compressed."""

    blur: float = 0.0
    """Standard deviation of a Gaussian, pixels."""
    noise: float = 0.0
    """Standard deviation, as a share of full scale, independent in every pixel, channel and frame."""
    compress: bool = False
    """H.264 at crf 28, 4:2:0."""
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Added to red, green and blue, as shares of full scale."""


DEFAULT_CORRUPTION = CorruptionConfig(blur=0.7, noise=0.02, compress=True)
"""The wear under which every measure must hold."""


def corrupt_frames(frames: FrameArray, config: CorruptionConfig, *, seed: int) -> FrameArray:
    """A worn copy of a film; the same seed gives the same copy."""
    film = frames.astype(np.float32)
    if config.blur:
        film = ndimage.gaussian_filter(film, sigma=(0, config.blur, config.blur, 0), mode="nearest")
    film += np.array(config.tint, dtype=np.float32) * 255
    if config.noise:
        rng = np.random.default_rng([seed, 11])
        film += rng.standard_normal(film.shape, dtype=np.float32) * np.float32(255 * config.noise)
    result = np.clip(film + 0.5, 0, 255).astype(np.uint8)
    if config.compress:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            write_video(path, result, fps=12, quality="small")
            result = read_video(path).frames
    return result


def shuffle_frames(frames: FrameArray, *, seed: int) -> FrameArray:
    """The same pictures in another order."""
    return frames[np.random.default_rng([seed, 12]).permutation(len(frames))]


def freeze_frames(frames: FrameArray) -> FrameArray:
    """The first picture all the way through."""
    return np.repeat(frames[:1], len(frames), axis=0)
