"""Resampled latents, and decoder training on them."""

import dataclasses

import numpy as np
import pytest
import torch

from kinema import sampling
from kinema.data import rng
from kinema.data.dataset import InMemoryVideos
from kinema.data.latent_cache import LatentDataset
from kinema.errors import UserError
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import small
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.training.loop import LoopConfig, train
from kinema.training.optimizer import OptimizerConfig
from kinema.training.resampled_latents import ResampleConfig, resample_latents
from kinema.training.vae_task import VaeTask, VaeTrainConfig

CPU = torch.device("cpu")
VAE = VaeConfig.tiny(patchified=True)


def make_latent_dataset(count=5):
    generator = torch.Generator().manual_seed(0)
    return LatentDataset(
        latents=torch.randn(count, 4, 3, 4, 4, generator=generator),
        captions=tuple((index % 2,) for index in range(count)),
        text_embeddings=tuple(torch.randn(3, 384, generator=generator) for _ in range(3)),
    )


class ExactDit(Dit):
    """Returns the velocity towards the video of the dataset that is nearest to the noisy latents."""

    def __init__(self, dataset):
        super().__init__(small(width=64, layers=1, channels=4, grid=(2, 2)))
        self.dataset, self.sigmas = dataset, []

    def forward(self, latents, sigma, context, **_):
        value = float(sigma[0, 0])
        self.sigmas.append(value)
        clean = self.dataset.latents
        nearest = torch.cdist(latents.flatten(1), clean.flatten(1) * (1 - value)).argmin(1)
        velocity = (latents - clean[nearest]) / value
        return velocity.repeat(context.batch_size // latents.shape[0], 1, 1, 1, 1)


def resample_all(dit, dataset, config):
    return torch.cat([batch for _, batch in resample_latents(dit, dataset, config, CPU, precision="float32")])


def test_exact_velocity_returns_the_clean_latents():
    dataset = make_latent_dataset()
    dit = ExactDit(dataset)
    config = ResampleConfig(num_videos=4, max_sigma=0.6, num_inference_steps=20, batch_size=2)
    resampled = resample_all(dit, dataset, config)
    assert resampled.shape == dataset.latents[:4].shape
    assert (resampled - dataset.latents[:4]).abs().max() < 1e-5
    assert dit.sigmas
    assert max(dit.sigmas) <= 0.6


def test_zero_velocity_leaves_the_noise():
    """A newly initialised transformer predicts zero: the noise stays, and each video has its own."""
    dataset = make_latent_dataset()
    dit = Dit(small(width=64, layers=1, channels=4, grid=(2, 2))).eval()
    config = ResampleConfig(num_videos=99, max_sigma=0.7, num_inference_steps=10, batch_size=5, seed=3)
    resampled = resample_all(dit, dataset, config)
    sigma = sampling.linear_schedule(10).truncate(0.7 * rng.uniform(3, "worn level", 0)).sigmas[0]
    noise = torch.stack([rng.normal((4, 3, 4, 4), 3, "worn", index) for index in range(5)])
    assert 0 < sigma <= 0.7
    assert (resampled - sampling.add_noise(dataset.latents, noise, sigma)).abs().max() < 1e-5
    assert len(resampled) == len(dataset)


@pytest.mark.parametrize(
    "changes", [{"max_sigma": 0.0}, {"max_sigma": 1.2}, {"num_videos": 0}, {"num_inference_steps": 0}]
)
def test_invalid_settings_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        ResampleConfig(**changes)


def numbered_videos(count=3, side=64, frames=5):
    """Videos and latents in which every latent pixel and its square of pixels have a colour of their own."""
    stride = VAE.stride.spatial
    rows, columns = np.divmod(np.arange((side // stride) ** 2), side // stride)
    pixels = np.zeros((count, frames, side, side, 3), np.uint8)
    for row, column in zip(rows, columns, strict=True):
        square = np.s_[:, :, row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
        pixels[square] = (10 * row, 10 * column, 0)
    latents = torch.zeros(count, VAE.z_dim, 2, side // stride, side // stride)
    latents[:, 0] = torch.from_numpy(10.0 * rows).view(side // stride, -1)
    latents[:, 1] = torch.from_numpy(10.0 * columns).view(side // stride, -1)
    return InMemoryVideos(pixels=pixels, texts=(("squares",),) * count), latents


def vae_config(**changes):
    base = VaeTrainConfig(
        batch_size=2, crop_size=16, precision="float32", decoder_only=True, resampled_p=1.0, model=VAE
    )
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_video_and_latent_crops_are_aligned(step, monkeypatch):
    videos, latents = numbered_videos()
    task = VaeTask(vae_config(), videos, videos, CPU, resampled_latents=latents)
    stride, captured = VAE.stride.spatial, []
    decode, reconstruction_loss = task.vae.decode_raw, task._reconstruction_loss
    monkeypatch.setattr(task.vae, "decode_raw", lambda z: (captured.append(z), decode(z))[1])
    monkeypatch.setattr(
        task,
        "_reconstruction_loss",
        lambda output, target: (captured.append(target), reconstruction_loss(output, target))[1],
    )
    task.loss(step, 0, 1)
    latent_crop, target = captured
    assert target.shape[-1] == (64 if step == 0 else 16)
    colours = ((target + 1) * 127.5)[:, :2, 0, ::stride, ::stride]
    assert (colours - task.vae.normalize(latent_crop)[:, :2, 0]).abs().max() < 1e-3


def test_microbatches_add_up_to_the_step():
    videos, latents = numbered_videos(4)
    task = VaeTask(vae_config(batch_size=4), videos, videos, CPU, resampled_latents=latents)
    whole = task.loss(1, 0, 1).value.item()
    assert sum(task.loss(1, part, 2).value.item() for part in range(2)) == pytest.approx(whole, rel=1e-5)


def test_decoder_learns_and_encoder_stays_frozen(tmp_path):
    videos, latents = numbered_videos()
    optimizer = OptimizerConfig(learning_rate=3e-3, muon_learning_rate=3e-3, warmup_steps=2)
    loop = LoopConfig(steps=30, validate_every=30, save_every=30, ema_decay=0.9, optimizer=optimizer)
    task = VaeTask(vae_config(loop=loop), videos, videos, CPU, resampled_latents=latents / 30)
    before = {name: value.clone() for name, value in task.vae.state_dict().items()}
    first = task.loss(0, 0, 1).value.item()
    for _ in train(task, loop, tmp_path, settings={}):
        pass
    assert task.loss(0, 0, 1).value.item() < 0.8 * first
    changed = {
        name.split(".")[0] for name, value in task.vae.state_dict().items() if not value.equal(before[name])
    }
    assert changed == {"decoder"}


def test_resampled_latents_need_decoder_only_training():
    videos, latents = numbered_videos()
    with pytest.raises(UserError, match="resampled_p=0"):
        VaeTask(vae_config(), videos, videos, CPU)
    with pytest.raises(UserError, match="decoder_only"):
        VaeTask(vae_config(decoder_only=False), videos, videos, CPU, resampled_latents=latents)
    assert isinstance(VaeTask(vae_config(resampled_p=0.0), videos, videos, CPU).vae, VideoVae)
