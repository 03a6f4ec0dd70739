"""The interpolant between data and noise, and the velocity that the network learns.

A video at noise level σ is x_σ = (1 − σ)·data + σ·noise, and the velocity is noise − data (rectified flow,
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
    """(1 − sigma) * clean + sigma * noise; one sigma, one per latent frame, or one per sample and frame."""
    if isinstance(sigma, Tensor):
        rows = sigma.to(clean).expand(clean.shape[0], clean.shape[2])[:, None, :, None, None]
        return torch.lerp(clean, noise, rows)
    return torch.lerp(clean, noise, sigma)
