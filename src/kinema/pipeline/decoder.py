"""Finished latents to frames, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.models.vae.autoencoder import VaeCache, VideoVae
from kinema.models.vae.tiling import TiledCache, Tiling, decode_tiled_chunk
from kinema.pipeline.cost import CHUNK_PIXELS
from kinema.pipeline.video import to_frames


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameChunk:
    """The next frames of the film are finished.

    Attributes:
        frames: the frames.
        done: how many there are with these.
        total: how many there will be.
    """

    frames: UInt8[np.ndarray, "f h w 3"]
    done: int
    total: int


class StreamingDecoder:
    """Latents in, frames out, as a stream; memory grows neither with the length nor with the size."""

    def __init__(self, vae: VideoVae, *, total: int) -> None:
        self._vae, self._total = vae, total
        self._cache: VaeCache | None = None
        self._tiles: TiledCache | None = None
        self._done = 0

    def decode(self, latents: Float[Tensor, "1 c f h w"]) -> Iterator[FrameChunk]:
        """The frames of the next latents."""
        stride, (height, width) = self._vae.stride, latents.shape[3:]
        pixels = height * width * stride.spatial**2 * stride.temporal
        tiling = choose_tiling(stride.spatial, max(height, width) * stride.spatial)
        for part in latents.split(max(1, CHUNK_PIXELS // pixels), dim=2):
            with torch.no_grad():
                if tiling is None:
                    frames, self._cache = self._vae.decode_chunk(part, self._cache)
                else:
                    frames, self._tiles = decode_tiled_chunk(self._vae, part, self._tiles, tiling)
            images = to_frames(frames)
            self._done += len(images)
            yield FrameChunk(frames=images, done=self._done, total=self._total)


def choose_tiling(spatial_stride: int, side: int) -> Tiling | None:
    """How frames with a longer side of `side` pixels are coded: whole up to 512, larger in such tiles."""
    default = Tiling()
    if side <= default.tile:
        return None
    return Tiling(
        tile=default.tile // spatial_stride * spatial_stride,
        overlap=default.overlap // spatial_stride * spatial_stride,
    )
