"""What the transformer is conditioned on, embedded at its width: sigma, text and image states."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinema.models.transformer.dit_block import FeedForward
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.transformer.ops import layer_norm, linear


class EmbeddingMlp(nn.Module):
    """The two linear layers of an MLP, with diffusers' parameter names."""

    def __init__(self, in_features: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_features, width)
        self.linear_2 = nn.Linear(width, width)


class ImageEmbedder(nn.Module):
    """Hidden states of the image encoder to tokens for the cross-attention."""

    def __init__(self, inputs: int, width: int, positions: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(inputs)
        self.ff = FeedForward(inputs, inputs, width, "gelu_erf")
        self.norm2 = nn.LayerNorm(width)
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, inputs)) if positions else None

    def forward(self, hidden_states: Float[Tensor, "b n c"]) -> Float[Tensor, "b n d"]:
        """The tokens; two images are concatenated along `n`."""
        if self.pos_embed is not None:
            hidden_states = hidden_states + self.pos_embed
        normed = layer_norm(hidden_states, self.norm1.weight, self.norm1.bias, self.norm1.eps)
        return layer_norm(self.ff(normed), self.norm2.weight, self.norm2.bias, self.norm2.eps)


class ConditionEmbedder(nn.Module):
    """Embeds sigma, text and image states at the transformer's width."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.width
        self.time_channels = config.time_channels
        self.time_embedder = EmbeddingMlp(config.time_channels, width)
        self.time_proj = nn.Linear(width, 6 * width)
        self.text_embedder = EmbeddingMlp(config.text_width, width)
        self.image_embedder = (
            ImageEmbedder(config.image_width, width, config.image_positions) if config.image_width else None
        )
        if config.text_conditioning == "joint":
            # What text tokens have in place of a sigma embedding, and the statistics of text states.
            self.text_time = nn.Parameter(torch.zeros(width))
            self.register_buffer("text_mean", torch.zeros(config.text_width))
            self.register_buffer("text_std", torch.ones(config.text_width))
        self.pooled_embedder = nn.Linear(config.text_width, width) if config.pooled_text else None

    def embed_sigma(self, sigma: Float[Tensor, "b f"]) -> Float[Tensor, "b f d"]:
        """The float32 embedding of sigma in [0, 1]."""
        half = self.time_channels // 2
        device = self.time_embedder.linear_1.weight.device
        timestep = (sigma.double() * 1000).float().to(device)
        index = torch.arange(half, dtype=torch.float32, device=device)
        frequencies = torch.exp(-math.log(10000) * index / half)
        angles = timestep[..., None] * frequencies
        encoding = torch.cat([angles.cos(), angles.sin()], dim=-1)
        with torch.autocast(device.type, enabled=False):
            layers = self.time_embedder
            return linear(
                functional.silu(linear(encoding.to(layers.linear_1.weight.dtype), layers.linear_1)),
                layers.linear_2,
            )

    def modulation(self, embedding: Float[Tensor, "b f d"]) -> Float[Tensor, "b f 6 d"]:
        """Shifts, scales and gates of an embedding, shared by all blocks."""
        return linear(functional.silu(embedding), self.time_proj).unflatten(-1, (6, -1))

    def embed_text(self, hidden_states: Float[Tensor, "b n c"]) -> Float[Tensor, "b n d"]:
        """Text states projected to the transformer's width."""
        return linear(
            linear(hidden_states, self.text_embedder.linear_1, gelu=True), self.text_embedder.linear_2
        )
