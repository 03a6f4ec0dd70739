"""Autoencoder training: it learns, microbatches add up, latent statistics normalise."""

import dataclasses

import pytest
import torch

from kinema.data.latent_cache import encode_videos
from kinema.models.vae.vae_config import VaeConfig
from kinema.training.loop import LoopConfig, train
from kinema.training.vae_task import VaeTask, VaeTrainConfig, latent_statistics, reconstruction_quality
from tests.fixtures.training_data import moving_squares, static_squares

CPU = torch.device("cpu")


def vae_config(**changes):
    model = VaeConfig.tiny(patchified=True)
    base = VaeTrainConfig(batch_size=4, crop_size=16, precision="float32", model=model)
    return dataclasses.replace(base, **changes)


def test_the_autoencoder_learns(tmp_path):
    videos = moving_squares()
    config = vae_config(loop=LoopConfig(steps=60, validate_every=60, save_every=60, ema_decay=0.9))
    task = VaeTask(config, videos, videos, CPU)
    before = task.validate()
    scores = [report.scores for report in train(task, config.loop, tmp_path, settings={})][-1]
    assert scores["ema/psnr"] > before["psnr"] + 3
    assert task.is_better({"objects_psnr": 2.0}, {"objects_psnr": 1.0})
    assert not task.is_better({"objects_psnr": 1.0}, {"objects_psnr": 1.0})


@pytest.mark.parametrize("step", [0, 1])
def test_microbatches_add_up_to_the_step(step):
    task = VaeTask(vae_config(), moving_squares(), moving_squares(), CPU)
    whole = task.loss(step, 0, 1).value.item()
    # Every term is a mean over equal parts.
    parts = [task.loss(step, part, 2).value.item() for part in range(2)]
    assert sum(parts) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_autoencoder_trains_on_device_cache_in_microbatches(precision):
    videos = static_squares()
    task = VaeTask(vae_config(cache_on_device=True, precision=precision), videos, videos, CPU)
    for step in (0, 1):
        whole = task.loss(step, 0, 1)
        parts = [task.loss(step, part, 2).value.item() for part in range(2)]
        tolerance = 1e-2 if precision == "bfloat16" else 1e-5
        assert sum(parts) == pytest.approx(whole.value.item(), rel=tolerance)
        whole.value.backward()
        assert task.step_cost(step).flops > 0


def test_latent_statistics_normalise():
    videos = moving_squares()
    vae = VaeTask(vae_config(), videos, videos, CPU).vae.eval()
    normalised = vae.with_latent_statistics(*latent_statistics(vae, videos, CPU))
    batches = encode_videos(normalised, videos, CPU, batch_size=4, precision="float32")
    latents = torch.cat([batch for _, batch in batches])
    assert latents.shape[0] == len(videos)
    assert latents.mean((0, 2, 3, 4)).abs().max() < 1e-4
    assert (latents.std((0, 2, 3, 4)) - 1).abs().max() < 1e-3


def test_errors_near_moving_pixels_weigh_more():
    videos = static_squares()
    x = torch.zeros(1, 3, 3, 16, 16)
    x[:, :, 1, 4, 4] = 1.0
    near, far = x.clone(), x.clone()
    near[..., 5, 5] += 0.5
    far[..., 12, 12] += 0.5
    plain, weighted = (
        VaeTask(vae_config(motion_loss_weight=weight, gradient_loss_weight=0.0), videos, videos, CPU)
        for weight in (0.0, 4.0)
    )
    losses = {
        name: [task._reconstruction_loss(video, x)[0].item() for video in (near, far)]
        for name, task in (("plain", plain), ("weighted", weighted))
    }
    assert losses["plain"][0] == pytest.approx(losses["plain"][1])
    assert losses["weighted"][1] == pytest.approx(losses["plain"][1])
    assert losses["weighted"][0] == pytest.approx(5 * losses["plain"][0])


def test_moving_pixels_have_a_psnr_of_their_own():
    still, moving = static_squares(), moving_squares()
    vae = VaeTask(vae_config(), moving, moving, CPU).vae
    assert reconstruction_quality(vae, still, CPU)["moving_psnr"] == pytest.approx(100)
    scores = reconstruction_quality(vae, moving, CPU)
    assert scores["moving_psnr"] < scores["psnr"]
