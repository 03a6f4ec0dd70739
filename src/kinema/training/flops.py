"""How many floating-point operations a training step takes, counted from shapes."""

from __future__ import annotations

import functools

from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.vae_config import VaeConfig
from kinema.pipeline.cost import vae_flops
from kinema.shapes import LatentShape


def dit_forward_flops(config: DitConfig, shape: LatentShape, num_text_tokens: float) -> float:
    """Of one sample going forward: products and attention of every block, over film and joined text.

    A backward pass takes twice as many.

    Args:
        config: of the transformer.
        shape: of the latents.
        num_text_tokens: tokens of the prompt.
    """
    tokens = shape.tokens(config.patch_size)
    joined = tokens + (num_text_tokens if config.text_conditioning == "joint" else 0)
    cross = num_text_tokens if config.text_conditioning == "cross" else 0
    maps = (4 + (2 if config.text_conditioning == "cross" else 0)) * config.width + 2 * config.mlp_width
    attention = 4.0 * config.width * (tokens * (joined + cross) + (joined - tokens) * num_text_tokens)
    ends = 2.0 * tokens * config.width * (config.in_channels + config.out_channels) * config.patch_size**2
    return config.layers * (2.0 * joined * config.width * maps + attention) + ends


@functools.lru_cache(maxsize=64)
def vae_forward_flops(config: VaeConfig, shape: LatentShape) -> float:
    """Of one film going through encoder and decoder; a backward pass takes twice as many."""
    return sum(vae_flops(config, shape, encoder=way, all_frames=True) for way in (True, False))
