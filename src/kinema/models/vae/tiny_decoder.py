"""A tiny decoder for previews, in the layout of TAEHV's files (taew2_1, taew2_2, and LightX2V's copies).

It reads normalised latents and gives frames that look about right, with a few small convolutions. Every
block sees the latent frame before its own and nothing else of the past. Only the decoder half of a file
is read.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinema.errors import UserError

_STAGES = 3
_BLOCKS = 3
"""Blocks of each stage; a stage ends with upsampling, a 1x1 convolution that adds frames, and a 3x3 one."""


class _Block(nn.Module):
    """Three convolutions of a frame and the one before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.ModuleDict(
            {
                "0": nn.Conv2d(2 * width, width, 3, padding=1),
                "2": nn.Conv2d(width, width, 3, padding=1),
                "4": nn.Conv2d(width, width, 3, padding=1),
            }
        )

    def forward(self, x: Float[Tensor, "f c h w"]) -> Float[Tensor, "f c h w"]:
        past = functional.pad(x, (0, 0, 0, 0, 0, 0, 1, 0))[:-1]
        hidden = functional.relu(self.conv["0"](torch.cat([x, past], dim=1)))
        hidden = functional.relu(self.conv["2"](hidden))
        return functional.relu(self.conv["4"](hidden) + x)


class _FrameGrowth(nn.Module):
    """Each frame becomes `factor` frames."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(width, factor * width, 1, bias=False)

    def forward(self, x: Float[Tensor, "f c h w"]) -> Float[Tensor, "f2 c h w"]:
        return self.conv(x).view(-1, *x.shape[1:])


class TinyDecoder(nn.Module):
    """Normalised latents to frames.

    Args:
        latent_channels: channels of the latents.
        widths: channels of the three stages and of the output layer's input.
        time_factors: frames that each stage makes of one.
        patch_size: side of the squares of pixels that the output layer has as channels.
    """

    def __init__(
        self, latent_channels: int, widths: tuple[int, ...], time_factors: tuple[int, ...], patch_size: int
    ) -> None:
        super().__init__()
        self.patch_size, self.latent_channels = patch_size, latent_channels
        self.temporal_stride = math.prod(time_factors)
        layers: dict[str, nn.Module] = {"1": nn.Conv2d(latent_channels, widths[0], 3, padding=1)}
        for stage, (width, following) in enumerate(itertools.pairwise(widths)):
            start = 3 + stage * (_BLOCKS + 3)
            layers |= {str(start + block): _Block(width) for block in range(_BLOCKS)}
            layers[str(start + _BLOCKS + 1)] = _FrameGrowth(width, time_factors[stage])
            layers[str(start + _BLOCKS + 2)] = nn.Conv2d(width, following, 3, padding=1, bias=False)
        layers["22"] = nn.Conv2d(widths[-1], 3 * patch_size**2, 3, padding=1)
        self.decoder = nn.ModuleDict(layers)

    @classmethod
    def for_shapes(cls, shapes: Mapping[str, tuple[int, ...]], *, source: str) -> TinyDecoder:
        """The decoder with tensors of these shapes.

        Raises:
            UserError: they are of another layout.
        """
        try:
            first, last = shapes["decoder.1.weight"], shapes["decoder.22.weight"]
            convolutions = [shapes[f"decoder.{8 + 6 * stage}.weight"] for stage in range(_STAGES)]
            growths = [shapes[f"decoder.{7 + 6 * stage}.conv.weight"] for stage in range(_STAGES)]
        except KeyError as error:
            raise UserError(
                f"{source} is not a tiny decoder (no tensor {error}); give a file in the layout of TAEHV, "
                "for example taew2_1.safetensors"
            ) from None
        patch = math.isqrt(last[0] // 3)
        if last[0] != 3 * patch**2 or not 1 <= patch <= 4:
            raise UserError(f"{source} has {last[0]} output channels, which are no squares of pixels")
        return cls(
            latent_channels=first[1],
            widths=(*(shape[1] for shape in convolutions), convolutions[-1][0]),
            time_factors=tuple(max(1, shape[0] // shape[1]) for shape in growths),
            patch_size=patch,
        )

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "1 c f h w"]) -> Float[Tensor, "1 3 f2 h2 w2"]:
        """Frames in [-1, 1]; the first latent frame is one frame, as in the autoencoder."""
        weight = cast("nn.Conv2d", self.decoder["1"]).weight
        x = latents[0].transpose(0, 1).to(device=weight.device, dtype=weight.dtype)
        x = functional.relu(self.decoder["1"](torch.tanh(x / 3) * 3))
        for stage in range(_STAGES):
            start = 3 + stage * (_BLOCKS + 3)
            for block in range(_BLOCKS):
                x = self.decoder[str(start + block)](x)
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = self.decoder[str(start + _BLOCKS + 1)](x)
            x = self.decoder[str(start + _BLOCKS + 2)](x)
        x = functional.pixel_shuffle(cast("Tensor", self.decoder["22"](functional.relu(x))), self.patch_size)
        frames = x[self.temporal_stride - 1 :].clamp(0, 1)
        return frames.transpose(0, 1)[None].float() * 2 - 1
