"""The straight path between data and noise, and what the network learns on it.

A film at noise level σ is x_σ = (1 − σ)·data + σ·noise, and the velocity is noise − data (rectified flow,
arXiv 2209.03003; flow matching, arXiv 2210.02747). σ = 1 is noise, σ = 0 is data.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def add_noise(
    clean: Float[Tensor, "b c f h w"],
    noise: Float[Tensor, "b c f h w"],
    sigma: float | Float[Tensor, " f"] | Float[Tensor, "b f"],
) -> Float[Tensor, "b c f h w"]:
    """(1 − level)·clean + level·noise, with one level, one per latent frame, or one per sample and frame."""
    if isinstance(sigma, Tensor):
        rows = sigma.to(clean).expand(clean.shape[0], clean.shape[2])[:, None, :, None, None]
        return torch.lerp(clean, noise, rows)
    return torch.lerp(clean, noise, sigma)


def velocity_target(
    clean: Float[Tensor, "b c f h w"], noise: Float[Tensor, "b c f h w"]
) -> Float[Tensor, "b c f h w"]:
    """The velocity of the path: what the network is asked for."""
    return noise - clean
