"""Floating-point operations of transformer and autoencoder, computed from their configs."""

from __future__ import annotations

import functools

import torch

from kinema.models.module_init import skip_init
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.shapes import LatentShape

_PROBE_SIDE = 4
"""Latent height and width of the small video on which the autoencoder's operations are counted."""


def dit_step_flops(config: DitConfig, shape: LatentShape, num_context_tokens: float) -> tuple[float, float]:
    """Operations of one denoising step of one sample, without those of the text's keys and values.

    Args:
        config: the config of the transformer.
        shape: the shape of the latents.
        num_context_tokens: text and image tokens that the video attends to.

    Returns:
        Operations of the linear layers of all blocks, and of their attention.
    """
    tokens = shape.tokens(config.patch_size)
    linear = 2.0 * tokens * config.width * _linear_width(config)
    attention = 4.0 * config.width * tokens * (tokens + num_context_tokens)
    control = len(config.control_layers)
    # A control block has a projection out of the branch, and the first one has another into it.
    projections = 2.0 * tokens * config.width**2 * (control + 1 if control else 0)
    blocks = config.layers + control
    return blocks * linear + projections, blocks * attention


def dit_forward_flops(config: DitConfig, shape: LatentShape, num_text_tokens: float) -> float:
    """Operations of a forward pass of one sample with its text; a backward pass needs twice as many.

    Args:
        config: the config of the transformer.
        shape: the shape of the latents.
        num_text_tokens: tokens of the prompt.
    """
    tokens = shape.tokens(config.patch_size)
    linear, attention = dit_step_flops(config, shape, num_text_tokens)
    patch_channels = config.in_channels + config.out_channels
    if config.control_layers:
        patch_channels += config.control_channels
    if config.text_conditioning == "joint":
        linear += config.layers * 2.0 * num_text_tokens * config.width * _linear_width(config)
        attention += config.layers * 4.0 * config.width * num_text_tokens**2
    patch_layers = 2.0 * tokens * config.width * patch_channels
    return linear + attention + patch_layers * config.patch_size**2


def _linear_width(config: DitConfig) -> int:
    """Output channels of all linear layers of a block, in units of the width of their input."""
    projections = 6 if config.text_conditioning == "cross" else 4
    return projections * config.width + 2 * config.mlp_width


def vae_flops(config: VaeConfig, shape: LatentShape, *, encoder: bool, all_frames: bool) -> float:
    """Operations of a pass of the encoder or decoder.

    Args:
        config: the config of the autoencoder.
        shape: the shape of the latents.
        encoder: count the encoder; otherwise the decoder.
        all_frames: count all latent frames; otherwise the first one.
    """
    first, later = vae_flops_per_pixel(config, encoder=encoder)
    return shape.height * shape.width * (first + (shape.frames - 1) * (later if all_frames else 0))


@functools.lru_cache(maxsize=256)
def vae_flops_per_pixel(config: VaeConfig, *, encoder: bool) -> tuple[float, float]:
    """Operations for one latent pixel of the first latent frame, and of every later one.

    They are proportional to the number of pixels, so they are counted on a small video. The first call
    imports torch._dynamo, which takes seconds.

    Args:
        config: the config of the autoencoder.
        encoder: count the encoder; otherwise the decoder.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with skip_init():
        vae = VideoVae(config)
    side, stride = _PROBE_SIDE, config.stride
    counts = []
    for frames in (1, 2):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            if encoder:
                pixels = (1 + (frames - 1) * stride.temporal, side * stride.spatial, side * stride.spatial)
                vae.encode_posterior(torch.empty(1, config.channels, *pixels, device="meta"))
            else:
                vae.decode_raw(torch.empty(1, config.z_dim, frames, side, side, device="meta"))
        counts.append(counter.get_total_flops() / side**2)
    return counts[0], counts[1] - counts[0]
