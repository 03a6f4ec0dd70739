"""The critic: what it learns, what it changes in training, and what of it is left afterwards."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.training import checkpoint
from kinema.training.discriminator import PatchDiscriminator, adversarial_loss
from kinema.training.loop import LoopConfig, train
from kinema.training.optimizer import OptimizerConfig
from kinema.training.stages import RunContext, load_autoencoder_weights
from kinema.training.vae_task import VaeTask, VaeTrainConfig
from tests.fixtures.sharded_training import moving_squares

CPU = torch.device("cpu")
VAE = VaeConfig.tiny(patchified=True)
FAST = OptimizerConfig(learning_rate=1e-3, muon_learning_rate=1e-3, warmup_steps=2)


def vae_train_config(**changes) -> VaeTrainConfig:
    loop = LoopConfig(steps=6, validate_every=6, save_every=2, ema_decay=0.9, optimizer=FAST)
    plain = VaeTrainConfig(batch_size=2, crop_size=16, precision="float32", model=VAE, loop=loop)
    return dataclasses.replace(plain, **{"adversarial": 0.3, **changes})


def real_and_blurred(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    true = torch.from_numpy(moving_squares().pixels).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    blurred = torch.nn.functional.avg_pool3d(true, 3, stride=1, padding=1, count_include_pad=False)
    return true, blurred + 0.01 * torch.randn(true.shape, generator=torch.Generator().manual_seed(seed))


def test_discriminator_learns_to_separate_real_from_blurred_videos():
    torch.manual_seed(0)
    critic, (true, made) = PatchDiscriminator(), real_and_blurred()
    optimizer = torch.optim.AdamW(critic.parameters(), lr=1e-3, betas=(0.5, 0.99))
    losses = []
    for step in range(60):
        said = adversarial_loss(critic, made, true, torch.randn_like(true), first_frame=step % 2)
        optimizer.zero_grad()
        said.discriminator_loss.backward()
        optimizer.step()
        losses.append(said.discriminator_loss.item())
    assert losses[0] == pytest.approx(np.log(2), abs=0.05), "at first it can't tell"
    assert np.mean(losses[-5:]) < 0.45
    better = adversarial_loss(critic, made, true, torch.zeros_like(true)).generator_gradient
    along = torch.nn.functional.cosine_similarity(-better.flatten(), (true - made).flatten(), dim=0)
    assert along > 0.1, "downhill lies the film"


def test_gradients_are_isolated():
    critic, (true, made) = PatchDiscriminator(width=8), real_and_blurred()
    made.requires_grad_()
    said = adversarial_loss(critic, made, true, torch.zeros_like(true))
    assert all(parameter.grad is None for parameter in critic.parameters())
    said.discriminator_loss.backward()
    assert made.grad is None
    assert all(parameter.grad is not None for parameter in critic.parameters())


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (1, 0.3)])
def test_adversarial_gradient_has_the_requested_norm(step, share):
    task = VaeTask(vae_train_config(), moving_squares(), moving_squares(), CPU)
    true, made = real_and_blurred()
    made.requires_grad_()
    value, _ = task._decoder_loss(made, true, step, range(4))
    (gradient,) = torch.autograd.grad(value, made, retain_graph=True)
    (plain,) = torch.autograd.grad(task._reconstruction_loss(made, true)[0], made)
    added = (gradient - plain).flatten(1).norm(dim=1)
    assert added / plain.flatten(1).norm(dim=1) == pytest.approx(np.full(4, share), abs=1e-3)


def test_microbatches_add_up_to_the_step():
    task = VaeTask(vae_train_config(batch=4), moving_squares(), moving_squares(), CPU)
    parameters = [p for p in task.vae.parameters() if p.requires_grad]

    def gradients(parts: int) -> list[torch.Tensor]:
        task.vae.zero_grad()
        for part in range(parts):
            task.loss(1, part, parts).value.backward()
        return [p.grad.clone() for p in parameters]

    for one, other in zip(gradients(1), gradients(2), strict=True):
        assert (one - other).abs().max() <= 1e-5 + 1e-4 * one.abs().max()


@pytest.mark.parametrize("decoder_only", [False, True])
def test_resume_is_exact_and_exports_only_the_autoencoder(tmp_path, decoder_only):
    config = vae_train_config(decoder_only=decoder_only)

    def run(folder, stop=lambda: False):
        task = VaeTask(config, moving_squares(), moving_squares(), CPU)
        return [r.loss for r in train(task, config.loop, folder, settings={}, should_stop=stop)]

    whole = run(tmp_path / "whole" / "vae")
    calls = iter([False, False, True])
    first = run(tmp_path / "cut" / "vae", stop=lambda: next(calls))
    assert [*first, *run(tmp_path / "cut" / "vae")] == whole
    one, other = (checkpoint.load(tmp_path / name / "vae") for name in ("whole", "cut"))
    for part in ("model", "ema", "optimizer"):
        assert all(torch.equal(value, other.parts[part][name]) for name, value in one.parts[part].items())
    assert any(name.startswith("critic.") for name in one.parts["model"])
    assert one.state["best"] == 6, "errors do not say which is best"
    bench = RunContext(run_dir=tmp_path / "cut", device=CPU, load_text_encoder=lambda: None)
    VideoVae(VAE).load_state_dict(load_autoencoder_weights(bench, "vae"))


def test_videos_that_are_too_short_are_refused():
    short = moving_squares(frames=1)
    with pytest.raises(UserError, match="3 frames at a time"):
        VaeTask(vae_train_config(), short, short, CPU)
    VaeTask(vae_train_config(adversarial=0.0), short, short, CPU)
