"""Guidance, experts and the reuse of velocities, on networks whose answers are known."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.sampling import (
    CfgConfig,
    SolverName,
    StepCacheConfig,
    add_noise,
    apply_cfg,
    linear_schedule,
    sample,
    two_experts,
    velocity_target,
    wan_schedule,
)


def random_latents(seed: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


class Network:
    """Velocities that are told apart: 1·x with the prompt, −1·x without."""

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


@given(scale=st.floats(-3, 12), time=st.floats(0, 1))
def test_guidance_extrapolates_within_its_interval(scale: float, time: float) -> None:
    network = Network()
    x = random_latents(0)
    out = apply_cfg(network, CfgConfig(scale=scale, interval=(0.25, 0.75)))(x, batch_sigma(time))
    if scale != 1 and 0.25 <= time <= 0.75:
        assert torch.allclose(out, (-1 + scale * 2) * x, atol=1e-4)
        assert network.rows == [4]
    else:
        assert torch.equal(out, x)
        assert network.rows == [2]


def test_scale_one_never_asks_for_the_unconditional() -> None:
    network = Network()
    apply_cfg(network, CfgConfig())(random_latents(0), batch_sigma(0.5))
    assert network.rows == [2]


@given(rescale=st.floats(0, 1))
def test_rescale_draws_the_deviation_back(rescale: float) -> None:
    conditional, unconditional = random_latents(1), random_latents(2)
    plain = CfgConfig(scale=7.0).combine(conditional, unconditional)
    found = CfgConfig(scale=7.0, rescale=rescale).combine(conditional, unconditional)
    wanted = (1 - rescale) * plain.std((1, 2, 3, 4)) + rescale * conditional.std((1, 2, 3, 4))
    assert torch.allclose(found.std((1, 2, 3, 4)), wanted, rtol=1e-4)


def test_the_expert_changes_at_the_boundary_as_in_diffusers() -> None:
    """`t >= boundary * 1000` on whole thousandths."""
    spoken = []

    def expert(name: str):
        def velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            spoken.append(name)
            return latents

        return velocity

    schedule = wan_schedule(40, 12.0)
    for boundary in (0.875, 0.9):
        spoken.clear()
        for _ in sample(two_experts(expert("noisy"), expert("clean"), boundary), random_latents(0), schedule):
            pass
        expected = ["noisy" if round(t * 1000) >= boundary * 1000 else "clean" for t in schedule.model_sigmas]
        assert spoken == expected
        assert set(spoken) == {"noisy", "clean"}
    both = two_experts(expert("noisy"), expert("clean"), 0.9)
    spoken.clear()
    both(random_latents(0), batch_sigma(0.9))
    both(random_latents(0), torch.tensor([[0.0, 0.95]] * 2))
    assert spoken == ["noisy", "noisy"]


def test_the_path_goes_from_data_to_noise() -> None:
    clean, noise = random_latents(1), random_latents(2)
    assert torch.allclose(
        add_noise(clean, noise, 0.3) + 0.7 * velocity_target(clean, noise), noise, atol=1e-6
    )
    levels = torch.tensor([[0.0, 0.5], [1.0, 0.25]])
    mixed = add_noise(clean, noise, levels)
    for sample, frame in itertools.product(range(2), range(2)):
        level = levels[sample, frame]
        wanted = (1 - level) * clean[sample, :, frame] + level * noise[sample, :, frame]
        assert torch.allclose(mixed[sample, :, frame], wanted, atol=1e-6)
    assert torch.equal(add_noise(clean, noise, levels[0])[0], mixed[0])


def curved_velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The velocity of normally distributed data: smooth, as a trained network's is."""
    t = sigma.to(latents)[:, None, :, None, None]
    return -0.7 + (t - (1 - t) * 0.16) / ((1 - t) ** 2 * 0.16 + t**2) * (latents - (1 - t) * 0.7)


def test_step_cache_saves_evaluations_and_reports_expected_change() -> None:
    calls = []

    def velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return curved_velocity(latents, sigma)

    schedule = linear_schedule(40, 3.0)
    *_, exact = sample(curved_velocity, random_latents(0), schedule)
    errors, counts = [], []
    for threshold in (0.0, 0.02, 0.05):
        calls.clear()
        steps = list(
            sample(velocity, random_latents(0), schedule, step_cache=StepCacheConfig(threshold=threshold))
        )
        guessed = [step for step in steps if step.cached is not None]
        assert len(calls) + len(guessed) == 40
        assert all(step.cached.expected_change < threshold for step in guessed)
        assert not {0, 1, 2, 39} & {step.index for step in guessed}
        errors.append((steps[-1].latents - exact.latents).abs().mean().item())
        counts.append(len(calls))
    assert errors[0] == 0
    assert counts[0] == 40 > counts[1] > counts[2]
    assert errors[1] < errors[2] < 0.02


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_every_solver_supports_the_step_cache(solver: SolverName) -> None:
    steps = list(
        sample(
            curved_velocity,
            random_latents(0),
            linear_schedule(40),
            solver=solver,
            step_cache=StepCacheConfig(threshold=0.05),
        )
    )
    *_, exact = sample(curved_velocity, random_latents(0), linear_schedule(40), solver=solver)
    assert any(step.cached for step in steps)
    assert (steps[-1].latents - exact.latents).abs().mean() < 0.02


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="within 0 and 1"):
        CfgConfig(scale=3.0, interval=(0.8, 0.2))
    with pytest.raises(ValueError, match="within 0 and 1"):
        CfgConfig(rescale=2.0)
    with pytest.raises(ValueError, match="follow"):
        StepCacheConfig(warmup_steps=1)
