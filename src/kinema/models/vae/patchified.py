"""The patchified autoencoder: the cheap layout of models trained from scratch.

Groups of four frames and squares of pixels become channels before the first convolution, so that all layers
run at the latent frame rate and at a fraction of the resolution. A block is one 3x3 convolution over a frame
and the previous frame, and one over the frame alone. Sizes change by pixel (un)shuffle with the averaging and
duplicating shortcuts of the deep compression autoencoder (arXiv 2410.10733).

Videos are `b f h w c` throughout. A `CausalCache` has the previous frame of each block.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.vae import convolution
from kinema.models.vae.layers import CausalCache
from kinema.models.vae.vae_config import VaeConfig


class ChannelRmsNorm(nn.Module):
    """Root-mean-square normalisation over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Float[Tensor, "b f h w c"]) -> Float[Tensor, "b f h w c"]:
        """Normalise; the epsilon keeps gradients bounded where a pixel's channels are all zero."""
        return F.rms_norm(x, self.gamma.shape, self.gamma.to(x.dtype), eps=1e-6)


class FrameConv2d(nn.Conv2d):
    """A 3x3 convolution of each frame."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, input: Float[Tensor, "b f h w c"]) -> Float[Tensor, "b f h w o"]:  # noqa: A002
        """Convolve."""
        assert self.bias is not None
        return convolution.frame_conv2d(input, self.weight, self.bias)


class PatchifiedBlock(nn.Module):
    """Two convolutions, over two frames and over one, each after norm and SiLU, with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = ChannelRmsNorm(channels)
        self.conv1 = FrameConv2d(2 * channels, channels)
        self.norm2 = ChannelRmsNorm(channels)
        self.conv2 = FrameConv2d(channels, channels)
        # Blocks start as the identity, so that deep networks train at high learning rates from the first
        # step.
        nn.init.zeros_(self.conv2.weight)
        assert self.conv2.bias is not None
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Float[Tensor, "b f h w c"], cache: CausalCache) -> Float[Tensor, "b f h w c"]:
        """Run one chunk of a video."""
        y = F.silu(self.norm1(x))
        past = cache.read()
        previous = torch.zeros_like(y[:, :1]) if past is None else past
        cache.write(y[:, -1:])
        y = torch.cat([y, torch.cat([previous, y[:, :-1]], dim=1)], dim=-1)
        y = cache.crop(self.conv1(cache.extend(y)))
        return x + cache.crop(self.conv2(cache.extend(F.silu(self.norm2(y)))))


class PixelUnshuffleDownsample(nn.Module):
    """Halve the sides: 2x2 pixels into channels, a linear layer, and an averaging shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(4 * inputs, outputs)

    def forward(self, x: Float[Tensor, "b f h w c"]) -> Float[Tensor, "b f h/2 w/2 o"]:
        """Halve."""
        b, f, h, w, c = x.shape
        cells = x.view(b, f, h // 2, 2, w // 2, 2, c).permute(0, 1, 2, 4, 6, 3, 5)
        unshuffled = cells.reshape(b, f, h // 2, w // 2, 4 * c)
        return self.proj(unshuffled) + unshuffled.unflatten(-1, (self.proj.out_features, -1)).mean(-1)


class PixelShuffleUpsample(nn.Module):
    """Double the sides: a linear layer, channels into 2x2 pixels, and a duplicating shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.repeats = 4 * outputs // inputs
        self.proj = nn.Linear(inputs, 4 * outputs)

    def forward(self, x: Float[Tensor, "b f h w c"]) -> Float[Tensor, "b f 2*h 2*w o"]:
        """Double."""
        b, f, h, w, _ = x.shape
        wide = self.proj(x) + x.repeat_interleave(self.repeats, dim=-1)
        cells = wide.view(b, f, h, w, -1, 2, 2).permute(0, 1, 2, 5, 3, 6, 4)
        return cells.reshape(b, f, 2 * h, 2 * w, -1)


class PatchifiedEncoder(nn.Module):
    """Patchified videos to the `2 z` channels of the posterior."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = [config.base_dim * m for m in config.dim_mult]
        self.conv_in = FrameConv2d(
            config.channels * config.patch_size**2 * config.temporal_patch_size, widths[0]
        )
        self.stages = nn.ModuleList(
            [
                nn.ModuleList([PatchifiedBlock(width) for _ in range(config.num_res_blocks)])
                for width in widths
            ]
        )
        self.downsamplers = nn.ModuleList([PixelUnshuffleDownsample(a, b) for a, b in pairwise(widths)])
        self.norm_out = ChannelRmsNorm(widths[-1])
        self.conv_out = nn.Linear(widths[-1], 2 * config.z_dim)
        # Start with little noise in the latents; the KL term of the loss raises it.
        with torch.no_grad():
            self.conv_out.weight[config.z_dim :].mul_(0.1)
            self.conv_out.bias[config.z_dim :].fill_(-3.0)

    def forward(self, x: Float[Tensor, "b f h w c"], cache: CausalCache) -> Float[Tensor, "b f h2 w2 z2"]:
        """Run one chunk of a video."""
        x = self.conv_in(x)
        for index, blocks in enumerate(self.stages):
            if index:
                x = self.downsamplers[index - 1](x)
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = block(x, cache)
        return self.conv_out(self.norm_out(x))


class PatchifiedDecoder(nn.Module):
    """Latents to patchified videos; each stage has one block more than the encoder's."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = [config.decoder_dim * m for m in reversed(config.dim_mult)]
        self.conv_in = nn.Linear(config.z_dim, widths[0])
        self.stages = nn.ModuleList(
            [
                nn.ModuleList([PatchifiedBlock(width) for _ in range(config.num_res_blocks + 1)])
                for width in widths
            ]
        )
        self.upsamplers = nn.ModuleList([PixelShuffleUpsample(a, b) for a, b in pairwise(widths)])
        self.norm_out = ChannelRmsNorm(widths[-1])
        self.conv_out = FrameConv2d(
            widths[-1], config.channels * config.patch_size**2 * config.temporal_patch_size
        )

    def forward(self, x: Float[Tensor, "b f h w z"], cache: CausalCache) -> Float[Tensor, "b f h2 w2 c"]:
        """Run one chunk of a video."""
        x = self.conv_in(x)
        for index, blocks in enumerate(self.stages):
            if index:
                x = self.upsamplers[index - 1](x)
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = block(x, cache)
        return cache.crop(self.conv_out(cache.extend(F.silu(self.norm_out(x)))))
