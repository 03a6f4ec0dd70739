"""Solvers against flows whose answer is known, and against diffusers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from diffusers import UniPCMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st
from torchdiffeq import odeint

from kinema.sampling import (
    AncestralNoise,
    FrameClamp,
    InpaintMask,
    Schedule,
    SolverName,
    add_noise,
    linear_schedule,
    sample,
    wan_schedule,
)

MEAN, DEVIATION = 0.7, 0.4


def gaussian_velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The exact velocity where the data is normally distributed."""
    t = sigma.to(latents)[:, None, :, None, None]
    variance = (1 - t) ** 2 * DEVIATION**2 + t**2
    slope = (t - (1 - t) * DEVIATION**2) / variance
    return -MEAN + slope * (latents - (1 - t) * MEAN)


def exact_solution(latents: torch.Tensor, end_sigma: float) -> torch.Tensor:
    """Where the exact flow carries noise at sigma 1 to sigma `end_sigma`."""
    return (1 - end_sigma) * MEAN + math.sqrt((1 - end_sigma) ** 2 * DEVIATION**2 + end_sigma**2) * latents


def random_noise(frames: int = 2) -> torch.Tensor:
    return torch.randn(1, 2, frames, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def even_schedule(num_steps: int, start: float, end: float) -> Schedule:
    sigmas = tuple(start + (end - start) * index / num_steps for index in range(num_steps + 1))
    return Schedule(sigmas=sigmas, model_sigmas=sigmas[:-1])


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("unipc", 2)])
def test_the_order_of_convergence_is_as_promised(solver: SolverName, order: int) -> None:
    start, end = 0.9, 0.1
    latents = exact_solution(random_noise(), start)
    exact = exact_solution(random_noise(), end)
    errors = []
    for steps in (16, 32, 64):
        *_, last = sample(gaussian_velocity, latents, even_schedule(steps, start, end), solver=solver)
        errors.append((last.latents - exact).abs().max().item())
    rates = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(order - 0.25 < rate < order + 1.3 for rate in rates), (errors, rates)


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
def test_the_answer_is_the_ordinary_integrators(solver: SolverName) -> None:
    def field(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        wave = torch.sin(3 * x) * t
        return wave + 0.5 * x

    def velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return field(sigma[:, None, :, None, None], latents)

    exact = odeint(
        field, random_noise(), torch.tensor([0.95, 0.05], dtype=torch.float64), rtol=1e-10, atol=1e-10
    )[-1]
    *_, last = sample(velocity, random_noise(), even_schedule(400, 0.95, 0.05), solver=solver)
    assert (last.latents - exact).abs().max() < (2e-2 if solver == "euler" else 2e-4)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0, 12.0])
def test_unipc_equals_diffusers(steps: int, shift: float) -> None:
    theirs = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )
    theirs.set_timesteps(steps)
    schedule = wan_schedule(steps, shift)
    assert torch.equal(torch.tensor(schedule.sigmas), theirs.sigmas)
    assert [round(time * 1000) for time in schedule.model_sigmas] == theirs.timesteps.tolist()

    def velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return torch.sin(2 * latents) + sigma.to(latents)[:, None, :, None, None] * latents.flip(-1)

    start = random_noise().float()
    expected = start.clone()
    theirs.set_begin_index(0)
    for step, time in zip(sample(velocity, start, schedule), theirs.timesteps, strict=True):
        out = velocity(expected, torch.full((1, 2), int(time) / 1000, dtype=torch.float64))
        expected = theirs.step(out, time, expected, return_dict=False)[0]
        assert (step.latents - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max().item())
    assert torch.equal(start, random_noise().float())


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
def test_clamped_frames_stay_and_the_network_sees_their_sigma(solver: SolverName) -> None:
    frames = torch.tensor([True, False, False, True])
    clean = torch.randn(1, 2, 4, 4, 4)
    sigmas = torch.tensor([0.0, 0.0, 0.0, 0.2])
    frame_clamp = FrameClamp(
        frames=frames, latents=add_noise(clean, torch.randn_like(clean), sigmas), sigmas=sigmas
    )
    seen_sigmas = []

    def velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        assert torch.equal(latents[:, :, frames], frame_clamp.latents[:, :, frames])
        seen_sigmas.append(sigma[0])
        return gaussian_velocity(latents, sigma)

    steps = list(
        sample(velocity, random_noise(4).float(), linear_schedule(6), solver=solver, clamp=frame_clamp)
    )
    for step in steps:
        assert torch.equal(step.latents[:, :, frames], frame_clamp.latents[:, :, frames])
    times = torch.stack(seen_sigmas)
    assert times[:, 0].eq(0).all()
    assert times[:, 3].eq(sigmas[3].double()).all()
    assert times[0, 1] == 1
    *_, free = sample(gaussian_velocity, random_noise(4).float(), linear_schedule(6), solver=solver)
    assert torch.equal(steps[-1].latents[:, :, 1:3], free.latents[:, :, 1:3])


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
def test_released_frames_are_resampled_with_the_rest(solver: SolverName) -> None:
    known, other = torch.randn(1, 2, 3, 4, 4), torch.randn(1, 2, 3, 4, 4)
    start = random_noise(3).float()
    seen_sigmas = []

    def towards(target: torch.Tensor):
        def velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            seen_sigmas.append(sigma[0].tolist())
            return (latents - target) / sigma.to(latents).clamp(min=1e-6)[:, None, :, None, None]

        return velocity

    frame_clamp = FrameClamp(
        frames=torch.tensor([True, True, False]),
        latents=known,
        sigmas=torch.zeros(3),
        release_sigmas=torch.tensor([0.0, 0.55, 0.0]),
        noise=start,
    )
    schedule = linear_schedule(5)  # 1, 0.8, 0.6, 0.4, 0.2, 0
    *_, last = sample(towards(known), start, schedule, solver=solver, clamp=frame_clamp)
    # On the way to the known latents the frames do not change.
    assert torch.allclose(last.latents, known, atol=1e-5)
    assert {times[0] for times in seen_sigmas} == {0.0}
    assert all(times[1] == (0.0 if times[2] > 0.55 else times[2]) for times in seen_sigmas)
    steps = list(sample(towards(other), start, schedule, solver=solver, clamp=frame_clamp))
    assert torch.equal(steps[1].latents[:, :, :2], known[:, :, :2])
    sigma = schedule.sigmas[3]
    assert torch.equal(steps[2].latents[:, :, 1], add_noise(known, start, sigma)[:, :, 1])
    assert torch.allclose(steps[-1].latents[:, :, 1:], other[:, :, 1:], atol=1e-5)
    assert torch.equal(steps[-1].latents[:, :, 0], known[:, :, 0])
    assert torch.equal(steps[1].clean[:, :, 1], known[:, :, 1])


