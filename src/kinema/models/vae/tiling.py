"""Encoding and decoding large frames in overlapping tiles, so that memory does not grow with the frame size.

Each tile is processed as a video of its own, and overlaps are blended linearly. Layers do not see beyond the
edge of a tile, so the result is close to that without tiles but not equal; a wider overlap is closer.
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
    """Tile size and overlap in video pixels; both are multiples of the model's spatial stride."""

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
            UserError: they are not multiples of the spatial stride.
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
    """The cache of every tile, row by row."""

    tile_caches: tuple[VaeCache, ...]


def decode_tiled_chunk(
    vae: VideoVae, latents: Float[Tensor, "b z f h w"], cache: TiledCache | None, tiling: Tiling
) -> tuple[Float[Tensor, "b c f2 h2 w2"], TiledCache]:
    """`vae.decode_chunk` in tiles.

    Raises:
        UserError: the tiling does not fit the model.
    """
    tile, overlap = tiling.to_latent_pixels(vae)
    height, width = latents.shape[3:]
    rows, columns = _tile_ranges(height, tile, overlap), _tile_ranges(width, tile, overlap)
    return _run_tiled(vae.decode_chunk, latents, cache, rows, columns, up=vae.stride.spatial, down=1)


def encode_tiled(
    vae: VideoVae, frames: Float[Tensor, "b c f h w"], tiling: Tiling
) -> Float[Tensor, "b z f2 h2 w2"]:
    """`vae.encode` in tiles, one latent frame at a time.

    Raises:
        UserError: the tiling or the shape of the video does not fit the model.
    """
    tile, overlap = tiling.to_latent_pixels(vae)
    stride = vae.stride
    shape = VideoShape(frames=frames.shape[2], height=frames.shape[3], width=frames.shape[4])
    latent = LatentShape.of(shape, stride)
    rows = [(a * stride.spatial, b * stride.spatial) for a, b in _tile_ranges(latent.height, tile, overlap)]
    columns = [(a * stride.spatial, b * stride.spatial) for a, b in _tile_ranges(latent.width, tile, overlap)]
    chunks: list[Tensor] = []
    cache: TiledCache | None = None
    for chunk in frames.split([1] + [stride.temporal] * (latent.frames - 1), dim=2):
        latents, cache = _run_tiled(vae.encode_chunk, chunk, cache, rows, columns, up=1, down=stride.spatial)
        chunks.append(latents)
    return torch.cat(chunks, dim=2)


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
    """Run `function` on every tile and blend: the sum of weight · tile over the sum of weights.

    Args:
        function: encodes or decodes one tile with its cache.
        x: the input video or latents.
        cache: the caches of all tiles; None at the start.
        rows: first and last row of each tile in the input.
        columns: first and last column of each tile in the input.
        up: output pixels per input pixel, times `down`.
        down: input pixels per output pixel, times `up`.
    """
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
    """Start and end of each tile along one side; the last tile ends with the side."""
    if side <= tile:
        return [(0, side)]
    starts = [*range(0, side - tile, tile - overlap), side - tile]
    return [(start, start + tile) for start in starts]


def _blend_weights(ranges: list[tuple[int, int]], start: int, up: int, down: int, like: Tensor) -> Tensor:
    """Weights of the tile that starts at `start`: 1, falling linearly to 0 in the overlaps."""
    index = [first for first, _ in ranges].index(start)
    begin, end = (edge * up // down for edge in ranges[index])
    weight = like.new_ones(end - begin)
    if index > 0:
        overlap = ranges[index - 1][1] * up // down - begin
        weight[:overlap] *= (torch.arange(overlap).to(like) + 0.5) / max(1, overlap)
    if index + 1 < len(ranges):
        overlap = end - ranges[index + 1][0] * up // down
        weight[end - begin - overlap :] *= (overlap - torch.arange(overlap).to(like) - 0.5) / max(1, overlap)
    return weight
