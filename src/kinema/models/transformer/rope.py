"""Rotary positions on three axes (RoFormer, arXiv 2104.09864)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex64, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RopeTable:
    """Rotations of each token's channel pairs: complex numbers of length 1, and their cosines and sines."""

    cis: Complex64[Tensor, "n pairs"]
    cos: Float[Tensor, "n pairs"]
    sin: Float[Tensor, "n pairs"]

    def last(self, tokens: int) -> RopeTable:
        """The rotations of the last `tokens` tokens."""
        return RopeTable(cis=self.cis[-tokens:], cos=self.cos[-tokens:], sin=self.sin[-tokens:])


def build_rope(
    frames: int,
    rows: int,
    columns: int,
    *,
    head_width: int,
    base: float = 1e4,
    grid: tuple[int, int] | None = None,
    device: torch.device | None = None,
) -> RopeTable:
    """Rotations of `frames` x `rows` x `columns` tokens, in that order.

    Rows and columns have 2·(head_width // 6) channels each and frames the rest. Angles are computed in
    float64: float32 angles would differ from the published models by 1e-4 at frame 1000.

    Args:
        frames: latent frames.
        rows: rows of tokens.
        columns: columns of tokens.
        head_width: channels of an attention head.
        base: base of the frequencies.
        grid: rows and columns of a reference size. Positions are interpolated to it, so that a position is a
            fraction of the frame. None: positions count tokens.
        device: where the tables are needed.
    """
    side = 2 * (head_width // 6)

    def angles(count: int, channels: int, over: int) -> Tensor:
        # The centres of `count` tokens, in units of tokens of a side with `over` tokens.
        position = (torch.arange(count, dtype=torch.float64) + 0.5) * (over / count) - 0.5
        frequencies = base ** -(torch.arange(0, channels, 2, dtype=torch.float64) / max(channels, 1))
        return torch.outer(position, frequencies)

    grid_rows, grid_columns = (rows, columns) if grid is None else grid
    shape = (frames, rows, columns, -1)
    angle = torch.cat(
        [
            angles(frames, head_width - 2 * side, frames)[:, None, None].expand(shape),
            angles(rows, side, grid_rows)[None, :, None].expand(shape),
            angles(columns, side, grid_columns)[None, None].expand(shape),
        ],
        dim=-1,
    ).reshape(frames * rows * columns, head_width // 2)
    cos, sin = angle.cos().float().to(device), angle.sin().float().to(device)
    return RopeTable(cis=torch.complex(cos, sin), cos=cos, sin=sin)


def apply_rope(x: Float[Tensor, "b n heads k"], rope: RopeTable) -> Float[Tensor, "b n heads k"]:
    """Rotate neighbouring channel pairs. Computed in float32, returned in the type of `x`."""
    if x.dtype is torch.float32 and not torch.compiler.is_compiling():
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * rope.cis[:, None]).flatten(-2)
    # torch.compile does not support complex numbers, and there are none in half precision.
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rope.cos[:, None], rope.sin[:, None]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)


def rms_norm_rope(
    x: Float[Tensor, "b n d"], weight: Float[Tensor, " d"], eps: float, heads: int, rope: RopeTable
) -> Float[Tensor, "b heads n k"]:
    """Root-mean-square norm over all d channels, split into heads, then rotary positions.

    In float32 the rotation is multiplied by the norm's factor of each token, which saves a pass over `x`.
    Without autograd the result is contiguous for each head, as the attention reads it.
    """
    if x.dtype is not torch.float32 or torch.compiler.is_compiling():
        normed = torch.nn.functional.rms_norm(x, (x.shape[-1],), weight.to(x.dtype), eps)
        return apply_rope(normed.unflatten(-1, (heads, -1)), rope).transpose(1, 2)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    factor = torch.rsqrt(length.square() / x.shape[-1] + eps)
    pairs = torch.view_as_complex((x * weight).unflatten(-1, (heads, -1, 2)))
    rotation = rope.cis[:, None] * factor[..., None]
    if torch.is_grad_enabled():
        return torch.view_as_real(pairs * rotation).flatten(-2).transpose(1, 2)
    batch, tokens, width = x.shape
    out = x.new_empty(batch, heads, tokens, width // heads // 2, 2)
    torch.mul(pairs, rotation, out=torch.view_as_complex(out).transpose(1, 2))
    return out.flatten(-2)
