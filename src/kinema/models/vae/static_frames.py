"""Encoding a few given frames followed by frames of zeros, as image-to-video conditions are made.

Zeros say nothing new: some frames after the last given one, every causal layer repeats itself. So a film
is carried through the encoder as its frames up to that point, the last of them standing for all that
follow, and each layer computes only until it repeats. This is exact, not an approximation.
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

# A convolution of three taps repeats itself two frames after its input does.
_CONV_LAG = 2


def encode_static_tail(
    encoder: WanEncoder, frames: Float[Tensor, "b m h w c"], num_frames: int, chunk_frames: int
) -> Float[Tensor, "b f h2 w2 z2"]:
    """The encoder's output for a film of `num_frames` frames of which all after the last of `frames` equal it.

    Args:
        encoder: of either Wan layout.
        frames: the film until it repeats, pixels already folded.
        num_frames: one more than a multiple of the temporal stride.
        chunk_frames: about how many full-size frames to run at a time.
    """
    to_channels_last(encoder)
    x = _repeat_last_frame(frames, _CONV_LAG, num_frames)
    x = _run_chunked(lambda part, tape: encoder.conv_in.run(part, tape), x, chunk_frames)
    for stage in _split_stages(encoder):
        blocks = [m for m in _submodules(stage) if isinstance(m, ResidualBlock)]
        downs = [m for m in _submodules(stage) if isinstance(m, Downsample)]
        lag = 2 * _CONV_LAG * len(blocks)
        if downs and downs[-1].temporal:
            # Output j reads inputs 2j - 2 to 2j; it repeats once all three do, and the count is odd.
            lag += 2 + (x.shape[1] + lag + 1) % 2
        x = _repeat_last_frame(x, lag, num_frames)
        x = _run_chunked(lambda part, tape, stage=stage: _run_stage(stage, part, tape), x, chunk_frames)
        if downs and downs[-1].temporal:
            num_frames = (num_frames - 1) // 2 + 1
        if downs:
            chunk_frames *= 2
    x = _repeat_last_frame(x, 5 * _CONV_LAG, num_frames)
    tape = CausalCache(None, keep=False)
    x = encoder.conv_out.run(encoder.mid_block(x, tape), tape, encoder.norm_out)
    return _repeat_last_frame(x, num_frames, num_frames)


def _split_stages(encoder: WanEncoder) -> list[list[nn.Module]]:
    """The encoder's blocks, cut after each change of size."""
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
    """x with its last frame repeated `count` times more, up to `num_frames` frames."""
    count = min(count, num_frames - x.shape[1])
    return torch.cat([x, x[:, -1:].expand(-1, count, -1, -1, -1)], dim=1) if count > 0 else x


def _run_chunked(run: Callable[[Tensor, CausalCache], Tensor], x: Tensor, chunk_frames: int) -> Tensor:
    """Run a film through layers about `chunk_frames` frames at a time: an odd count first, then even ones."""
    later = max(2, chunk_frames // 2 * 2)
    tails: tuple[Tensor, ...] | None = None
    outputs: list[Tensor] = []
    start = 0
    while start < x.shape[1]:
        stop = start + later + (1 if start == 0 else 0)
        tape = CausalCache(tails, keep=stop < x.shape[1])
        outputs.append(run(x[:, start:stop], tape))
        tails, start = tape.updated(), stop
    return torch.cat(outputs, dim=1)
