"""Coding large frames in overlapping tiles, so that memory doesn't grow with the frame.

Each tile is a film of its own, blended linearly into its neighbours where they overlap. A tile sees nothing
beyond its edge, and attention in the middle of the coder sees only the tile, so the result is near that of
the whole frame but not equal to it; the wider the overlap, the nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UserError
from kinema.models.vae.autoencoder import VaeCache, VideoVae
from kinema.shapes import LatentShape, VideoShape


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How to cut frames, in film pixels; both are multiples of the model's spatial stride."""

    tile: int = 512
    overlap: int = 128

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= self.tile // 2:
            raise UserError(
                f"tiles of {self.tile} pixels can't overlap by {self.overlap}; give 0 to {self.tile // 2}"
            )

    def to_latent_pixels(self, vae: VideoVae) -> tuple[int, int]:
        """Tile and overlap in latent pixels.

        Raises:
            UserError: they are no multiples of the spatial stride.
        """
        stride = vae.stride.spatial
        if self.tile % stride or self.overlap % stride or not self.tile:
            raise UserError(
                f"tiles of {self.tile} pixels with an overlap of {self.overlap} do not fit this model; "
                f"give multiples of {stride}"
            )
        return self.tile // stride, self.overlap // stride


@dataclass(frozen=True, kw_only=True, eq=False)
class TiledCache:
    """The past of every tile, row by row."""

    tile_caches: tuple[VaeCache, ...]


def decode_tiled(
    vae: VideoVae, latents: Float[Tensor, "b z f h w"], tiling: Tiling
) -> Float[Tensor, "b c f2 h2 w2"]:
    """`vae.decode` in tiles, one latent frame at a time.

    Raises:
        UserError: the tiling does not fit the model.
    """
    pieces: list[Tensor] = []
    cache: TiledCache | None = None
    for latent in latents.split(1, dim=2):
        frames, cache = decode_tiled_chunk(vae, latent, cache, tiling)
        pieces.append(frames)
    return torch.cat(pieces, dim=2)


def decode_tiled_chunk(
    vae: VideoVae, latents: Float[Tensor, "b z f h w"], cache: TiledCache | None, tiling: Tiling
) -> tuple[Float[Tensor, "b c f2 h2 w2"], TiledCache]:
    """`vae.decode_chunk` in tiles.

    Raises:
        UserError: the tiling does not fit the model.
    """
    tile, overlap = tiling.to_latent_pixels(vae)
    height, width = latents.shape[3:]
    return _run_tiled(
        vae.decode_chunk, latents, cache, _tile_ranges(height, tile, overlap), _tile_ranges(width, tile, overlap),
        up=vae.stride.spatial, down=1,
    )  # fmt: skip


def encode_tiled(
    vae: VideoVae, frames: Float[Tensor, "b c f h w"], tiling: Tiling
) -> Float[Tensor, "b z f2 h2 w2"]:
    """`vae.encode` in tiles, one latent frame at a time.

    Raises:
        UserError: the tiling does not fit the model, or the film does not divide evenly into latents.
    """
    tile, overlap = tiling.to_latent_pixels(vae)
    stride = vae.stride
    shape = VideoShape(frames=frames.shape[2], height=frames.shape[3], width=frames.shape[4])
    latent = LatentShape.of(shape, stride)
    rows = [(a * stride.spatial, b * stride.spatial) for a, b in _tile_ranges(latent.height, tile, overlap)]
    columns = [(a * stride.spatial, b * stride.spatial) for a, b in _tile_ranges(latent.width, tile, overlap)]
    pieces: list[Tensor] = []
    cache: TiledCache | None = None
    for piece in frames.split([1] + [stride.temporal] * (latent.frames - 1), dim=2):
        latents, cache = _run_tiled(vae.encode_chunk, piece, cache, rows, columns, up=1, down=stride.spatial)
        pieces.append(latents)
    return torch.cat(pieces, dim=2)


def _run_tiled(
    function: Callable[[Tensor, VaeCache | None], tuple[Tensor, VaeCache]],
    x: Tensor,
    cache: TiledCache | None,
    rows: list[tuple[int, int]],
    columns: list[tuple[int, int]],
    *,
    up: int,
    down: int,
) -> tuple[Tensor, TiledCache]:
    """Code every tile and blend: the sum of weight · tile over the sum of weights."""
    caches: list[VaeCache] = []
    total: Tensor | None = None
    height, width = (side * up // down for side in x.shape[3:])
    weights = x.new_zeros(height, width)
    for top, bottom in rows:
        for left, right in columns:
            past = None if cache is None else cache.tile_caches[len(caches)]
            y, after = function(x[..., top:bottom, left:right], past)
            caches.append(after)
            if total is None:
                total = y.new_zeros(*y.shape[:3], height, width)
            a, b, c, d = (edge * up // down for edge in (top, bottom, left, right))
            weight = _blend_weights(rows, top, up, down, x)[:, None] * _blend_weights(
                columns, left, up, down, x
            )
            total[..., a:b, c:d] += y * weight
            weights[a:b, c:d] += weight
    assert total is not None
    return total.div_(weights), TiledCache(tile_caches=tuple(caches))


def _tile_ranges(side: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Begin and end of each tile along one side; the last one ends with the side."""
    if side <= tile:
        return [(0, side)]
    starts = [*range(0, side - tile, tile - overlap), side - tile]
    return [(start, start + tile) for start in starts]


def _blend_weights(ranges: list[tuple[int, int]], start: int, up: int, down: int, like: Tensor) -> Tensor:
    """The weight of the tile that begins at `start`: 1, falling to 0 across what its neighbours cover too."""
    index = [cut[0] for cut in ranges].index(start)
    begin, end = (edge * up // down for edge in ranges[index])
    weight = like.new_ones(end - begin)
    if index > 0:
        shared = ranges[index - 1][1] * up // down - begin
        weight[:shared] *= (torch.arange(shared).to(like) + 0.5) / max(1, shared)
    if index + 1 < len(ranges):
        shared = end - ranges[index + 1][0] * up // down
        weight[end - begin - shared :] *= (shared - torch.arange(shared).to(like) - 0.5) / max(1, shared)
    return weight
