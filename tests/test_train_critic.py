"""The critic: what it learns, what it changes in training, and what of it is left afterwards."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from kinema.models.vae.autoencoder.autoencoder import VideoVae
from kinema.models.vae.autoencoder.vae_config import VaeConfig

from kinema import checkpoint
from kinema.errors import UserError
from kinema.train.critic import Critic, opposition
from kinema.train.loop import LoopConfig, train
from kinema.train.optimizer import OptimizerConfig
from kinema.train.stages import Bench, autoencoder_weights
from kinema.train.vae import VaeTask, VaeTraining
from tests.shared_training import squares

CPU = torch.device("cpu")
VAE = VaeConfig.tiny(patchified=True)
FAST = OptimizerConfig(learning_rate=1e-3, muon_learning_rate=1e-3, warmup=2)


def training(**changes) -> VaeTraining:
    loop = LoopConfig(steps=6, validate_every=6, save_every=2, ema=0.9, optimizer=FAST)
    plain = VaeTraining(batch=2, crop=16, precision="float32", model=VAE, loop=loop)
    return dataclasses.replace(plain, **{"adversarial": 0.3, **changes})


def true_and_blurred(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    true = torch.from_numpy(squares().pixels).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    blurred = torch.nn.functional.avg_pool3d(true, 3, stride=1, padding=1, count_include_pad=False)
    return true, blurred + 0.01 * torch.randn(true.shape, generator=torch.Generator().manual_seed(seed))


def test_it_learns_to_tell_films_from_blurred_copies_and_says_what_is_missing():
    torch.manual_seed(0)
    critic, (true, made) = Critic(), true_and_blurred()
    optimizer = torch.optim.AdamW(critic.parameters(), lr=1e-3, betas=(0.5, 0.99))
    losses = []
    for step in range(60):
        said = opposition(critic, made, true, torch.randn_like(true), first=step % 2)
        optimizer.zero_grad()
        said.loss.backward()
        optimizer.step()
        losses.append(said.loss.item())
    assert losses[0] == pytest.approx(np.log(2), abs=0.05), "at first it can't tell"
    assert np.mean(losses[-5:]) < 0.45
    better = opposition(critic, made, true, torch.zeros_like(true)).better
    along = torch.nn.functional.cosine_similarity(-better.flatten(), (true - made).flatten(), dim=0)
    assert along > 0.1, "downhill lies the film"


def test_it_gets_no_gradient_but_by_its_loss_and_nothing_flows_into_the_copies():
    critic, (true, made) = Critic(width=8), true_and_blurred()
    made.requires_grad_()
    said = opposition(critic, made, true, torch.zeros_like(true))
    assert all(parameter.grad is None for parameter in critic.parameters())
    said.loss.backward()
    assert made.grad is None
    assert all(parameter.grad is not None for parameter in critic.parameters())


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (1, 0.3)])
def test_its_gradient_is_as_large_as_it_is_asked_to_be(step, share):
    task = VaeTask(training(), squares(), squares(), CPU)
    true, made = true_and_blurred()
    made.requires_grad_()
    value, _ = task._judged(made, true, step, range(4))
    (gradient,) = torch.autograd.grad(value, made, retain_graph=True)
    (plain,) = torch.autograd.grad(task._likeness(made, true)[0], made)
    added = (gradient - plain).flatten(1).norm(dim=1)
    assert added / plain.flatten(1).norm(dim=1) == pytest.approx(np.full(4, share), abs=1e-3)


def test_a_step_in_parts_is_the_step():
    task = VaeTask(training(batch=4), squares(), squares(), CPU)
    parameters = [p for p in task.vae.parameters() if p.requires_grad]

    def gradients(parts: int) -> list[torch.Tensor]:
        task.vae.zero_grad()
        for part in range(parts):
            task.loss(1, part, parts).value.backward()
        return [p.grad.clone() for p in parameters]

    for one, other in zip(gradients(1), gradients(2), strict=True):
        assert (one - other).abs().max() <= 1e-5 + 1e-4 * one.abs().max()


@pytest.mark.parametrize("decoder_only", [False, True])
def test_a_stopped_run_goes_on_bit_for_bit_and_leaves_an_autoencoder_alone(tmp_path, decoder_only):
    config = training(decoder_only=decoder_only)

    def run(folder, stop=lambda: False):
        task = VaeTask(config, squares(), squares(), CPU)
        return [r.loss for r in train(task, config.loop, folder, settings={}, stop=stop)]

    whole = run(tmp_path / "whole" / "vae")
    calls = iter([False, False, True])
    first = run(tmp_path / "cut" / "vae", stop=lambda: next(calls))
    assert [*first, *run(tmp_path / "cut" / "vae")] == whole
    one, other = (checkpoint.load(tmp_path / name / "vae") for name in ("whole", "cut"))
    for part in ("model", "ema", "optimizer"):
        assert all(torch.equal(value, other.parts[part][name]) for name, value in one.parts[part].items())
    assert any(name.startswith("critic.") for name in one.parts["model"])
    assert one.state["best"] == 6, "errors do not say which is best"
    bench = Bench(run=tmp_path / "cut", device=CPU, encoder=lambda: None)
    VideoVae(VAE).load_state_dict(autoencoder_weights(bench, "vae"))


def test_films_that_are_too_short_are_refused():
    short = squares(frames=1)
    with pytest.raises(UserError, match="3 frames at a time"):
        VaeTask(training(), short, short, CPU)
    VaeTask(training(adversarial=0.0), short, short, CPU)
