"""Train an autoencoder alone. A preset is a function that returns all settings of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kinema.data.dataset import DatasetSplit, join_splits
from kinema.models.formats.loader import open_model
from kinema.models.formats.native import load_vae, read_vae_config
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.training.recipes import full_config
from kinema.training.recipes.datasets import DataConfig, prepare_datasets
from kinema.training.run_context import Progress, RunContext
from kinema.training.stages import (
    copy_latent_stats,
    load_trained_autoencoder,
    train_autoencoder,
)
from kinema.training.vae_task import VaeTask, VaeTrainConfig


@dataclass(frozen=True, kw_only=True)
class VaeRunConfig:
    """Settings of a run that trains an autoencoder.

    Attributes:
        init_from: weights to start from: `world` (shipped), or a folder with a part `vae`; empty starts
            from scratch.
        data: the videos.
        training: settings of the training.
    """

    init_from: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    training: VaeTrainConfig = field(default_factory=VaeTrainConfig)


def lab() -> VaeRunConfig:
    """Return the preset for two CPU cores: the lab at 128 x 128, about two hours."""
    recipe = full_config.lab(budget=7200.0)
    loop = recipe.vae.loop.with_steps(6000)
    return VaeRunConfig(training=dataclasses.replace(recipe.vae, loop=loop))


def full_simulator() -> VaeRunConfig:
    """Return the preset for one GPU: the whole simulator at 128 x 128."""
    recipe = full_config.full_simulator(budget=3600.0)
    data = DataConfig(render=dataclasses.replace(recipe.render, num_clips=4096))
    loop = recipe.vae.loop.with_steps(8000)
    return VaeRunConfig(data=data, training=dataclasses.replace(recipe.vae, loop=loop))


def tiny() -> VaeRunConfig:
    """Return the preset for tests, which ends in seconds with a useless model."""
    recipe = full_config.tiny(budget=1.0)
    data = DataConfig(render=recipe.render, num_held_out=4)
    loop = recipe.vae.loop.with_steps(20)
    return VaeRunConfig(data=data, training=dataclasses.replace(recipe.vae, loop=loop))


def train_vae(config: VaeRunConfig, run_context: RunContext) -> Iterator[Progress]:
    """Train an autoencoder and yield the progress. Afterwards `load_trained_vae` returns it."""
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    splits: list[DatasetSplit] = []
    yield from prepare_datasets(config.data, run_context, splits)
    if run_context.stop_requested():
        return
    init = load_autoencoder(config.init_from, run_context) if config.init_from else None
    if init is not None and config.training.decoder_only:
        copy_latent_stats(run_context, init)
    split = _joined_split(config, splits)
    task = VaeTask(
        config.training,
        split.train,
        split.held_out,
        run_context.device,
        init_weights=None if init is None else init.state_dict(),
    )
    yield from train_autoencoder(run_context, task, config.training)
    if not run_context.stop_requested():
        load_trained_autoencoder(run_context, config.training, split.held_out)


def _joined_split(config: VaeRunConfig, splits: Sequence[DatasetSplit]) -> DatasetSplit:
    """Return all sets or rendered datasets as one; of folders the first."""
    return splits[0] if config.data.folders else join_splits(splits)


def load_trained_vae(config: VaeRunConfig, run_context: RunContext) -> VideoVae:
    """Load the averaged weights of a finished run."""
    splits: list[DatasetSplit] = []
    for _ in prepare_datasets(config.data, run_context, splits):
        pass
    split = _joined_split(config, splits)
    return load_trained_autoencoder(run_context, config.training, split.held_out)


def load_autoencoder(name: str, run_context: RunContext) -> VideoVae:
    """Load the autoencoder of the shipped model (`world`), or of a folder.

    Raises:
        UserError: there is none.
    """
    device = run_context.device
    return load_vae(Path(name), device=device) if _has_vae(name) else open_model(name).load_vae(device=device)


def read_autoencoder_config(name: str) -> VaeConfig:
    """Read the configuration of the autoencoder that `load_autoencoder` loads.

    Raises:
        UserError: there is none.
    """
    return read_vae_config(Path(name)) if _has_vae(name) else open_model(name).vae


def _has_vae(name: str) -> bool:
    """Return whether a folder has an autoencoder in our format, possibly without the rest of a model."""
    return Path(name, "vae", "config.json").is_file()
