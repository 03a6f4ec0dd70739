"""Finished latents to frames, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.generate.film import to_uint8
from kinema.generate.plan import CHUNK_PIXELS
from kinema.models.vae import VaeCache, VideoVae
from kinema.models.vae_tiling import TiledCache, Tiling, decode_tiled_chunk


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """The next frames of the film are finished.

    Attributes:
        images: the frames.
        done: how many there are with these.
        of: how many there will be.
    """

    images: UInt8[np.ndarray, "f h w 3"]
    done: int
    of: int


class Decoder:
    """Latents in, frames out, as a stream; memory grows neither with the length nor with the size."""

    def __init__(self, vae: VideoVae, *, of: int) -> None:
        self._vae, self._of = vae, of
        self._cache: VaeCache | None = None
        self._tiles: TiledCache | None = None
        self._done = 0

    def frames(self, latents: Float[Tensor, "1 c f h w"]) -> Iterator[Frames]:
        """The frames of the next latents."""
        stride, (height, width) = self._vae.stride, latents.shape[3:]
        pixels = height * width * stride.spatial**2 * stride.temporal
        tiling = tiling_of(stride.spatial, max(height, width) * stride.spatial)
        for part in latents.split(max(1, CHUNK_PIXELS // pixels), dim=2):
            with torch.no_grad():
                if tiling is None:
                    frames, self._cache = self._vae.decode_chunk(part, self._cache)
                else:
                    frames, self._tiles = decode_tiled_chunk(self._vae, part, self._tiles, tiling)
            images = to_uint8(frames)
            self._done += len(images)
            yield Frames(images=images, done=self._done, of=self._of)


def tiling_of(spatial: int, side: int) -> Tiling | None:
    """How frames with a longer side of `side` pixels are coded: whole up to 512, larger in such tiles."""
    default = Tiling()
    if side <= default.tile:
        return None
    return Tiling(tile=default.tile // spatial * spatial, overlap=default.overlap // spatial * spatial)
