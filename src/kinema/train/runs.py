"""Training one part alone: an autoencoder, or a transformer over an autoencoder that is there.

A preset is a function that returns the whole configuration of a run; every setting of it can be changed by
name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.formats.native import load_vae, read_vae_config
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import small
from kinema.models.vae.autoencoder.autoencoder import VideoVae
from kinema.models.vae.autoencoder.vae_config import VaeConfig
from kinema.train import release
from kinema.train.dit import DitTask, DitTraining
from kinema.train.filming import Filming
from kinema.train.samples import SampleConfig
from kinema.train.sources import opened
from kinema.train.stages import (
    Bench,
    Progress,
    Store,
    autoencoder,
    encoded,
    filmed,
    finished_autoencoder,
    finished_transformer,
    kept_normalisation,
    latent_data,
    names,
    started,
    store,
    transformer,
)
from kinema.train.vae import VaeTask, VaeTraining


@dataclass(frozen=True, kw_only=True)
class FilmsConfig:
    """Which films a run trains on."""

    folders: tuple[str, ...] = ()
    """Films that are there, a folder for each shape; empty: they are filmed on the way."""
    held_out_share: float = 0.05
    """Of each folder, kept to validate on."""
    filming: Filming = field(default_factory=lambda: Filming(count=2048))
    """What is filmed, where no folder is given."""
    also: tuple[Filming, ...] = ()
    """Other shapes to film."""
    held_out: int = 128
    """Films of each shape to validate on, where they are filmed."""

    def held_out_of(self, filming: Filming) -> Filming:
        """Films to validate on, beside those to train on."""
        split = "test" if filming.lab else "all"
        return dataclasses.replace(filming, count=self.held_out, seed=filming.seed + 1, split=split)


@dataclass(frozen=True, kw_only=True)
class VaeRun:
    """A training of an autoencoder."""

    start: str = ""
    """Weights to go on from: a folder with a part `vae`, or `world` (shipped)."""
    films: FilmsConfig = field(default_factory=FilmsConfig)
    training: VaeTraining = field(default_factory=VaeTraining)


@dataclass(frozen=True, kw_only=True)
class DitRun:
    """A training of a transformer."""

    vae: str
    """The folder whose part `vae` is the autoencoder, or `world` (shipped)."""
    start: str = ""
    """Weights to go on from: an exported folder, or `world` (shipped)."""
    films: FilmsConfig = field(default_factory=FilmsConfig)
    training: DitTraining = field(default_factory=DitTraining)
    samples: SampleConfig = field(default_factory=SampleConfig)


def vae_lab() -> VaeRun:
    """For two cores: the lab at 128 x 128, some two hours."""
    recipe = release.lab(budget=7200.0)
    return VaeRun(training=_steps(recipe.vae, 6000))


def vae_whole() -> VaeRun:
    """For one GPU: the whole set at 128 x 128."""
    recipe = release.whole(budget=3600.0)
    films = FilmsConfig(filming=dataclasses.replace(recipe.filming, count=4096))
    return VaeRun(films=films, training=_steps(recipe.vae, 8000))


def vae_tiny() -> VaeRun:
    """To rehearse: it learns nothing worth having."""
    recipe = release.tiny(budget=1.0)
    films = FilmsConfig(filming=recipe.filming, held_out=4)
    return VaeRun(films=films, training=_steps(recipe.vae, 20))


def dit_lab(*, vae: str) -> DitRun:
    """For two cores: the lab."""
    recipe = release.lab(budget=7200.0)
    return DitRun(
        vae=vae,
        films=FilmsConfig(filming=recipe.filming),
        training=_steps(dataclasses.replace(recipe.dit, model=small(width=192)), 20000),
    )


def dit_whole(*, vae: str) -> DitRun:
    """For one GPU: the whole set in several sizes and lengths, with pictures between them."""
    recipe = release.whole(budget=3600.0)
    films = FilmsConfig(filming=recipe.filming, also=recipe.also, held_out=256)
    return DitRun(vae=vae, films=films, training=_steps(recipe.dit, 10000))


def dit_tiny(*, vae: str) -> DitRun:
    """To rehearse: it learns nothing worth having."""
    recipe = release.tiny(budget=1.0)
    films = FilmsConfig(filming=recipe.filming, also=recipe.also, held_out=4)
    return DitRun(vae=vae, films=films, training=_steps(recipe.dit, 20), samples=recipe.samples)


Training = TypeVar("Training", VaeTraining, DitTraining)


def _steps(training: Training, steps: int) -> Training:
    every = max(10, steps // 12)
    loop = dataclasses.replace(
        training.loop, steps=steps, validate_every=every, save_every=max(10, every // 2)
    )
    return dataclasses.replace(training, loop=loop)


def films_of(config: FilmsConfig, bench: Bench, made: list[Store]) -> Iterator[Progress]:
    """Open the films, or film them; the stores are appended to `made`."""
    if config.folders:
        for folder in config.folders:
            found = opened(Path(folder))
            count = max(1, round(config.held_out_share * len(found.films)))
            films, held = found.split(count)
            made.append(Store(films=films, held_out=held))
        return
    for number, filming in enumerate((config.filming, *config.also)):
        films, held = names(number)
        yield from filmed(bench, config.held_out_of(filming), held)
        yield from filmed(bench, filming, films)
        if bench.stopped():
            return
        made.append(store(bench, filming, config.held_out_of(filming), number))


def train_vae(config: VaeRun, bench: Bench) -> Iterator[Progress]:
    """Train an autoencoder; afterwards `trained_vae` gives it."""
    bench.run.mkdir(parents=True, exist_ok=True)
    made: list[Store] = []
    yield from films_of(config.films, bench, made)
    if bench.stopped():
        return
    begun = autoencoder_of(config.start, bench) if config.start else None
    if begun is not None and config.training.decoder_only:
        kept_normalisation(bench, begun)
    start = None if begun is None else begun.state_dict()
    task = VaeTask(config.training, made[0].films, made[0].held_out, bench.device, start=start)
    yield from autoencoder(bench, task, config.training)
    if not bench.stopped():
        finished_autoencoder(bench, config.training, made[0].held_out)


def trained_vae(config: VaeRun, bench: Bench) -> VideoVae:
    """The averaged weights of a finished run."""
    made: list[Store] = []
    for _ in films_of(config.films, bench, made):
        pass
    return finished_autoencoder(bench, config.training, made[0].held_out)


def train_dit(config: DitRun, bench: Bench) -> Iterator[Progress]:
    """Train a transformer; afterwards `trained_dit` gives it."""
    bench.run.mkdir(parents=True, exist_ok=True)
    vae = autoencoder_of(config.vae, bench)
    if vae.config.z_dim != config.training.model.in_channels:
        raise UserError(
            f"the autoencoder in {config.vae} has {vae.config.z_dim} latent channels and the transformer "
            f"{config.training.model.in_channels}; set training.model.in_channels and out_channels"
        )
    made: list[Store] = []
    yield from films_of(config.films, bench, made)
    if bench.stopped():
        return
    yield from encoded(bench, vae, made, precision=config.training.precision)
    data = latent_data(bench.run)
    start = started(config.start, bench.device).weights_for(config.training.model) if config.start else None
    task = DitTask(config.training, data.films, data.held_out, bench.device, start=start)
    yield from transformer(bench, task, config.training, vae, data, config.samples)


def trained_dit(config: DitRun, bench: Bench) -> Dit:
    """The averaged weights of a finished run: the best by tracked facts, where known, else the last."""
    return finished_transformer(bench, config.training.model)


def autoencoder_of(name: str, bench: Bench) -> VideoVae:
    """The autoencoder of `world` (shipped) or of a folder that holds one.

    Raises:
        UserError: there is none.
    """
    return load_vae(Path(name), device=bench.device) if _alone(name) else started(name, bench.device).vae


def shape_of(name: str) -> VaeConfig:
    """What `autoencoder_of` opens.

    Raises:
        UserError: there is none, or it is not one of our own.
    """
    return read_vae_config(Path(name)) if _alone(name) else open_model(name).vae


def _alone(name: str) -> bool:
    """Whether it is a folder in which there may be an autoencoder and nothing else."""
    return Path(name, "vae", "config.json").is_file()
