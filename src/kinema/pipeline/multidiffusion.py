"""Velocities of films larger than a network was trained for, from overlapping windows.

At every step each window gives its velocity and neighbours are blended where they overlap (MultiDiffusion,
arXiv 2302.08113), so the windows agree on one film before the next step; nothing is sewn together afterwards.
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
        """The window's part, not copied."""
        f, h, w = ((side.start, side.stop) for side in (self.frames, self.rows, self.columns))
        return latents[:, :, f[0] : f[1], h[0] : h[1], w[0] : w[1]]


def tile_grid(
    latent_shape: LatentShape, tile_shape: LatentShape, *, overlap: float, patch: int
) -> tuple[Tile, ...]:
    """Windows that cover a film evenly, in the order of its frames; one where the film is no larger.

    Args:
        latent_shape: the film's latents.
        tile_shape: of each window, or of the film where that is smaller.
        overlap: the least share of a side that neighbours have in common, 0 up to below 1.
        patch: windows begin and end with a patch of so many latent pixels.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"windows can't overlap by {overlap} of a side")
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
    """One velocity from those of windows: the mean, weighted less towards a window's inner edges.

    Args:
        denoiser_for: the velocity of a window; asked at every step, window by window.
        tiles: the windows; together they cover the film.
    """
    if len(tiles) == 1:
        return denoiser_for(tiles[0])

    def velocity(latents: Tensor, sigma: Tensor) -> Tensor:
        total = torch.zeros_like(latents)
        weights = latents.new_zeros(latents.shape[2:])
        for cut in tiles:
            found = denoiser_for(cut)(cut.crop(latents), sigma[:, cut.frames.start : cut.frames.stop])
            weight = _blend_weights(cut, latents.shape[2:]).to(latents)
            cut.crop(total).add_(found * weight)
            cut.crop(weights[None, None]).add_(weight)
        return total.div_(weights)

    return velocity


def _blend_weights(tile: Tile, latent_size: torch.Size) -> Float[Tensor, "f h w"]:
    """A pyramid: 1 in the middle and low at edges that are not the film's."""
    f, h, w = (
        _ramp(span, side)
        for span, side in zip((tile.frames, tile.rows, tile.columns), latent_size, strict=True)
    )
    return f[:, None, None] * h[:, None] * w


def _ramp(span: range, side: int) -> Float[Tensor, " n"]:
    place = torch.arange(len(span)) + 0.5
    left = torch.ones(len(span)) if span.start == 0 else place
    right = torch.ones(len(span)) if span.stop == side else len(span) - place
    if span.start == 0 and span.stop == side:
        return left
    if span.start == 0:
        return (right / (len(span) / 2)).clamp(max=1)
    if span.stop == side:
        return (left / (len(span) / 2)).clamp(max=1)
    return torch.minimum(left, right) / (len(span) / 2)
