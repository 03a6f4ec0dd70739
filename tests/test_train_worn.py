"""Latents as the transformer makes them, and a decoder that is trained on them."""

import dataclasses

import numpy as np
import pytest
import torch
from kinema.models.vae.autoencoder.autoencoder import VideoVae
from kinema.models.vae.autoencoder.vae_config import VaeConfig

from kinema import sampling
from kinema.errors import UserError
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import small
from kinema.train import chance
from kinema.train.films import HeldFilms
from kinema.train.latents import LatentFilms
from kinema.train.loop import LoopConfig, train
from kinema.train.optimizer import OptimizerConfig
from kinema.train.vae import VaeTask, VaeTraining
from kinema.train.worn import WornConfig, worn

CPU = torch.device("cpu")
VAE = VaeConfig.tiny(patchified=True)


def latent_films(count=5):
    generator = torch.Generator().manual_seed(0)
    return LatentFilms(
        latents=torch.randn(count, 4, 3, 4, 4, generator=generator),
        captions=tuple((index % 2,) for index in range(count)),
        states=tuple(torch.randn(3, 384, generator=generator) for _ in range(3)),
    )


class Exact(Dit):
    """Knows the film that every noised one stands for."""

    def __init__(self, films):
        super().__init__(small(width=64, layers=1, channels=4, grid=(2, 2)))
        self.films, self.levels = films, []

    def forward(self, latents, time, context, **_):
        level = float(time[0, 0])
        if latents.shape[0] == 2:  # the first batch; later ones go on from where it left off
            self.levels.append(level)
        near = torch.cdist(latents.flatten(1), self.films.latents.flatten(1) * (1 - level)).argmin(1)
        velocity = (latents - self.films.latents[near]) / level
        return velocity.repeat(context.batch // latents.shape[0], 1, 1, 1, 1)


def everything(dit, films, config):
    return torch.cat([batch for _, batch in worn(dit, films, config, CPU, precision="float32")])


def test_with_the_true_velocity_nothing_wears_off():
    films = latent_films()
    dit = Exact(films)
    made = everything(dit, films, WornConfig(films=4, level=0.6, steps=20, batch=2))
    assert made.shape == films.latents[:4].shape
    assert (made - films.latents[:4]).abs().max() < 1e-5
    assert dit.levels
    assert max(dit.levels) <= 0.6


def test_noise_stays_where_the_transformer_knows_nothing():
    """A fresh transformer's velocity is zero: the noise of the level stays, and it is each film's own."""
    films = latent_films()
    dit = Dit(small(width=64, layers=1, channels=4, grid=(2, 2))).eval()
    config = WornConfig(films=99, level=0.7, steps=10, batch=5, seed=3)
    made = everything(dit, films, config)
    level = sampling.linear_schedule(10).truncate(0.7 * chance.uniform(3, "worn level", 0)).sigmas[0]
    noise = torch.stack([chance.normal((4, 3, 4, 4), 3, "worn", index) for index in range(5)])
    assert 0 < level <= 0.7
    assert (made - sampling.add_noise(films.latents, noise, level)).abs().max() < 1e-5
    assert len(made) == len(films)


@pytest.mark.parametrize("changes", [{"level": 0.0}, {"level": 1.2}, {"films": 0}, {"steps": 0}])
def test_settings_that_mean_nothing_are_refused(changes):
    with pytest.raises(ValueError, match="level"):
        WornConfig(**changes)


def numbered(count=3, side=64, frames=5):
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
    return HeldFilms(pixels=pixels, texts=(("squares",),) * count), latents


def training(**changes):
    return dataclasses.replace(
        VaeTraining(batch=2, crop=16, precision="float32", decoder_only=True, worn=1.0, model=VAE), **changes
    )


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_crops_of_films_and_of_latents_show_the_same(step, monkeypatch):
    films, latents = numbered()
    task = VaeTask(training(), films, films, CPU, worn=latents)
    stride, seen = VAE.stride.spatial, []
    decode = task.vae.decode_raw
    likeness = task._likeness
    monkeypatch.setattr(task.vae, "decode_raw", lambda z: (seen.append(z), decode(z))[1])
    monkeypatch.setattr(task, "_likeness", lambda made, true: (seen.append(true), likeness(made, true))[1])
    task.loss(step, 0, 1)
    known, true = seen
    assert true.shape[-1] == (64 if step == 0 else 16)
    colours = ((true + 1) * 127.5)[:, :2, 0, ::stride, ::stride]
    assert (colours - task.vae.normalize(known)[:, :2, 0]).abs().max() < 1e-3


def test_a_step_in_parts_is_the_step():
    films, latents = numbered(4)
    task = VaeTask(training(batch=4), films, films, CPU, worn=latents)
    whole = task.loss(1, 0, 1).value.item()
    assert sum(task.loss(1, part, 2).value.item() for part in range(2)) == pytest.approx(whole, rel=1e-5)


def test_the_decoder_learns_and_the_encoder_stays(tmp_path):
    films, latents = numbered()
    fast = OptimizerConfig(learning_rate=3e-3, muon_learning_rate=3e-3, warmup=2)
    loop = LoopConfig(steps=30, validate_every=30, save_every=30, ema=0.9, optimizer=fast)
    task = VaeTask(training(loop=loop), films, films, CPU, worn=latents / 30)
    before = {name: value.clone() for name, value in task.vae.state_dict().items()}
    first = task.loss(0, 0, 1).value.item()
    for _ in train(task, loop, tmp_path, settings={}):
        pass
    assert task.loss(0, 0, 1).value.item() < 0.8 * first
    changed = {
        name.split(".")[0] for name, value in task.vae.state_dict().items() if not value.equal(before[name])
    }
    assert changed == {"decoder"}


def test_worn_latents_need_a_transformer_and_a_still_encoder():
    films, latents = numbered()
    with pytest.raises(UserError, match="worn=0"):
        VaeTask(training(), films, films, CPU)
    with pytest.raises(UserError, match="decoder_only"):
        VaeTask(training(decoder_only=False), films, films, CPU, worn=latents)
    assert isinstance(VaeTask(training(worn=0.0), films, films, CPU).vae, VideoVae)
