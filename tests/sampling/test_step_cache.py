"""The step cache: which steps are computed, what the others are, and the error that is reported."""

from __future__ import annotations

import torch

from kinema import sampling


class Counting:
    """A velocity that depends on latents and sigma, and the sigmas at which it was computed."""

    def __init__(self, target):
        self.target, self.sigmas = target, []

    def __call__(self, latents, sigma):
        self.sigmas.append(sigma.max().item())
        straight = (latents - self.target) / sigma[:, None, :, None, None].float().clamp(min=1e-3)
        return straight + 0.5 * (4 * latents).sin()  # alone, the velocity would not change


def run(denoiser, noise, steps=20):
    *_, last = sampling.sample(denoiser, noise, sampling.linear_schedule(steps, 3.0), solver="euler")
    return last.latents


def tensors():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, 4, 3, 4, 4, generator=generator)


def test_a_threshold_of_almost_zero_computes_every_step():
    noise, target = tensors()
    plain, counted = Counting(target), Counting(target)
    cache = sampling.StepCache(counted, threshold=1e-9, num_steps=20)
    assert torch.equal(run(cache, noise), run(plain, noise))
    assert counted.sigmas == plain.sigmas
    assert (cache.report.computed, cache.report.reused, cache.report.max_error) == (20, 0, 0.0)


def test_first_and_last_steps_are_computed_and_others_reused():
    noise, target = tensors()
    counted = Counting(target)
    cache = sampling.StepCache(counted, threshold=1.0, num_steps=20)
    run(cache, noise)
    sigmas = sampling.linear_schedule(20, 3.0).sigmas
    assert counted.sigmas[:4] == [float(sigma) for sigma in sigmas[:4]]
    assert counted.sigmas[-1] == float(sigmas[19])
    assert cache.report.computed == len(counted.sigmas) < 12
    assert cache.report.computed + cache.report.reused == 20


def test_a_reused_velocity_is_the_latents_plus_the_last_difference():
    noise, target = tensors()
    counted = Counting(target)
    cache = sampling.StepCache(counted, threshold=1.0, num_steps=20)
    sigma = torch.full((1, 3), 0.9)
    for scale in (1.0, 0.9, 0.8, 0.7):
        velocity = cache(noise * scale, sigma)
    assert len(counted.sigmas) == 4
    assert torch.equal(cache(noise * 0.65, sigma), noise * 0.65 + (velocity - noise * 0.7))
    assert len(counted.sigmas) == 4


def test_the_reported_error_is_that_of_the_reused_velocity():
    noise, target = tensors()
    counted = Counting(target)
    cache = sampling.StepCache(counted, threshold=1.0, num_steps=6)
    sigma = torch.full((1, 3), 0.9)
    for scale in (1.0, 0.9, 0.8, 0.7, 0.69):
        cache(noise * scale, sigma)
    assert len(counted.sigmas) == 3
    difference = Counting(target)(noise * 0.8, sigma) - noise * 0.8
    velocity = cache(noise * 0.5, sigma)  # the last step
    expected = (noise * 0.5 + difference - velocity).abs().mean() / velocity.abs().mean()
    assert abs(cache.report.mean_error - expected.item()) < 1e-6
    assert cache.report.max_error == cache.report.mean_error > 0.01


def test_a_larger_threshold_reuses_more_and_costs_more():
    noise, target = tensors()
    exact, reused, errors = run(Counting(target), noise), [], []
    for threshold in (0.02, 0.1, 0.5):
        cache = sampling.StepCache(Counting(target), threshold=threshold, num_steps=20)
        errors.append((run(cache, noise) - exact).abs().mean().item())
        reused.append(cache.report.reused)
    assert reused == sorted(reused)
    assert reused[0] < reused[-1]
    assert errors[0] < errors[-1]


def test_another_expert_starts_with_a_computed_step():
    noise, target = tensors()
    counted = Counting(target)
    cache = sampling.StepCache(counted, threshold=1.0, num_steps=20, boundary_ratio=0.5)
    run(cache, noise)
    below = [float(sigma) for sigma in sampling.linear_schedule(20, 3.0).sigmas if sigma < 0.5]
    assert below[0] in counted.sigmas