def test_steps_report_index_and_sigma() -> None:
    steps = list(sample(gaussian_velocity, random_noise(), linear_schedule(5, shift=3.0)))
    assert [step.index for step in steps] == [0, 1, 2, 3, 4]
    assert {step.total for step in steps} == {5}
    assert [step.sigma for step in steps] == list(linear_schedule(5, shift=3.0).sigmas[1:])
    assert torch.allclose(steps[-1].clean, steps[-1].latents)


def test_nothing_runs_before_it_is_asked_for() -> None:
    calls = []

    def velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return latents

    run = sample(velocity, random_noise(), linear_schedule(5), solver="euler")
    assert len(calls) == 0
    next(run)
    assert len(calls) == 1


@given(steps=st.integers(1, 60), shift=st.floats(0.2, 20), max_sigma=st.floats(0, 1))
def test_schedules_fall_from_one_to_zero(steps: int, shift: float, max_sigma: float) -> None:
    for schedule in (linear_schedule(steps, shift), wan_schedule(steps, shift)):
        assert schedule.num_steps == steps
        assert schedule.sigmas[0] == pytest.approx(1, abs=2e-6)
        assert schedule.sigmas[-1] == 0
        part = schedule.truncate(max_sigma)
        assert 1 <= part.num_steps <= steps
        assert part.sigmas == schedule.sigmas[-len(part.sigmas) :]
        assert part.num_steps == 1 or part.sigmas[0] <= max_sigma


