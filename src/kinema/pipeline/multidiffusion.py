"""MultiDiffusion (arXiv 2302.08113): one velocity for a large video from overlapping tiles.

At every step the velocities of the tiles are blended where they overlap, so all tiles agree on one video
before the next step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinema import sampling
from kinema.shapes import LatentShape


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A box of latents."""

    frames: range
    rows: range
    columns: range

    def crop(self, latents: Float[Tensor, "b c f h w"]) -> Float[Tensor, "b c f2 h2 w2"]:
        """The tile's part of the latents, a view."""
        f, h, w = ((side.start, side.stop) for side in (self.frames, self.rows, self.columns))
        return latents[:, :, f[0] : f[1], h[0] : h[1], w[0] : w[1]]


def tile_grid(
    latent_shape: LatentShape, tile_shape: LatentShape, *, overlap: float, patch: int
) -> tuple[Tile, ...]:
    """Tiles that cover a video evenly, in the order of its frames; one tile if the video is not larger.

    Args:
        latent_shape: of the video.
        tile_shape: of each tile, or of the video where that is smaller.
        overlap: the least share of a side that neighbours have in common, 0 up to below 1.
        patch: tiles begin and end at multiples of this number of latent pixels.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"tiles can't overlap by {overlap} of a side")
    sides = (
        _tile_spans(latent_shape.frames, tile_shape.frames, overlap, 1),
        _tile_spans(latent_shape.height, tile_shape.height, overlap, patch),
        _tile_spans(latent_shape.width, tile_shape.width, overlap, patch),
    )
    return tuple(Tile(frames=f, rows=h, columns=w) for f, h, w in itertools.product(*sides))


def _tile_spans(side: int, tile_size: int, overlap: float, unit: int) -> list[range]:
    whole, part = side // unit, max(1, tile_size // unit)
    if whole <= part:
        return [range(side)]
    stride = max(1, math.floor(part * (1 - overlap)))
    count = math.ceil((whole - part) / stride) + 1
    starts = [round(index * (whole - part) / (count - 1)) for index in range(count)]
    return [range(start * unit, (start + part) * unit) for start in starts]


def multidiffusion(
    denoiser_for: Callable[[Tile], sampling.Denoiser], tiles: tuple[Tile, ...]
) -> sampling.Denoiser:
    """One denoiser from those of tiles: their weighted mean, with less weight towards a tile's inner edges.

    Args:
        denoiser_for: the denoiser of a tile; called at every step, tile by tile.
        tiles: together they cover the video.
    """
    if len(tiles) == 1:
        return denoiser_for(tiles[0])

    def velocity(latents: Tensor, sigma: Tensor) -> Tensor:
        total = torch.zeros_like(latents)
        weights = latents.new_zeros(latents.shape[2:])
        for tile in tiles:
            frames = slice(tile.frames.start, tile.frames.stop)
            prediction = denoiser_for(tile)(tile.crop(latents), sigma[:, frames])
            weight = _blend_weights(tile, latents.shape[2:]).to(latents)
            tile.crop(total).add_(prediction * weight)
            tile.crop(weights[None, None]).add_(weight)
        return total.div_(weights)

    return velocity


def _blend_weights(tile: Tile, latent_size: torch.Size) -> Float[Tensor, "f h w"]:
    """A pyramid: 1 in the middle, low at edges that are not the video's."""
    f, h, w = (
        _ramp(span, side)
        for span, side in zip((tile.frames, tile.rows, tile.columns), latent_size, strict=True)
    )
    return f[:, None, None] * h[:, None] * w


def _ramp(span: range, side: int) -> Float[Tensor, " n"]:
    position = torch.arange(len(span)) + 0.5
    left = torch.ones(len(span)) if span.start == 0 else position
    right = torch.ones(len(span)) if span.stop == side else len(span) - position
    if span.start == 0 and span.stop == side:
        return left
    if span.start == 0:
        return (right / (len(span) / 2)).clamp(max=1)
    if span.stop == side:
        return (left / (len(span) / 2)).clamp(max=1)
    return torch.minimum(left, right) / (len(span) / 2)
