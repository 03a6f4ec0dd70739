"""Train a transformer over an existing autoencoder. A preset is a function that returns all settings of a
run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from kinema.data.dataset import DatasetSplit
from kinema.data.latent_cache import LatentDatasets, load_latent_datasets
from kinema.errors import UserError
from kinema.models.formats.loader import open_model, refuse_distilled
from kinema.models.formats.native import KinemaCheckpoint
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import small
from kinema.training.distill_task import DistillConfig, DistillTask
from kinema.training.dit_task import DitTask, DitTrainConfig
from kinema.training.recipes import full_config
from kinema.training.recipes.datasets import DataConfig, prepare_datasets
from kinema.training.recipes.vae import load_autoencoder
from kinema.training.run_context import Progress, RunContext
from kinema.training.stages import (
    encode_datasets,
    load_init_transformer,
    load_init_weights,
    load_trained_transformer,
    train_transformer,
    write_trajectories,
)
from kinema.training.validation_samples import SampleConfig

DISTILL_LEARNING_RATE_SCALE = 0.3
"""Learning rates of distillation over those of training: the student starts close to its goal."""
DISTILL_CAPTION_DROPOUT = 0.02
"""The student has no guidance, so the empty prompt is a prompt like any other."""
DISTILL_EMA_DECAY = 0.99
"""For a short training."""
EPOCHS_OF_DISTILLATION = 10
"""How often the student trains on each trajectory, in one of its windows."""


@dataclass(frozen=True, kw_only=True)
class DitRunConfig:
    """Settings of a run that trains a transformer.

    Attributes:
        vae: the autoencoder: `world` (shipped), or a folder with a part `vae`.
        init_from: weights to start from: `world-teacher` (shipped), or an exported folder; empty starts
            from scratch.
        init_blocks_from: a model over another autoencoder whose transformer blocks initialise the new
            transformer; it has the same width and depth. Not together with `init_from`.
        data: the videos.
        training: settings of the training.
        samples: settings of the validation samples.
        distill: distil the model of `init_from` to few steps; None trains on the videos themselves.
    """

    vae: str
    init_from: str = ""
    init_blocks_from: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    training: DitTrainConfig = field(default_factory=DitTrainConfig)
    samples: SampleConfig = field(default_factory=SampleConfig)
    distill: DistillConfig | None = None

    def __post_init__(self) -> None:
        if self.distill is not None and not self.init_from:
            raise UserError("distillation needs a teacher; set init_from, or give --model")
        if self.distill is not None and self.init_blocks_from:
            raise UserError("distillation starts from the teacher; omit init_blocks_from")
        full_config.require_one_source(self.init_from, self.init_blocks_from)


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


def distilled(
    config: DitRunConfig,
    model: str,
    *,
    num_steps: int,
    guidance_scale: float | None = None,
    init_from: str = "",
) -> DitRunConfig:
    """Return the settings of a preset for distilling a model.

    Args:
        config: a preset; its data stay.
        model: name or folder of the teacher.
        num_steps: solver steps of the distilled model.
        guidance_scale: of the teacher; None: the model's own.
        init_from: name or folder of a distilled model from which the student starts; empty: the teacher.

    Raises:
        UserError: it is not a model of this trainer, or is distilled already.
    """
    teacher = open_model(model)
    if not isinstance(teacher, KinemaCheckpoint):
        raise UserError(
            f"{teacher.name} can't be distilled here: distillation trains models that `kinema train` made; "
            "for Wan use step-distilled weights (docs/guides/wan.md)"
        )
    refuse_distilled(teacher)
    if init_from and not isinstance(open_model(init_from), KinemaCheckpoint):
        raise UserError(f"{init_from} has another kind of transformer than {model}; leave out --from")
    if guidance_scale is None:
        guidance_scale = teacher.sampling_defaults.guidance_scale[0]
    # A shorter preset has fewer trajectories.
    num_batches = min(DistillConfig.num_batches, max(1, config.training.loop.steps // EPOCHS_OF_DISTILLATION))
    distill = DistillConfig(
        num_steps=num_steps, guidance_scale=guidance_scale, num_batches=num_batches, init_from=init_from
    )
    loop = config.training.loop.with_steps(EPOCHS_OF_DISTILLATION * num_batches)
    optimizer = dataclasses.replace(
        loop.optimizer,
        learning_rate=DISTILL_LEARNING_RATE_SCALE * loop.optimizer.learning_rate,
        muon_learning_rate=DISTILL_LEARNING_RATE_SCALE * loop.optimizer.muon_learning_rate,
    )
    return dataclasses.replace(
        config,
        vae=model,
        init_from=model,
        distill=distill,
        training=dataclasses.replace(
            config.training,
            model=teacher.dit,
            caption_dropout=DISTILL_CAPTION_DROPOUT,
            loop=dataclasses.replace(loop, ema_decay=DISTILL_EMA_DECAY, optimizer=optimizer),
        ),
        samples=dataclasses.replace(
            config.samples, num_inference_steps=distill.num_steps, guidance_scale=1.0
        ),
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
    task = _build_task(config, data, run_context)
    if isinstance(task, DistillTask):
        yield from write_trajectories(run_context, task)
        if run_context.stop_requested():
            return
    yield from train_transformer(run_context, task, config.training, vae, data, config.samples)


def _build_task(config: DitRunConfig, data: LatentDatasets, run_context: RunContext) -> DitTask:
    model, device = config.training.model, run_context.device
    shard_tokens = run_context.dist_context.sequence
    if config.distill is not None:
        teacher = open_model(config.init_from).load_transformer(dtype=torch.float32, device=device)
        student = None
        if config.distill.init_from:
            student = load_init_transformer(config.distill.init_from, model, device)
        return DistillTask(
            config.training, config.distill, teacher, data.train, data.held_out, device,
            init_weights=student, shard_tokens=shard_tokens,
        )  # fmt: skip
    init_weights, block_weights = load_init_weights(config.init_from, config.init_blocks_from, model, device)
    return DitTask(
        config.training,
        data.train,
        data.held_out,
        device,
        init_weights=init_weights,
        block_weights=block_weights,
        shard_tokens=shard_tokens,
    )


def load_trained_dit(config: DitRunConfig, run_context: RunContext) -> Dit:
    """Load the averaged weights of a finished run: the best by the lab score, where known, else the last."""
    return load_trained_transformer(run_context, config.training.model)