def test_a_schedule_that_rises_is_refused() -> None:
    with pytest.raises(ValueError, match="fall"):
        Schedule(sigmas=(0.5, 0.6, 0.0), model_sigmas=(0.5, 0.6))
    with pytest.raises(ValueError, match="at least 1"):
        linear_schedule(0)


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
@pytest.mark.parametrize("stop", range(1, 7))
@pytest.mark.parametrize("release_sigma", [0.0, 0.7])
def test_resumed_sampling_is_bit_exact(solver: SolverName, stop: int, release_sigma: float) -> None:
    frame_clamp = FrameClamp(
        frames=torch.tensor([True, False]),
        latents=random_noise() * 0.5,
        sigmas=torch.zeros(2),
        release_sigmas=torch.tensor([release_sigma, 0.0]),
        noise=random_noise(),
    )
    free = torch.rand(1, 1, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    blend = InpaintMask(clean=random_noise() * 0.3, noise=random_noise(), mask=free)
    schedule = wan_schedule(7, 3.0)

    def run(latents: torch.Tensor, first: int = 0, history: tuple[torch.Tensor, ...] = ()):
        return sample(
            gaussian_velocity,
            latents,
            schedule,
            solver=solver,
            clamp=frame_clamp,
            mask=blend,
            first_step=first,
            history=history,
        )

    whole = list(run(random_noise()))
    rest = list(run(whole[stop - 1].latents, stop, whole[stop - 1].history))
    assert [step.index for step in rest] == list(range(stop, 7))
    assert torch.equal(rest[-1].latents, whole[-1].latents)
    if solver == "unipc" and stop < 6:  # without what it remembers it would go elsewhere
        *_, other = run(whole[stop - 1].latents, stop)
        assert not torch.equal(other.latents, whole[-1].latents)


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
def test_masked_region_is_kept_at_every_sigma(solver: SolverName) -> None:
    free = torch.zeros(1, 1, 2, 4, 4, dtype=torch.float64)
    free[..., 2:] = 1
    clean = torch.full_like(random_noise(), 3.0)
    blend = InpaintMask(clean=clean, noise=random_noise(), mask=free)
    for step in sample(gaussian_velocity, random_noise(), wan_schedule(6, 3.0), solver=solver, mask=blend):
        kept = add_noise(clean, random_noise(), step.sigma)
        assert torch.equal(step.latents[..., :2], kept[..., :2])
        assert not torch.allclose(step.latents[..., 2:], kept[..., 2:], atol=0.1)
    assert torch.equal(step.latents[..., :2], clean[..., :2])


def sample_final(
    latents: torch.Tensor, ancestral: AncestralNoise | None, num_steps: int = 100
) -> torch.Tensor:
    *_, last = sample(
        gaussian_velocity, latents, linear_schedule(num_steps), solver="euler", ancestral=ancestral
    )
    return last.latents


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ancestral_noise_keeps_the_distribution(eta: float) -> None:
    many = torch.randn(1, 4, 16, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    final = sample_final(many, AncestralNoise(eta=eta, seeds=((3,),)), num_steps=200)
    assert final.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert final.std().item() == pytest.approx(DEVIATION, abs=0.015)
    moved = torch.corrcoef(torch.stack([many.flatten(), final.flatten()]))[0, 1].item()
    # The deterministic solver leads every noise to a place of its own; new noise makes it forget.
    assert moved > 0.99 if not eta else moved < 0.1


def test_eta_zero_is_plain_euler() -> None:
    assert torch.equal(
        sample_final(random_noise(), AncestralNoise(eta=0.0, seeds=((0,),))),
        sample_final(random_noise(), None),
    )


def test_ancestral_noise_is_exact_under_the_true_velocity() -> None:
    target = random_noise() * 0.5

    def velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return (latents - target) / sigma.to(latents)[:, None, :, None, None]

    *_, last = sample(
        velocity,
        random_noise() + 1,
        linear_schedule(7),
        solver="euler",
        ancestral=AncestralNoise(eta=0.6, seeds=((1,),)),
    )
    assert (last.latents - target).abs().max() < 1e-12


def test_every_sample_uses_its_own_seed() -> None:
    both = torch.cat([random_noise(), random_noise()])
    one, other = sample_final(both, AncestralNoise(eta=0.5, seeds=((4, 0), (4, 1)))).split(1)
    assert torch.equal(one, sample_final(random_noise(), AncestralNoise(eta=0.5, seeds=((4, 0),))))
    assert torch.equal(other, sample_final(random_noise(), AncestralNoise(eta=0.5, seeds=((4, 1),))))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("stop", [1, 4, 6])
def test_resumed_sampling_draws_the_same_ancestral_noise(stop: int) -> None:
    ancestral = AncestralNoise(eta=0.7, seeds=((5,),))

    def run(latents: torch.Tensor, first: int = 0):
        return sample(
            gaussian_velocity,
            latents,
            linear_schedule(7),
            solver="euler",
            ancestral=ancestral,
            first_step=first,
        )

    whole = list(run(random_noise()))
    *_, last = run(whole[stop - 1].latents, stop)
    assert torch.equal(last.latents, whole[-1].latents)


def test_clamped_frames_stay_under_ancestral_noise() -> None:
    frame_clamp = FrameClamp(
        frames=torch.tensor([True, False]), latents=random_noise() * 0.5, sigmas=torch.zeros(2)
    )
    *_, last = sample(
        gaussian_velocity, random_noise(), linear_schedule(9), solver="euler", clamp=frame_clamp,
        ancestral=AncestralNoise(eta=0.7, seeds=((5,),)),
    )  # fmt: skip
    assert torch.equal(last.latents[:, :, 0], random_noise()[:, :, 0] * 0.5)


def test_ancestral_noise_is_refused_for_other_solvers() -> None:
    ancestral = AncestralNoise(eta=0.5, seeds=((0,),))
    with pytest.raises(ValueError, match="euler"):
        sample(gaussian_velocity, random_noise(), linear_schedule(3), solver="unipc", ancestral=ancestral)
    with pytest.raises(ValueError, match="between 0 and 1"):
        AncestralNoise(eta=1.5, seeds=((0,),))
