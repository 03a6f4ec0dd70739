"""Super-resolution of decoded videos: a convolutional network that makes frames 2 and 4 times as large.

The network reads a frame with its neighbours at the size of the video, and pixel shuffle enlarges the
features (ESPCN, arXiv 1609.05158). It predicts what bicubic interpolation lacks, in one step. All
convolutions but the last ones run at the size of the video (EDSR, arXiv 1707.02921).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

FACTORS = (2, 4)
NUM_NEIGHBOURS = 1
"""Frames before and after a frame that are read with it."""


@dataclass(frozen=True, kw_only=True)
class SuperResolutionConfig:
    """Size of the network.

    Attributes:
        channels: at the size of the video.
        blocks: residual blocks of two convolutions.
        channels_2x: at twice the size.
        channels_4x: at four times the size.
    """

    channels: int = 32
    blocks: int = 4
    channels_2x: int = 24
    channels_4x: int = 12


class SuperResolution(nn.Module):
    """Frames to the same frames in 2 and 4 times the size."""

    def __init__(self, config: SuperResolutionConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.first = _conv(3 * (2 * NUM_NEIGHBOURS + 1), width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(config.blocks))
        self.enlarge_2x = _conv(width, 4 * config.channels_2x)
        self.enlarge_4x = _conv(config.channels_2x, 4 * config.channels_4x)
        self.last_2x = _conv(config.channels_2x, 3)
        self.last_4x = _conv(config.channels_4x, 3)
        for last in (self.last_2x, self.last_4x):
            # Before training the result is bicubic interpolation.
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, frames: Float[Tensor, "b 9 h w"], *, factors: tuple[int, ...] = FACTORS
    ) -> dict[int, Float[Tensor, "b 3 _ _"]]:
        """The middle frames in larger sizes, by factor, in [-1, 1] but not clipped.

        Args:
            frames: three frames in [-1, 1] as channels, in order of time.
            factors: 2, 4 or both.
        """
        features = self.first(frames)
        for block in self.blocks:
            features = block(features)
        middle = frames[:, 3 * NUM_NEIGHBOURS : 3 * NUM_NEIGHBOURS + 3]
        features = functional.gelu(functional.pixel_shuffle(self.enlarge_2x(features), 2))
        results = {}
        if 2 in factors:
            results[2] = enlarge_bicubic(middle, 2) + self.last_2x(features)
        if 4 in factors:
            features = functional.gelu(functional.pixel_shuffle(self.enlarge_4x(features), 2))
            results[4] = enlarge_bicubic(middle, 4) + self.last_4x(features)
        return results

    @staticmethod
    def neighbours(video: Float[Tensor, "1 3 f h w"], frame: int) -> Float[Tensor, "1 9 h w"]:
        """A frame of a video with its neighbours, as `forward` reads them."""
        window = range(frame - NUM_NEIGHBOURS, frame + NUM_NEIGHBOURS + 1)
        last = video.shape[2] - 1
        return torch.cat([video[:, :, min(max(index, 0), last)] for index in window], dim=1)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.second(functional.gelu(self.first(x)))


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")


def flops_per_pixel(config: SuperResolutionConfig, *, factors: tuple[int, ...] = FACTORS) -> float:
    """Floating-point operations for each pixel of the small frame."""
    total = 3 * (2 * NUM_NEIGHBOURS + 1) * config.channels + 2 * config.blocks * config.channels**2
    total += 4 * config.channels * config.channels_2x
    if 2 in factors:
        total += 4 * config.channels_2x * 3
    if 4 in factors:
        total += 16 * config.channels_2x * config.channels_4x + 16 * config.channels_4x * 3
    return 2.0 * 9 * total


def enlarge_bicubic(frames: Float[Tensor, "b c h w"], factor: int) -> Float[Tensor, "b c h2 w2"]:
    """Frames or latents enlarged by bicubic interpolation."""
    return functional.interpolate(frames, scale_factor=factor, mode="bicubic", align_corners=False)
