"""Latents to frames: the streaming decode of the autoencoder, a few latent frames at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.distributed.group import Group
from kinema.distributed.row_parallel import RowShards
from kinema.frames import require_finite, to_frames
from kinema.models.vae.autoencoder import VaeCache, VideoVae
from kinema.models.vae.tiling import TiledCache, Tiling, decode_tiled_chunk
from kinema.pipeline.progress import FrameChunk

CHUNK_PIXELS = 2**16
"""Video pixels decoded at a time: enough to be fast, and few beside the weights."""


class StreamingDecoder:
    """Decodes a video's latents in order; memory grows neither with the length nor, tiled, with the size.

    Args:
        vae: the autoencoder.
        total: frames of the whole video, for `FrameChunk.total`.
        tiled: decode frames with a side above 512 pixels in tiles.
        processes: those that decode the video together, each some rows of every frame; None: this one. Tiles
            are decoded by each process.
    """

    def __init__(
        self, vae: VideoVae, *, total: int, tiled: bool = True, processes: Group | None = None
    ) -> None:
        self._processes = processes
        self._vae, self._total, self._tiled = vae, total, tiled
        self._cache: VaeCache | None = None
        self._tile_caches: TiledCache | None = None
        self._done = 0

    def decode(self, latents: Float[Tensor, "1 c f h w"], *, last: bool = False) -> Iterator[FrameChunk]:
        """The frames of the next latents; `last`: no latents follow, so no cache is kept."""
        stride, (height, width) = self._vae.stride, latents.shape[3:]
        pixels = height * width * stride.spatial**2 * stride.temporal
        tiling = choose_tiling(stride.spatial, max(height, width) * stride.spatial) if self._tiled else None
        group = self._processes
        rows = None if group is None or tiling is not None else RowShards.divide(group, height)
        parts = latents.split(max(1, CHUNK_PIXELS // pixels), dim=2)
        for number, part in enumerate(parts, 1):
            with torch.no_grad():
                if tiling is None:
                    final = last and number == len(parts)
                    frames, self._cache = self._vae.decode_chunk(part, self._cache, last=final, rows=rows)
                else:
                    frames, self._tile_caches = decode_tiled_chunk(self._vae, part, self._tile_caches, tiling)
                require_finite(frames, "frames")
                images = to_frames(frames) if rows is None else _gather(to_frames(frames), rows, part.device)
            self._done += len(images)
            yield FrameChunk(frames=images, done=self._done, total=self._total)


def _gather(
    frames: UInt8[np.ndarray, "f h w c"], rows: RowShards, device: torch.device
) -> UInt8[np.ndarray, "f h2 w c"]:
    return rows.gather_frames(torch.from_numpy(frames).to(device)).cpu().numpy()


def choose_tiling(spatial_stride: int, side: int) -> Tiling | None:
    """Tiles for frames whose longer side is `side` pixels; None up to 512, where one pass fits in memory."""
    default = Tiling()
    if side <= default.tile:
        return None
    return Tiling(
        tile=default.tile // spatial_stride * spatial_stride,
        overlap=default.overlap // spatial_stride * spatial_stride,
    )
