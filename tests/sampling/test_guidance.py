"""Guidance and the interpolant, on networks whose answers are known."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.sampling import (
    CfgConfig,
    add_noise,
    apply_cfg,
)


def random_latents(seed: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


class Network:
    """Velocity 1·x with the prompt, −1·x without."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(
        self, latents: torch.Tensor, sigma: torch.Tensor, *, with_unconditional: bool
    ) -> torch.Tensor:
        out = torch.cat([latents, -latents]) if with_unconditional else latents
        self.rows.append(len(out))
        return out


def batch_sigma(sigma: float) -> torch.Tensor:
    return torch.full((2, 2), sigma, dtype=torch.float64)


@given(scale=st.floats(-3, 12), sigma=st.floats(0, 1))
def test_guidance_extrapolates(scale: float, sigma: float) -> None:
    network = Network()
    x = random_latents(0)
    out = apply_cfg(network, CfgConfig(scale=scale))(x, batch_sigma(sigma))
    if scale != 1:
        assert torch.allclose(out, (-1 + scale * 2) * x, atol=1e-4)
        assert network.rows == [4]
    else:
        assert torch.equal(out, x)
        assert network.rows == [2]


def test_scale_one_never_asks_for_the_unconditional() -> None:
    network = Network()
    apply_cfg(network, CfgConfig())(random_latents(0), batch_sigma(0.5))
    assert network.rows == [2]


def test_the_path_goes_from_data_to_noise() -> None:
    clean, noise = random_latents(1), random_latents(2)
    assert torch.allclose(add_noise(clean, noise, 0.3) + 0.7 * (noise - clean), noise, atol=1e-6)
    sigmas = torch.tensor([[0.0, 0.5], [1.0, 0.25]])
    mixed = add_noise(clean, noise, sigmas)
    for sample, frame in itertools.product(range(2), range(2)):
        sigma = sigmas[sample, frame]
        expected = (1 - sigma) * clean[sample, :, frame] + sigma * noise[sample, :, frame]
        assert torch.allclose(mixed[sample, :, frame], expected, atol=1e-6)
    assert torch.equal(add_noise(clean, noise, sigmas[0])[0], mixed[0])
