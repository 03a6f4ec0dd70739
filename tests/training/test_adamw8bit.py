"""AdamW with 8-bit moments: close to AdamW, a quarter of its memory, exact to save and load."""

import pytest
import torch
from torch import nn

from kinema.training.adamw8bit import _SIGNED, _UNSIGNED, AdamW8bit, build_codes
from kinema.training.optimizer import OptimizerConfig, Optimizers


@pytest.mark.parametrize("signed", [True, False])
def test_codes(signed):
    codes = build_codes(signed=signed)
    assert codes.shape == (256,)
    assert codes.unique().shape == (256,)
    assert codes.max() == 1
    assert bool(codes.min() < 0) is signed
    assert 0 in codes


@pytest.mark.parametrize("codec", [_SIGNED, _UNSIGNED])
def test_quantising_twice_changes_nothing(codec):
    torch.manual_seed(0)
    values = torch.randn(1000) * torch.logspace(-6, 2, 1000)
    values = values if codec is _SIGNED else values.abs()
    values[256:512] = 0
    once = codec.decode(*codec.encode(values), values)
    assert codec.decode(*codec.encode(once), values).equal(once)
    large = values.abs() > 0.05 * values.abs().max()
    assert ((once - values)[large].abs() / values[large].abs()).max() < 0.08


def problem():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))


def run(optimizer_of, steps=60):
    network = problem()
    optimizer = optimizer_of(network.parameters())
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        x = torch.randn(32, 64, generator=generator)
        loss = (network(x) - x.roll(1, 1)).square().mean()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return losses, optimizer, network


def test_it_learns_as_adamw_does():
    settings = {"lr": 3e-3, "betas": (0.9, 0.99), "weight_decay": 0.01}
    expected, _, _ = run(lambda parameters: torch.optim.AdamW(parameters, **settings))
    losses, optimizer, network = run(lambda parameters: AdamW8bit(parameters, **settings))
    assert losses[-1] == pytest.approx(expected[-1], rel=0.03)
    assert losses[-1] < 0.5 * losses[0]
    moments = sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )
    numbers = sum(parameter.numel() for parameter in network.parameters())
    assert moments < 2.1 * numbers, "2 bytes and a scale for every 256 values"


def test_saved_and_loaded_it_continues_exactly():
    config = OptimizerConfig(adamw="adamw8bit", learning_rate=3e-3, muon_learning_rate=0.0, warmup_steps=1)

    def steps(network, optimizers, first, last):
        for step in range(first, last):
            x = torch.randn(16, 64, generator=torch.Generator().manual_seed(step))
            (network(x) - x).square().mean().backward()
            optimizers.step(step, 10)

    whole, stopped, resumed = problem(), problem(), problem()
    all_steps = Optimizers.from_module(whole, config)
    steps(whole, all_steps, 0, 6)
    before = Optimizers.from_module(stopped, config)
    steps(stopped, before, 0, 3)
    saved = dict(before.tensors())
    resumed.load_state_dict(stopped.state_dict())
    after = Optimizers.from_module(resumed, config)
    after.load(saved)
    steps(resumed, after, 3, 6)
    for name, value in whole.state_dict().items():
        assert value.equal(resumed.state_dict()[name]), name
