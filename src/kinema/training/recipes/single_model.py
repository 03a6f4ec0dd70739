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
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.training.dit_task import DitTask, DitTrainConfig
from kinema.training.recipes import full
from kinema.training.render_shards import RenderConfig
from kinema.training.stages import (
    DatasetSplit,
    Progress,
    RunContext,
    copy_latent_stats,
    encode_datasets,
    load_init_weights,
    load_latent_datasets,
    load_trained_autoencoder,
    load_trained_transformer,
    open_split,
    render_split,
    split_dirs,
    train_autoencoder,
    train_transformer,
)
from kinema.training.vae_task import VaeTask, VaeTrainConfig
from kinema.training.validation_samples import SampleConfig
from kinema.training.video_folder import open_dataset


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which films a run trains on."""

    folders: tuple[str, ...] = ()
    """Films that are there, a folder for each shape; empty: they are filmed on the way."""
    held_out_share: float = 0.05
    """Of each folder, kept to validate on."""
    render: RenderConfig = field(default_factory=lambda: RenderConfig(num_clips=2048))
    """What is filmed, where no folder is given."""
    extra_datasets: tuple[RenderConfig, ...] = ()
    """Other shapes to film."""
    num_held_out: int = 128
    """Films of each shape to validate on, where they are filmed."""

    def held_out_config(self, render_config: RenderConfig) -> RenderConfig:
        """Films to validate on, beside those to train on."""
        split = "test" if render_config.lab else "all"
        return dataclasses.replace(
            render_config, num_clips=self.num_held_out, seed=render_config.seed + 1, split=split
        )


@dataclass(frozen=True, kw_only=True)
class VaeRunConfig:
    """A training of an autoencoder."""

    init_from: str = ""
    """Weights to go on from: a folder with a part `vae`, or `world` (shipped)."""
    data: DataConfig = field(default_factory=DataConfig)
    training: VaeTrainConfig = field(default_factory=VaeTrainConfig)


@dataclass(frozen=True, kw_only=True)
class DitRunConfig:
    """A training of a transformer."""

    vae: str
    """The folder whose part `vae` is the autoencoder, or `world` (shipped)."""
    init_from: str = ""
    """Weights to go on from: an exported folder, or `world` (shipped)."""
    data: DataConfig = field(default_factory=DataConfig)
    training: DitTrainConfig = field(default_factory=DitTrainConfig)
    samples: SampleConfig = field(default_factory=SampleConfig)


def vae_lab() -> VaeRunConfig:
    """For two cores: the lab at 128 x 128, some two hours."""
    recipe = full.lab(budget=7200.0)
    return VaeRunConfig(training=_with_steps(recipe.vae, 6000))


def vae_full_simulator() -> VaeRunConfig:
    """For one GPU: the whole set at 128 x 128."""
    recipe = full.full_simulator(budget=3600.0)
    films = DataConfig(render=dataclasses.replace(recipe.render, num_clips=4096))
    return VaeRunConfig(data=films, training=_with_steps(recipe.vae, 8000))


def vae_tiny() -> VaeRunConfig:
    """To rehearse: it learns nothing worth having."""
    recipe = full.tiny(budget=1.0)
    films = DataConfig(render=recipe.render, num_held_out=4)
    return VaeRunConfig(data=films, training=_with_steps(recipe.vae, 20))


def dit_lab(*, vae: str) -> DitRunConfig:
    """For two cores: the lab."""
    recipe = full.lab(budget=7200.0)
    return DitRunConfig(
        vae=vae,
        data=DataConfig(render=recipe.render),
        training=_with_steps(dataclasses.replace(recipe.dit, model=small(width=192)), 20000),
    )


def dit_full_simulator(*, vae: str) -> DitRunConfig:
    """For one GPU: the whole set in several sizes and lengths, with pictures between them."""
    recipe = full.full_simulator(budget=3600.0)
    films = DataConfig(render=recipe.render, extra_datasets=recipe.extra_datasets, num_held_out=256)
    return DitRunConfig(vae=vae, data=films, training=_with_steps(recipe.dit, 10000))


def dit_tiny(*, vae: str) -> DitRunConfig:
    """To rehearse: it learns nothing worth having."""
    recipe = full.tiny(budget=1.0)
    films = DataConfig(render=recipe.render, extra_datasets=recipe.extra_datasets, num_held_out=4)
    return DitRunConfig(vae=vae, data=films, training=_with_steps(recipe.dit, 20), samples=recipe.samples)


TrainConfig = TypeVar("TrainConfig", VaeTrainConfig, DitTrainConfig)


def _with_steps(training: TrainConfig, steps: int) -> TrainConfig:
    every = max(10, steps // 12)
    loop = dataclasses.replace(
        training.loop, steps=steps, validate_every=every, save_every=max(10, every // 2)
    )
    return dataclasses.replace(training, loop=loop)


def prepare_datasets(
    config: DataConfig, run_context: RunContext, splits: list[DatasetSplit]
) -> Iterator[Progress]:
    """Open the films, or film them; the stores are appended to `splits`."""
    if config.folders:
        for folder in config.folders:
            found = open_dataset(Path(folder))
            count = max(1, round(config.held_out_share * len(found.videos)))
            films, held = found.split(count)
            splits.append(DatasetSplit(train=films, held_out=held))
        return
    for number, filming in enumerate((config.render, *config.extra_datasets)):
        films, held = split_dirs(number)
        yield from render_split(run_context, config.held_out_config(filming), held)
        yield from render_split(run_context, filming, films)
        if run_context.stop_requested():
            return
        splits.append(open_split(run_context, filming, config.held_out_config(filming), number))


def train_vae(config: VaeRunConfig, run_context: RunContext) -> Iterator[Progress]:
    """Train an autoencoder; afterwards `load_trained_vae` gives it."""
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    made: list[DatasetSplit] = []
    yield from prepare_datasets(config.data, run_context, made)
    if run_context.stop_requested():
        return
    begun = load_autoencoder(config.init_from, run_context) if config.init_from else None
    if begun is not None and config.training.decoder_only:
        copy_latent_stats(run_context, begun)
    start = None if begun is None else begun.state_dict()
    task = VaeTask(config.training, made[0].train, made[0].held_out, run_context.device, init_weights=start)
    yield from train_autoencoder(run_context, task, config.training)
    if not run_context.stop_requested():
        load_trained_autoencoder(run_context, config.training, made[0].held_out)


def load_trained_vae(config: VaeRunConfig, run_context: RunContext) -> VideoVae:
    """The averaged weights of a finished run."""
    made: list[DatasetSplit] = []
    for _ in prepare_datasets(config.data, run_context, made):
        pass
    return load_trained_autoencoder(run_context, config.training, made[0].held_out)


def train_dit(config: DitRunConfig, run_context: RunContext) -> Iterator[Progress]:
    """Train a transformer; afterwards `load_trained_dit` gives it."""
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    vae = load_autoencoder(config.vae, run_context)
    if vae.config.z_dim != config.training.model.in_channels:
        raise UserError(
            f"the autoencoder in {config.vae} has {vae.config.z_dim} latent channels and the transformer "
            f"{config.training.model.in_channels}; set training.model.in_channels and out_channels"
        )
    made: list[DatasetSplit] = []
    yield from prepare_datasets(config.data, run_context, made)
    if run_context.stop_requested():
        return
    yield from encode_datasets(run_context, vae, made, precision=config.training.precision)
    data = load_latent_datasets(run_context.run_dir)
    start = (
        load_init_weights(config.init_from, run_context.device).dit_weights_for(config.training.model)
        if config.init_from
        else None
    )
    task = DitTask(config.training, data.train, data.held_out, run_context.device, init_weights=start)
    yield from train_transformer(run_context, task, config.training, vae, data, config.samples)


def load_trained_dit(config: DitRunConfig, run_context: RunContext) -> Dit:
    """The averaged weights of a finished run: the best by tracked facts, where known, else the last."""
    return load_trained_transformer(run_context, config.training.model)


def load_autoencoder(name: str, run_context: RunContext) -> VideoVae:
    """The autoencoder of `world` (shipped) or of a folder that holds one.

    Raises:
        UserError: there is none.
    """
    return (
        load_vae(Path(name), device=run_context.device)
        if _is_vae_only_dir(name)
        else load_init_weights(name, run_context.device).vae
    )


def read_autoencoder_config(name: str) -> VaeConfig:
    """What `load_autoencoder` opens.

    Raises:
        UserError: there is none, or it is not one of our own.
    """
    return read_vae_config(Path(name)) if _is_vae_only_dir(name) else open_model(name).vae


def _is_vae_only_dir(name: str) -> bool:
    """Whether it is a folder in which there may be an autoencoder and nothing else."""
    return Path(name, "vae", "config.json").is_file()
