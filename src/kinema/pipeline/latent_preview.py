"""Images of the video that a run is heading for: decoded where that is quick, else by a linear map."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.frames import to_frames
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.tiny_decoder import TinyDecoder
from kinema.pipeline.lazy_module import LazyModule

MAX_DECODED_PIXELS = 2**20
"""Pixels of all frames up to which the autoencoder decodes a preview: 64 frames of 128 x 128."""
_SIDE, _PROBES = 8, 4


class LatentPreviewer:
    """Renders previews: small videos by the autoencoder, others by a linear map.

    The map leads from a latent pixel to its mean colour and is fitted to the autoencoder when first asked.
    The fit decodes a few small random latents and solves a least-squares problem; no published table of
    colours is needed, so it works for any autoencoder.

    Args:
        vae: the autoencoder.
        tiny_decoder: decodes all previews, if there is one.
    """

    def __init__(
        self, vae: LazyModule[VideoVae], tiny_decoder: LazyModule[TinyDecoder] | None = None
    ) -> None:
        self._vae, self._tiny_decoder = vae, tiny_decoder
        self._colours: Float[Tensor, "c1 3"] | None = None

    def render(self, latents: Float[Tensor, "1 c f h w"]) -> UInt8[np.ndarray, "f2 h2 w2 3"]:
        """The frames, if the autoencoder is in memory and they have up to `MAX_DECODED_PIXELS` pixels.

        Otherwise one frame for each latent frame, with one pixel for each latent pixel.
        """
        if self._tiny_decoder is not None:
            return to_frames(self._tiny_decoder.get().decode(latents[:1]))
        if self._vae.is_loaded:
            with self._vae.use() as vae, torch.no_grad():
                frames = vae.stride.frames(latents.shape[2] - 1)
                pixels = frames * latents.shape[3] * latents.shape[4] * vae.stride.spatial**2
                if pixels <= MAX_DECODED_PIXELS:
                    return to_frames(vae.decode(latents[:1].to(vae.latents_mean.device)))
        return self._render_linear(latents)

    def _render_linear(self, latents: Float[Tensor, "1 c f h w"]) -> UInt8[np.ndarray, "f h w 3"]:
        if self._colours is None:
            self._colours = self._fit()
        cells = latents[0].permute(1, 2, 3, 0).float().cpu()
        colours = cells @ self._colours[:-1] + self._colours[-1]
        return colours.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).numpy()

    def _fit(self) -> Float[Tensor, "c1 3"]:
        with self._vae.use() as vae, torch.no_grad():
            channels, side = vae.config.z_dim, vae.stride.spatial
            generator = torch.Generator().manual_seed(0)
            latents = torch.randn(_PROBES, channels, 1, _SIDE, _SIDE, generator=generator)
            images = vae.decode(latents.to(vae.latents_mean.device))[:, :, 0].float().cpu()
        means = torch.nn.functional.avg_pool2d(images, side).permute(0, 2, 3, 1).reshape(-1, 3)
        cells = latents[:, :, 0].permute(0, 2, 3, 1).reshape(-1, channels)
        design = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
        # A little ridge keeps channels that hardly show from colouring the whole.
        square = design.T @ design + 0.1 * torch.eye(channels + 1)
        return torch.linalg.solve(square, design.T @ means)
