"""Encoder and decoder of Wan 2.1 and Wan 2.2, in the parameter names of the diffusers folder layout.

Wan: Open and Advanced Large-Scale Video Generative Models, arXiv 2503.20314; the shortcuts
around each change of size in 2.2 are those of arXiv 2410.10733.
"""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.vae.layers import (
    CausalCache,
    CausalConv,
    Downsample,
    FrameAttention,
    MiddleBlock,
    ResidualBlock,
    RmsNorm,
    Upsample,
    add_duplicate_up,
    average_down,
    to_channels_last,
)
from kinema.models.vae.vae_config import VaeConfig


class ResidualDownBlock(nn.Module):
    """A stage of the 2.2 encoder: residual blocks and downsampling, with an averaging shortcut."""

    def __init__(
        self, inputs: int, outputs: int, *, config: VaeConfig, spatial: bool, temporal: bool
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.spatial = 2 if spatial else 1
        self.temporal = 2 if temporal else 1
        self.resnets = _resnets(inputs, outputs, config.num_res_blocks, config)
        self.downsampler = Downsample(outputs, temporal=temporal) if spatial else None

    def forward(self, x: Float[Tensor, "b f h w c"], cache: CausalCache) -> Float[Tensor, "b f2 h2 w2 o"]:
        """Run one chunk of a video."""
        y = x
        for block in self.resnets:
            y = block(y, cache)
        if self.downsampler is not None:
            y = self.downsampler(y, cache)
        return y + average_down(x, self.outputs, temporal=self.temporal, spatial=self.spatial)


class UpBlock(nn.Module):
    """A stage of the 2.1 decoder: residual blocks and, except in the last stage, upsampling."""

    def __init__(
        self, inputs: int, outputs: int, *, config: VaeConfig, spatial: bool, temporal: bool
    ) -> None:
        super().__init__()
        self.resnets = _resnets(inputs, outputs, config.num_res_blocks + 1, config)
        self.upsamplers = (
            nn.ModuleList([Upsample(outputs, outputs // 2, temporal=temporal)]) if spatial else None
        )

    def layers(self) -> list[nn.Module]:
        """The layers in the order in which they run."""
        return [*self.resnets, *(self.upsamplers or ())]


class ResidualUpBlock(nn.Module):
    """A stage of the 2.2 decoder: residual blocks and upsampling, with a duplicating shortcut."""

    def __init__(
        self, inputs: int, outputs: int, *, config: VaeConfig, spatial: bool, temporal: bool
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.temporal = 2 if temporal else 1
        self.resnets = _resnets(inputs, outputs, config.num_res_blocks + 1, config)
        self.upsampler = Upsample(outputs, outputs, temporal=temporal) if spatial else None

    def forward(self, x: Float[Tensor, "b f h w c"], cache: CausalCache) -> Float[Tensor, "b f2 h2 w2 o"]:
        """Run one chunk of a video."""
        y = x
        for block in self.resnets:
            y = block(y, cache)
        if self.upsampler is None:
            return y
        return add_duplicate_up(self.upsampler(y, cache), x, temporal=self.temporal, start=cache.is_start)


def _resnets(inputs: int, outputs: int, count: int, config: VaeConfig) -> nn.ModuleList:
    return nn.ModuleList(
        [ResidualBlock(inputs if i == 0 else outputs, outputs, dropout=config.dropout) for i in range(count)]
    )


class WanEncoder(nn.Module):
    """Patchified videos `b f h w c` to the `2 z` channels of the posterior."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = [config.base_dim * m for m in (1, *config.dim_mult)]
        last = len(config.dim_mult) - 1
        self.conv_in = CausalConv(config.channels * config.patch_size**2, widths[0])
        blocks: list[nn.Module] = []
        for stage, (inputs, outputs) in enumerate(pairwise(widths)):
            temporal = stage < last and config.temporal_downsample[stage]
            if config.residual:
                blocks.append(
                    ResidualDownBlock(inputs, outputs, config=config, spatial=stage < last, temporal=temporal)
                )
                continue
            for i in range(config.num_res_blocks):
                blocks.append(ResidualBlock(inputs if i == 0 else outputs, outputs, dropout=config.dropout))
                if 0.5**stage in config.attn_scales:
                    blocks.append(FrameAttention(outputs))
            if stage < last:
                blocks.append(Downsample(outputs, temporal=temporal))
        self.down_blocks = nn.ModuleList(blocks)
        self.mid_block = MiddleBlock(widths[-1], dropout=config.dropout)
        self.norm_out = RmsNorm(widths[-1])
        self.conv_out = CausalConv(widths[-1], 2 * config.z_dim)

    def forward(self, x: Float[Tensor, "b f h w c"], cache: CausalCache) -> Float[Tensor, "b f2 h2 w2 z2"]:
        """Run one chunk of a video: a multiple of the temporal stride, plus one frame at the start."""
        to_channels_last(self)
        x = self.conv_in.run(x, cache)
        for block in self.down_blocks:
            x = block(x) if isinstance(block, FrameAttention) else block(x, cache)
        return self.conv_out.run(self.mid_block(x, cache), cache, self.norm_out)


class WanDecoder(nn.Module):
    """Latents `b f h w z` to patchified videos `b f h w c`."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        multipliers = config.dim_mult[::-1]
        widths = [config.decoder_dim * m for m in (multipliers[0], *multipliers)]
        upsample = config.temporal_downsample[::-1]
        last = len(multipliers) - 1
        self.conv_in = CausalConv(config.z_dim, widths[0])
        self.mid_block = MiddleBlock(widths[0], dropout=config.dropout)
        blocks: list[nn.Module] = []
        for stage, (inputs, outputs) in enumerate(pairwise(widths)):
            spatial = stage < last
            temporal = spatial and upsample[stage]
            if config.residual:
                blocks.append(
                    ResidualUpBlock(inputs, outputs, config=config, spatial=spatial, temporal=temporal)
                )
            else:
                # The upsampling at the end of the previous stage halved the channels.
                halved = inputs if stage == 0 else inputs // 2
                blocks.append(UpBlock(halved, outputs, config=config, spatial=spatial, temporal=temporal))
        self.up_blocks = nn.ModuleList(blocks)
        self.norm_out = RmsNorm(widths[-1])
        self.conv_out = CausalConv(widths[-1], config.channels * config.patch_size**2)

    def forward(self, x: Float[Tensor, "b f h w z"], cache: CausalCache) -> Float[Tensor, "b f2 h2 w2 c"]:
        """Run one chunk of a video: one latent frame or more."""
        to_channels_last(self)
        x = self.mid_block(self.conv_in.run(x, cache), cache)
        # Layer by layer: calling a whole stage would keep its input alive until the stage ends, which is a
        # fifth of all memory at full size.
        for block in self.up_blocks:
            for layer in block.layers() if isinstance(block, UpBlock) else (block,):
                x = layer(x, cache)
        return self.conv_out.run(x, cache, self.norm_out)
