"""The discriminator: what it learns, its gradients in training, and that exports do not have it."""

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
from kinema.training.run_context import RunContext
from kinema.training.stages import load_autoencoder_weights
from kinema.training.vae_task import DISCRIMINATOR, VaeTask, VaeTrainConfig
from tests.fixtures.sharded_training import moving_squares

CPU = torch.device("cpu")
VAE = VaeConfig.tiny(patchified=True)
OPTIMIZER = OptimizerConfig(learning_rate=1e-3, muon_learning_rate=1e-3, warmup_steps=2)


def vae_config(**changes) -> VaeTrainConfig:
    loop = LoopConfig(steps=6, validate_every=6, save_every=2, ema_decay=0.9, optimizer=OPTIMIZER)
    base = VaeTrainConfig(batch_size=2, crop_size=16, precision="float32", model=VAE, loop=loop)
    return dataclasses.replace(base, **{"adversarial_weight": 0.3, **changes})


def real_and_blurred(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    real = torch.from_numpy(moving_squares().pixels).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    blurred = torch.nn.functional.avg_pool3d(real, 3, stride=1, padding=1, count_include_pad=False)
    return real, blurred + 0.01 * torch.randn(real.shape, generator=torch.Generator().manual_seed(seed))


def test_discriminator_learns_to_separate_real_from_blurred_videos():
    torch.manual_seed(0)
    discriminator, (real, fake) = PatchDiscriminator(), real_and_blurred()
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    losses = []
    for step in range(60):
        terms = adversarial_loss(discriminator, fake, real, torch.randn_like(real), first_frame=step % 2)
        optimizer.zero_grad()
        terms.discriminator_loss.backward()
        optimizer.step()
        losses.append(terms.discriminator_loss.item())
    assert losses[0] == pytest.approx(np.log(2), abs=0.05), "at first the scores are equal"
    assert np.mean(losses[-5:]) < 0.45
    gradient = adversarial_loss(discriminator, fake, real, torch.zeros_like(real)).generator_gradient
    along = torch.nn.functional.cosine_similarity(-gradient.flatten(), (real - fake).flatten(), dim=0)
    assert along > 0.1, "the descent direction points to the real video"


def test_gradients_are_isolated():
    discriminator, (real, fake) = PatchDiscriminator(width=8), real_and_blurred()
    fake.requires_grad_()
    terms = adversarial_loss(discriminator, fake, real, torch.zeros_like(real))
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    terms.discriminator_loss.backward()
    assert fake.grad is None
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (1, 0.3)])
def test_adversarial_gradient_has_the_requested_norm(step, share):
    task = VaeTask(vae_config(), moving_squares(), moving_squares(), CPU)
    real, fake = real_and_blurred()
    fake.requires_grad_()
    value, _ = task._decoder_loss(fake, real, step, range(4))
    (gradient,) = torch.autograd.grad(value, fake, retain_graph=True)
    (plain,) = torch.autograd.grad(task._reconstruction_loss(fake, real)[0], fake)
    added = (gradient - plain).flatten(1).norm(dim=1)
    assert added / plain.flatten(1).norm(dim=1) == pytest.approx(np.full(4, share), abs=1e-3)


def test_microbatches_add_up_to_the_step():
    task = VaeTask(vae_config(batch_size=4), moving_squares(), moving_squares(), CPU)
    parameters = [p for p in task.vae.parameters() if p.requires_grad]

    def gradients(num_microbatches: int) -> list[torch.Tensor]:
        task.vae.zero_grad()
        for microbatch in range(num_microbatches):
            task.loss(1, microbatch, num_microbatches).value.backward()
        return [p.grad.clone() for p in parameters]

    for whole, summed in zip(gradients(1), gradients(2), strict=True):
        assert (whole - summed).abs().max() <= 1e-5 + 1e-4 * whole.abs().max()


@pytest.mark.parametrize("decoder_only", [False, True])
def test_resume_is_exact_and_exports_only_the_autoencoder(tmp_path, decoder_only):
    config = vae_config(decoder_only=decoder_only)

    def run(folder, should_stop=lambda: False):
        task = VaeTask(config, moving_squares(), moving_squares(), CPU)
        reports = train(task, config.loop, folder, settings={}, should_stop=should_stop)
        return [report.loss for report in reports]

    whole = run(tmp_path / "whole" / "vae")
    stops = iter([False, False, True])
    first = run(tmp_path / "interrupted" / "vae", should_stop=lambda: next(stops))
    assert [*first, *run(tmp_path / "interrupted" / "vae")] == whole
    one, other = (checkpoint.load(tmp_path / name / "vae") for name in ("whole", "interrupted"))
    for part in ("model", "ema", "optimizer"):
        assert all(torch.equal(value, other.parts[part][name]) for name, value in one.parts[part].items())
    assert any(name.startswith(f"{DISCRIMINATOR}.") for name in one.parts["model"])
    assert one.state["best"] == 6, "with a discriminator the last checkpoint is the best"
    context = RunContext(run_dir=tmp_path / "interrupted", device=CPU, load_text_encoder=lambda: None)
    VideoVae(VAE).load_state_dict(load_autoencoder_weights(context, "vae"))


def test_videos_that_are_too_short_are_refused():
    short = moving_squares(frames=1)
    with pytest.raises(UserError, match="3 frames at a time"):
        VaeTask(vae_config(), short, short, CPU)
    VaeTask(vae_config(adversarial_weight=0.0), short, short, CPU)
