"""Corrupted copies of videos, which the evaluator must score like the originals."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from kinema.frames import FrameArray
from kinema.media import read_video, write_video


@dataclass(frozen=True, kw_only=True)
class CorruptionConfig:
    """What is applied to a video: blur, then tint, then noise, then compression."""

    blur: float = 0.0
    """Standard deviation of a Gaussian, pixels."""
    noise: float = 0.0
    """Standard deviation as a share of full scale; independent in every pixel, channel and frame."""
    compress: bool = False
    """H.264 at crf 28, 4:2:0."""
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Added to red, green and blue, as shares of full scale."""


DEFAULT_CORRUPTION = CorruptionConfig(blur=0.7, noise=0.02, compress=True)
"""The corruption under which every measure must hold."""


def corrupt_frames(frames: FrameArray, config: CorruptionConfig, *, seed: int) -> FrameArray:
    """A corrupted copy of a video; the same seed gives the same copy."""
    video = frames.astype(np.float32)
    if config.blur:
        video = ndimage.gaussian_filter(video, sigma=(0, config.blur, config.blur, 0), mode="nearest")
    video += np.array(config.tint, dtype=np.float32) * 255
    if config.noise:
        rng = np.random.default_rng([seed, 11])
        video += rng.standard_normal(video.shape, dtype=np.float32) * np.float32(255 * config.noise)
    corrupted = np.clip(video + 0.5, 0, 255).astype(np.uint8)
    if config.compress:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video.mp4"
            write_video(path, corrupted, fps=12, quality="small")
            corrupted = read_video(path).frames
    return corrupted


def shuffle_frames(frames: FrameArray, *, seed: int) -> FrameArray:
    """The same frames in a random order."""
    return frames[np.random.default_rng([seed, 12]).permutation(len(frames))]


def freeze_frames(frames: FrameArray) -> FrameArray:
    """The first frame, repeated to the same length."""
    return np.repeat(frames[:1], len(frames), axis=0)
