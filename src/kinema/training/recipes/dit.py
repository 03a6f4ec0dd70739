"""Train a transformer over an existing autoencoder. A preset is a function that returns all settings of a
run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

from kinema.data.dataset import DatasetSplit
from kinema.data.latent_cache import load_latent_datasets
from kinema.errors import UserError
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import small
from kinema.training.dit_task import DitTask, DitTrainConfig
from kinema.training.recipes import full_config
from kinema.training.recipes.datasets import DataConfig, prepare_datasets
from kinema.training.recipes.vae import load_autoencoder
from kinema.training.run_context import Progress, RunContext
from kinema.training.stages import (
    encode_datasets,
    load_init_weights,
    load_trained_transformer,
    train_transformer,
)
from kinema.training.validation_samples import SampleConfig


@dataclass(frozen=True, kw_only=True)
class DitRunConfig:
    """Settings of a run that trains a transformer.

    Attributes:
        vae: the autoencoder: `world` (shipped), or a folder with a part `vae`.
        init_from: weights to start from: `world` (shipped), or an exported folder; empty starts from scratch.
        data: the videos.
        training: settings of the training.
        samples: settings of the validation samples.
    """

    vae: str
    init_from: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    training: DitTrainConfig = field(default_factory=DitTrainConfig)
    samples: SampleConfig = field(default_factory=SampleConfig)


def lab(*, vae: str) -> DitRunConfig:
    """Return the preset for two CPU cores: the lab."""
    recipe = full_config.lab(budget=7200.0)
    return DitRunConfig(
        vae=vae,
        data=DataConfig(render=recipe.render),
        training=dataclasses.replace(
            recipe.dit, model=small(width=192), loop=recipe.dit.loop.with_steps(20000)
        ),
    )


def full_simulator(*, vae: str) -> DitRunConfig:
    """Return the preset for one GPU: the whole simulator in several shapes, and images."""
    recipe = full_config.full_simulator(budget=3600.0)
    return DitRunConfig(
        vae=vae,
        data=DataConfig(render=recipe.render, extra_datasets=recipe.extra_datasets, num_held_out=256),
        training=dataclasses.replace(recipe.dit, loop=recipe.dit.loop.with_steps(10000)),
    )


def tiny(*, vae: str) -> DitRunConfig:
    """Return the preset for tests, which ends in seconds with a useless model."""
    recipe = full_config.tiny(budget=1.0)
    return DitRunConfig(
        vae=vae,
        data=DataConfig(render=recipe.render, extra_datasets=recipe.extra_datasets, num_held_out=4),
        training=dataclasses.replace(recipe.dit, loop=recipe.dit.loop.with_steps(20)),
        samples=recipe.samples,
    )


def train_dit(config: DitRunConfig, run_context: RunContext) -> Iterator[Progress]:
    """Train a transformer and yield the progress. Afterwards `load_trained_dit` returns it.

    Raises:
        UserError: the autoencoder and the transformer have different numbers of latent channels.
    """
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    vae = load_autoencoder(config.vae, run_context)
    model = config.training.model
    if vae.config.z_dim != model.in_channels:
        raise UserError(
            f"the autoencoder in {config.vae} has {vae.config.z_dim} latent channels and the transformer "
            f"{model.in_channels}; set training.model.in_channels and out_channels"
        )
    splits: list[DatasetSplit] = []
    yield from prepare_datasets(config.data, run_context, splits)
    if run_context.stop_requested():
        return
    yield from encode_datasets(run_context, vae, splits, precision=config.training.precision)
    if run_context.stop_requested():
        return
    data = load_latent_datasets(run_context.run_dir)
    init_weights = None
    if config.init_from:
        init_weights = load_init_weights(config.init_from, run_context.device).dit_weights_for(model)
    task = DitTask(
        config.training,
        data.train,
        data.held_out,
        run_context.device,
        init_weights=init_weights,
        shard_tokens=run_context.dist_context.sequence,
    )
    yield from train_transformer(run_context, task, config.training, vae, data, config.samples)


def load_trained_dit(config: DitRunConfig, run_context: RunContext) -> Dit:
    """Load the averaged weights of a finished run: the best by the lab score, where known, else the last."""
    return load_trained_transformer(run_context, config.training.model)
