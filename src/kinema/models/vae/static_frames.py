"""Encoding a video that ends in identical frames, such as an image-to-video condition padded with zeros.

A few frames after the input stops changing, the output of every causal layer stops changing too. Each layer
therefore computes only the frames up to that point, and the last one represents all later frames. The result
is exact.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.vae.layers import (
    CausalCache,
    Downsample,
    FrameAttention,
    ResidualBlock,
    to_channels_last,
)
from kinema.models.vae.wan import ResidualDownBlock, WanEncoder

# The output of a convolution with three taps is constant two frames after its input is.
_CONV_LAG = 2


def encode_static_tail(
    encoder: WanEncoder, frames: Float[Tensor, "b m h w c"], num_frames: int, chunk_frames: int
) -> Float[Tensor, "b f h2 w2 z2"]:
    """The encoder's output for `frames`, followed by copies of the last one up to `num_frames` frames.

    Args:
        encoder: an encoder of either Wan layout.
        frames: the patchified video up to its first constant frame.
        num_frames: frames of the video, one more than a multiple of the temporal stride.
        chunk_frames: approximate number of full-size frames to run at a time.
    """
    to_channels_last(encoder)
    x = _repeat_last_frame(frames, _CONV_LAG, num_frames)
    x = _run_chunked(lambda chunk, cache: encoder.conv_in.run(chunk, cache), x, chunk_frames)
    for stage in _split_stages(encoder):
        blocks = [m for m in _submodules(stage) if isinstance(m, ResidualBlock)]
        downs = [m for m in _submodules(stage) if isinstance(m, Downsample)]
        lag = 2 * _CONV_LAG * len(blocks)
        if downs and downs[-1].temporal:
            # Output j reads inputs 2j - 2 to 2j; it is constant once all three are, and the count is odd.
            lag += 2 + (x.shape[1] + lag + 1) % 2
        x = _repeat_last_frame(x, lag, num_frames)
        x = _run_chunked(lambda chunk, cache, stage=stage: _run_stage(stage, chunk, cache), x, chunk_frames)
        if downs and downs[-1].temporal:
            num_frames = (num_frames - 1) // 2 + 1
        if downs:
            chunk_frames *= 2
    x = _repeat_last_frame(x, 5 * _CONV_LAG, num_frames)
    cache = CausalCache(None, keep=False)
    x = encoder.conv_out.run(encoder.mid_block(x, cache), cache, encoder.norm_out)
    return _repeat_last_frame(x, num_frames, num_frames)


def _split_stages(encoder: WanEncoder) -> list[list[nn.Module]]:
    """The encoder's blocks, split after each change of size."""
    stages: list[list[nn.Module]] = [[]]
    for block in encoder.down_blocks:
        stages[-1].append(block)
        if isinstance(block, Downsample | ResidualDownBlock):
            stages.append([])
    return [stage for stage in stages if stage]


def _submodules(stage: list[nn.Module]) -> list[nn.Module]:
    return [module for block in stage for module in block.modules()]


def _run_stage(stage: list[nn.Module], x: Tensor, cache: CausalCache) -> Tensor:
    for block in stage:
        x = block(x) if isinstance(block, FrameAttention) else block(x, cache)
    return x


def _repeat_last_frame(
    x: Float[Tensor, "b f h w c"], count: int, num_frames: int
) -> Float[Tensor, "b f2 h w c"]:
    """x with `count` more copies of its last frame, at most `num_frames` frames in total."""
    count = min(count, num_frames - x.shape[1])
    return torch.cat([x, x[:, -1:].expand(-1, count, -1, -1, -1)], dim=1) if count > 0 else x


def _run_chunked(run: Callable[[Tensor, CausalCache], Tensor], x: Tensor, chunk_frames: int) -> Tensor:
    """Run layers on about `chunk_frames` frames at a time: an odd number first, then even numbers."""
    later_frames = max(2, chunk_frames // 2 * 2)
    past: tuple[Tensor, ...] | None = None
    outputs: list[Tensor] = []
    start = 0
    while start < x.shape[1]:
        stop = start + later_frames + (1 if start == 0 else 0)
        cache = CausalCache(past, keep=stop < x.shape[1])
        outputs.append(run(x[:, start:stop], cache))
        past, start = cache.updated(), stop
    return torch.cat(outputs, dim=1)
