"""Optimizers against closed forms, and their state through a checkpoint."""

import pytest
import torch
from torch import nn

from kinema.training import optimizer
from kinema.training.optimizer import (
    Ema,
    OptimizerConfig,
    Optimizers,
    newton_schulz,
    newton_schulz_batched,
)


@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16), (32, 24)])
def test_newton_schulz_keeps_singular_vectors_and_equalizes_singular_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    result = newton_schulz(matrix)
    assert torch.linalg.svdvals(result).sub(1).abs().max() < 0.1
    assert (result - u @ v).norm() / (u @ v).norm() < 0.08


@pytest.mark.parametrize("bf16", [False, True])
def test_newton_schulz_batched_matches_single(monkeypatch, bf16):
    monkeypatch.setattr(optimizer, "has_fast_bf16", lambda device: bf16)
    generator = torch.Generator().manual_seed(0)
    shapes = [(96, 160), (160, 96), (8, 8), (96, 160), (70, 70)]
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    for matrix, result in zip(matrices, newton_schulz_batched(matrices), strict=True):
        assert result.shape == matrix.shape
        assert result.dtype is torch.float32
        error = (result - newton_schulz(matrix)).norm() / result.norm()
        assert error < (0.05 if bf16 else 1e-4)


def test_schedule_warms_up_stays_and_decays():
    config = OptimizerConfig(warmup_steps=10, decay_share=0.5, min_lr_ratio=0.02)
    scales = [config.lr_scale(step, 100) for step in range(100)]
    assert scales[0] == pytest.approx(0.1)
    assert scales[9:50] == [1.0] * 41
    assert scales[75] == pytest.approx(0.5)
    assert min(scales[50:]) == pytest.approx(0.02)
    assert scales[50:] == sorted(scales[50:], reverse=True)


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2))


def run_steps(network, optimizers, first, last):
    for step in range(first, last):
        x = torch.randn(16, 5, generator=torch.Generator().manual_seed(step))
        (network(x) - x[:, :2].sin()).square().mean().backward()
        optimizers.step(step, 60)


def test_both_optimizers_learn_and_resume_bit_for_bit():
    config = OptimizerConfig(learning_rate=3e-2, muon_learning_rate=3e-2, warmup_steps=5)
    whole = make_network()
    optimizers = Optimizers.from_module(whole, config, muon_parameters=[whole[0].weight])
    assert len(optimizers.optimizers) == 2
    x = torch.randn(256, 5, generator=torch.Generator().manual_seed(99))
    before = (whole(x) - x[:, :2].sin()).square().mean().item()
    run_steps(whole, optimizers, 0, 60)
    after = (whole(x) - x[:, :2].sin()).square().mean().item()
    assert after < before / 4

    half = make_network()
    first = Optimizers.from_module(half, config, muon_parameters=[half[0].weight])
    run_steps(half, first, 0, 25)
    state = {name: value.clone() for name, value in first.tensors()}
    resumed = make_network()
    resumed.load_state_dict(half.state_dict())
    second = Optimizers.from_module(resumed, config, muon_parameters=[resumed[0].weight])
    second.load(state)
    run_steps(resumed, second, 25, 60)
    for name, value in whole.state_dict().items():
        assert value.equal(resumed.state_dict()[name]), name


def test_gradient_is_clipped_and_its_norm_reported():
    network = make_network()
    optimizers = Optimizers.from_module(network, OptimizerConfig(max_grad_norm=0.5, warmup_steps=1))
    (1e4 * network(torch.ones(1, 5))).sum().backward()
    expected = torch.cat([p.grad.flatten() for p in network.parameters()]).norm().item()
    assert optimizers.step(0, 10) == pytest.approx(expected, rel=1e-5)


def test_ema_of_a_constant_is_the_constant_and_lags_a_ramp():
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    ema = Ema(network.state_dict(), 0.9)
    for step in range(50):
        ema.update(network.state_dict(), step)
    assert ema.tensors["weight"].item() == pytest.approx(1.0)
    with torch.no_grad():
        for step in range(50, 300):
            network.weight.add_(1.0)
            ema.update(network.state_dict(), step)
    # The exponential mean of a unit ramp lags by decay / (1 - decay) = 9.
    assert network.weight.item() - ema.tensors["weight"].item() == pytest.approx(9.0, abs=1e-3)
