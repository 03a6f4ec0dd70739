"""Latents as the transformer makes them, and a decoder that is trained on them."""

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
    """Knows the film that every noised one stands for."""

    def __init__(self, dataset):
        super().__init__(small(width=64, layers=1, channels=4, grid=(2, 2)))
        self.films, self.levels = dataset, []

    def forward(self, latents, sigma, context, **_):
        level = float(sigma[0, 0])
        if latents.shape[0] == 2:  # the first batch; later ones go on from where it left off
            self.levels.append(level)
        near = torch.cdist(latents.flatten(1), self.films.latents.flatten(1) * (1 - level)).argmin(1)
        velocity = (latents - self.films.latents[near]) / level
        return velocity.repeat(context.batch // latents.shape[0], 1, 1, 1, 1)


def resample_all(dit, dataset, config):
    return torch.cat([batch for _, batch in resample_latents(dit, dataset, config, CPU, precision="float32")])


def test_exact_velocity_returns_the_clean_latents():
    films = make_latent_dataset()
    dit = ExactDit(films)
    made = resample_all(
        dit, films, ResampleConfig(num_videos=4, max_sigma=0.6, num_inference_steps=20, batch_size=2)
    )
    assert made.shape == films.latents[:4].shape
    assert (made - films.latents[:4]).abs().max() < 1e-5
    assert dit.levels
    assert max(dit.levels) <= 0.6


def test_zero_velocity_leaves_the_noise():
    """A fresh transformer's velocity is zero: the noise of the level stays, and it is each film's own."""
    films = make_latent_dataset()
    dit = Dit(small(width=64, layers=1, channels=4, grid=(2, 2))).eval()
    config = ResampleConfig(num_videos=99, max_sigma=0.7, num_inference_steps=10, batch_size=5, seed=3)
    made = resample_all(dit, films, config)
    level = sampling.linear_schedule(10).truncate(0.7 * rng.uniform(3, "worn level", 0)).sigmas[0]
    noise = torch.stack([rng.normal((4, 3, 4, 4), 3, "worn", index) for index in range(5)])
    assert 0 < level <= 0.7
    assert (made - sampling.add_noise(films.latents, noise, level)).abs().max() < 1e-5
    assert len(made) == len(films)


@pytest.mark.parametrize("changes", [{"level": 0.0}, {"level": 1.2}, {"films": 0}, {"steps": 0}])
def test_invalid_settings_are_refused(changes):
    with pytest.raises(ValueError, match="level"):
        ResampleConfig(**changes)


def numbered_videos(count=3, side=64, frames=5):
    """Films in which every square that one latent stands for has a colour of its own."""
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


def vae_train_config(**changes):
    return dataclasses.replace(
        VaeTrainConfig(
            batch_size=2, crop_size=16, precision="float32", decoder_only=True, resampled_p=1.0, model=VAE
        ),
        **changes,
    )


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_video_and_latent_crops_are_aligned(step, monkeypatch):
    films, latents = numbered_videos()
    task = VaeTask(vae_train_config(), films, films, CPU, resampled_latents=latents)
    stride, seen = VAE.stride.spatial, []
    decode = task.vae.decode_raw
    likeness = task._reconstruction_loss
    monkeypatch.setattr(task.vae, "decode_raw", lambda z: (seen.append(z), decode(z))[1])
    monkeypatch.setattr(
        task, "_reconstruction_loss", lambda made, true: (seen.append(true), likeness(made, true))[1]
    )
    task.loss(step, 0, 1)
    known, true = seen
    assert true.shape[-1] == (64 if step == 0 else 16)
    colours = ((true + 1) * 127.5)[:, :2, 0, ::stride, ::stride]
    assert (colours - task.vae.normalize(known)[:, :2, 0]).abs().max() < 1e-3


def test_microbatches_add_up_to_the_step():
    films, latents = numbered_videos(4)
    task = VaeTask(vae_train_config(batch=4), films, films, CPU, resampled_latents=latents)
    whole = task.loss(1, 0, 1).value.item()
    assert sum(task.loss(1, part, 2).value.item() for part in range(2)) == pytest.approx(whole, rel=1e-5)


def test_decoder_learns_and_encoder_stays_frozen(tmp_path):
    films, latents = numbered_videos()
    fast = OptimizerConfig(learning_rate=3e-3, muon_learning_rate=3e-3, warmup_steps=2)
    loop = LoopConfig(steps=30, validate_every=30, save_every=30, ema_decay=0.9, optimizer=fast)
    task = VaeTask(vae_train_config(loop=loop), films, films, CPU, resampled_latents=latents / 30)
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
    films, latents = numbered_videos()
    with pytest.raises(UserError, match="worn=0"):
        VaeTask(vae_train_config(), films, films, CPU)
    with pytest.raises(UserError, match="decoder_only"):
        VaeTask(vae_train_config(decoder_only=False), films, films, CPU, resampled_latents=latents)
    assert isinstance(VaeTask(vae_train_config(worn=0.0), films, films, CPU).vae, VideoVae)
