"""The full recipe: from nothing to an exported model within a time budget.

    render clips -> train the autoencoder -> encode -> train the transformer -> fine-tune the decoder

An interrupted recipe resumes where it stopped. The number of steps that fit into the budget is measured
once and stored, so that a resumed run has the same schedule.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kinema.atomic_io import write_text
from kinema.data.dataset import DatasetSplit
from kinema.data.latent_cache import LatentDatasets, load_latent_datasets
from kinema.data.video_shards import open_shards
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import small
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.simulator.annotations import Event
from kinema.training import checkpoint
from kinema.training.dit_task import DitTask, DitTrainConfig
from kinema.training.loop import LoopConfig
from kinema.training.optimizer import OptimizerConfig
from kinema.training.render_shards import RenderConfig, background_rendering
from kinema.training.resampled_latents import ResampleConfig
from kinema.training.run_context import Progress, RunContext
from kinema.training.stages import (
    InitWeights,
    encode_datasets,
    load_autoencoder_weights,
    load_init_weights,
    load_resampled_latents,
    load_trained_autoencoder,
    load_trained_transformer,
    open_split,
    render_split,
    split_dirs,
    train_autoencoder,
    train_transformer,
    write_resampled_latents,
)
from kinema.training.step_budget import fit_steps_to_budget
from kinema.training.vae_task import VaeTask, VaeTrainConfig
from kinema.training.validation_samples import SampleConfig

MOTION_EVENTS: tuple[tuple[Event, float], ...] = (
    ("collide", 0.34),
    ("roll", 0.26),
    ("occlude", 0.16),
    ("drop", 0.14),
    ("camera", 0.10),
)
"""Lab events of the clips that are cut into windows, for training extension and streaming. In longer clips
the same events happen more slowly."""
VIDEO_COUNTS_FILE = "video_counts.json"
"""Number of clips of each dataset that the run trains on."""
VAE_VALIDATIONS = 4
"""Validations of an autoencoder training. Each reconstructs all held-out videos, which takes as long as
some steps."""
DIT_BUDGET_SHARE = 0.95
"""The transformer gets this share of the budget, less the shares of the other stages."""


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """Settings of the full recipe.

    Attributes:
        budget: seconds for the whole run.
        render: clips of the first dataset.
        held_out: clips of the first dataset to validate on, from the test split.
        vae: autoencoder training.
        dit: transformer training.
        extra_datasets: clips of other shapes or domains; the transformer trains on all datasets in turn.
        init_from: a model to start from, `world` (shipped) or an exported folder. Its autoencoder is kept.
        init_blocks_from: a model whose transformer blocks initialise the new transformer, with a new
            autoencoder.
        samples: validation samples.
        decoder: decoder fine-tuning after the transformer training; None skips it.
        decoder_share: share of the budget for it.
        resample: of the latents for decoder fine-tuning.
        vae_num_videos: the autoencoder trains on this many clips while the others are rendered.
        vae_share: share of the budget, after the first clips are rendered, for the autoencoder.
        render_share: share of the budget for further rendering; then training continues with the clips that
            exist. None renders all clips.
    """

    budget: float
    render: RenderConfig
    held_out: RenderConfig
    vae: VaeTrainConfig = field(default_factory=VaeTrainConfig)
    dit: DitTrainConfig = field(default_factory=DitTrainConfig)
    extra_datasets: tuple[RenderConfig, ...] = ()
    init_from: str = ""
    init_blocks_from: str = ""
    samples: SampleConfig = field(default_factory=SampleConfig)
    decoder: VaeTrainConfig | None = None
    decoder_share: float = 0.1
    resample: ResampleConfig = field(default_factory=ResampleConfig)
    vae_num_videos: int = 1536
    vae_share: float = 0.38
    render_share: float | None = None

    @property
    def datasets(self) -> tuple[RenderConfig, ...]:
        """All datasets to render."""
        return (self.render, *self.extra_datasets)

    def held_out_config(self, dataset_index: int) -> RenderConfig:
        """Return the held-out clips of a dataset."""
        if dataset_index == 0:
            return self.held_out
        dataset = self.extra_datasets[dataset_index - 1]
        return dataclasses.replace(
            dataset,
            num_clips=max(4, self.held_out.num_clips // 4),
            seed=dataset.seed + 1,
            split="test" if dataset.lab else "all",
        )

    def vae_render_config(self) -> RenderConfig:
        """Return the clips that the autoencoder trains on: whole shards, which rendering continues from."""
        num_shards = -(-min(self.vae_num_videos, self.render.num_clips) // self.render.shard_size)
        num_clips = min(num_shards * self.render.shard_size, self.render.num_clips)
        return dataclasses.replace(self.render, num_clips=num_clips)


def lab(*, budget: float, num_videos: int = 8192) -> RecipeConfig:
    """Return the preset for two CPU cores: the lab at 128 x 128, 17 frames at 8 fps.

    The autoencoder has one spatial downsampling more than `VaeConfig.small`: a plain object on an even
    floor needs no more latents at 128 pixels than at 64, and the transformer's cost stays the same. Its
    first and last layers are wide, because 48 channels blurred the four frames of a moving object that
    share a latent frame.

    Args:
        budget: seconds for the whole run.
        num_videos: clips of the first dataset.
    """
    autoencoder = dataclasses.replace(
        VaeConfig.small(),
        base_dim=96,
        z_dim=24,
        dim_mult=(1, 1, 2),
        temporal_downsample=(False, False),
        latents_mean=(0.0,) * 24,
        latents_std=(1.0,) * 24,
    )
    return RecipeConfig(
        budget=budget,
        render=RenderConfig(num_clips=num_videos),
        held_out=RenderConfig(num_clips=192, split="test", seed=1),
        extra_datasets=(
            RenderConfig(
                num_clips=max(64, num_videos // 6),
                num_frames=41,
                seed=2,
                events=MOTION_EVENTS,
                window_frames=17,
            ),
            RenderConfig(
                num_clips=max(64, num_videos // 8),
                num_frames=25,
                seed=4,
                events=MOTION_EVENTS,
                window_frames=17,
            ),
        ),
        vae=VaeTrainConfig(batch_size=4, crop_size=64, compile_blocks=True, model=autoencoder),
        vae_share=0.36,
        samples=SampleConfig(num_samples=24),
        decoder=VaeTrainConfig(
            seed=1,
            batch_size=4,
            crop_size=64,
            compile_blocks=True,
            decoder_only=True,
            resampled_p=0.5,
            model=autoencoder,
            loop=LoopConfig(
                ema_decay=0.998,
                optimizer=OptimizerConfig(
                    learning_rate=1.5e-3,
                    muon_learning_rate=1.5e-3,
                    betas=(0.9, 0.99),
                    warmup_steps=30,
                    decay_share=0.8,
                ),
            ),
        ),
        dit=DitTrainConfig(
            batch_size=24,
            compile_blocks=True,
            plain_caption_p=0.6,
            model=small(width=192, layers=6, channels=24, grid=(4, 4)),
        ),
    )


def full_simulator(*, budget: float, num_videos: int = 20000) -> RecipeConfig:
    """Return the preset for one large GPU: the whole simulator at 128 x 128, 33 frames at 12 fps.

    Further datasets are landscape and portrait, shorter and larger videos, and the lab, which is evaluated.

    Args:
        budget: seconds for the whole run.
        num_videos: clips of the first dataset.
    """
    square = RenderConfig(
        num_clips=num_videos,
        height=128,
        width=128,
        num_frames=33,
        fps=12.0,
        lab=False,
        events=(),
        split="all",
    )

    def other(share: float, width: int, height: int, frames: int) -> RenderConfig:
        return dataclasses.replace(
            square,
            num_clips=max(square.shard_size, int(num_videos * share)),
            width=width,
            height=height,
            num_frames=frames,
        )

    lab_clips = dataclasses.replace(
        square, num_clips=num_videos // 4, lab=True, split="train", events=RenderConfig(num_clips=1).events
    )
    return RecipeConfig(
        budget=budget,
        render=square,
        held_out=dataclasses.replace(square, num_clips=256, seed=1),
        extra_datasets=(
            lab_clips,
            other(0.1, 160, 96, 33),
            other(0.1, 96, 160, 33),
            other(0.1, 128, 128, 17),
            other(0.05, 192, 192, 17),
        ),
        vae=VaeTrainConfig(batch_size=32, crop_size=64, cache_on_device=True),
        dit=DitTrainConfig(
            batch_size=256,
            image_p=0.05,
            rng_scope="step",
            compile_blocks=True,
            model=small(width=512, layers=12, grid=(8, 8)),
        ),
        vae_share=0.25,
        render_share=0.2,
    )


def tiny(*, budget: float) -> RecipeConfig:
    """Return the preset for tests, which ends in seconds with a useless model."""
    render = RenderConfig(
        num_clips=8, height=32, width=32, num_frames=9, shard_size=4, events=(("still", 0.7), ("roll", 0.3))
    )
    return RecipeConfig(
        budget=budget,
        render=render,
        held_out=dataclasses.replace(render, num_clips=4, split="test", seed=1),
        extra_datasets=(
            dataclasses.replace(render, num_clips=4, width=48),
            dataclasses.replace(render, num_clips=4, num_frames=13, seed=2, window_frames=9),
        ),
        samples=SampleConfig(num_samples=2, num_inference_steps=2, num_on_sheet=2),
        vae_num_videos=4,
        vae=VaeTrainConfig(batch_size=2, crop_size=16, model=VaeConfig.tiny(patchified=True)),
        decoder=VaeTrainConfig(
            batch_size=2,
            crop_size=16,
            decoder_only=True,
            resampled_p=0.5,
            model=VaeConfig.tiny(patchified=True),
        ),
        resample=ResampleConfig(num_videos=4, num_inference_steps=2, batch_size=2),
        dit=DitTrainConfig(
            batch_size=4, image_p=0.2, model=small(width=64, layers=1, channels=4, grid=(2, 2))
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedModel:
    """The result of the recipe.

    Attributes:
        vae: the autoencoder.
        dit: the transformer.
        config: settings of the recipe.
        report: best step and its scores, of each training.
    """

    vae: VideoVae
    dit: Dit
    config: RecipeConfig
    report: Mapping[str, object]


def run_recipe(config: RecipeConfig, run_context: RunContext) -> Iterator[Progress]:
    """Run the recipe and yield its progress. Afterwards `load_trained` returns the model.

    Args:
        config: settings.
        run_context: a run with the same settings in its folder is resumed.
    """
    start = time.perf_counter()
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    init = load_init_weights(config.init_from, run_context.device) if config.init_from else None
    train_dir, held_out_dir = split_dirs(0)
    for render_config, name in ((config.held_out, held_out_dir), (config.vae_render_config(), train_dir)):
        yield from render_split(run_context, render_config, name)
        if run_context.stop_requested():
            return
    budget = max(config.budget - (time.perf_counter() - start), 1.0)
    if init is None:
        yield from _train_vae(config, run_context, config.vae_share * budget)
        if run_context.stop_requested():
            return
        held_out = open_split(run_context, config.vae_render_config(), config.held_out).held_out
        vae = load_trained_autoencoder(run_context, config.vae, held_out)
    else:
        vae = init.vae
    yield from _render_remaining(config, run_context, budget)
    if run_context.stop_requested():
        return
    splits = _open_splits(config, run_context)
    yield from encode_datasets(run_context, vae, splits, precision=config.vae.precision)
    if run_context.stop_requested():
        return
    data = load_latent_datasets(run_context.run_dir)
    other_shares = (config.vae_share if init is None else 0.0) + (config.render_share or 0.0)
    if config.decoder is not None:
        other_shares += config.decoder_share
    yield from _train_dit(config, run_context, init, vae, data, (DIT_BUDGET_SHARE - other_shares) * budget)
    if config.decoder is None or run_context.stop_requested():
        return
    weights = load_autoencoder_weights(run_context, "vae") if init is None else init.vae.state_dict()
    # Resampled latents are normalised, by statistics that were unknown when the autoencoder was trained.
    decoder_config = dataclasses.replace(config.decoder, model=vae.config)
    resampled_latents = None
    if decoder_config.resampled_p:
        dit = load_trained_transformer(run_context, config.dit.model)
        yield from write_resampled_latents(
            run_context, dit, data.train[0], config.resample, precision=config.dit.precision
        )
        if run_context.stop_requested():
            return
        resampled_latents = load_resampled_latents(run_context)
    task = VaeTask(
        decoder_config,
        splits[0].train,
        splits[0].held_out,
        run_context.device,
        init_weights=weights,
        resampled_latents=resampled_latents,
    )
    loop = fit_steps_to_budget(
        run_context,
        "decoder.json",
        task,
        decoder_config.loop,
        config.decoder_share * budget,
        num_validations=VAE_VALIDATIONS,
    )
    yield from train_autoencoder(
        run_context, task, dataclasses.replace(decoder_config, loop=loop), part="decoder"
    )


def _train_vae(config: RecipeConfig, run_context: RunContext, budget_seconds: float) -> Iterator[Progress]:
    """Train the autoencoder while the rest of the first dataset is rendered."""
    num_workers = 1 if run_context.device.type == "cpu" else max(1, (os.cpu_count() or 1) - 1)
    with background_rendering(
        config.render,
        run_context.run_dir / split_dirs(0)[0],
        num_workers=num_workers if run_context.dist_context.is_main else 0,
    ):
        split = open_split(run_context, config.vae_render_config(), config.held_out)
        task = VaeTask(config.vae, split.train, split.held_out, run_context.device)
        loop = fit_steps_to_budget(
            run_context,
            "vae.json",
            task,
            config.vae.loop,
            budget_seconds,
            num_validations=VAE_VALIDATIONS,
        )
        yield from train_autoencoder(run_context, task, dataclasses.replace(config.vae, loop=loop))


def _train_dit(
    config: RecipeConfig,
    run_context: RunContext,
    init: InitWeights | None,
    vae: VideoVae,
    data: LatentDatasets,
    budget_seconds: float,
) -> Iterator[Progress]:
    """Train the transformer; its validation samples have prompts of the lab, which the scorer knows."""
    init_weights = None if init is None else init.dit_weights_for(config.dit.model)
    block_weights = None
    if config.init_blocks_from:
        block_weights = load_init_weights(config.init_blocks_from, run_context.device).dit
    task = DitTask(
        config.dit,
        data.train,
        data.held_out,
        run_context.device,
        init_weights=init_weights,
        block_weights=block_weights,
    )
    loop = fit_steps_to_budget(run_context, "dit.json", task, config.dit.loop, budget_seconds)
    lab_dataset = next((i for i, dataset in enumerate(config.datasets) if dataset.lab), 0)
    yield from train_transformer(
        run_context,
        task,
        dataclasses.replace(config.dit, loop=loop),
        vae,
        data,
        config.samples,
        prompt_dataset=lab_dataset,
    )


def load_trained(config: RecipeConfig, run_context: RunContext) -> TrainedModel:
    """Load the averaged weights of a finished recipe.

    The transformer is the best one by the lab score, where it is known, else the last one.
    """
    part = "vae" if config.decoder is None else "decoder"
    if config.init_from:
        vae = load_init_weights(config.init_from, run_context.device).vae
        if config.decoder is not None:
            vae.load_state_dict(load_autoencoder_weights(run_context, part))
        parts = ("dit",) if config.decoder is None else (part, "dit")
    else:
        held_out = open_shards(run_context.run_dir / split_dirs(0)[1], max_clips=config.held_out.num_clips)
        vae = load_trained_autoencoder(run_context, config.vae, held_out, part=part)
        parts = (part, "dit")
    states = {name: checkpoint.load(run_context.run_dir / name).state for name in parts}
    return TrainedModel(
        vae=vae.eval(),
        dit=load_trained_transformer(run_context, config.dit.model),
        config=config,
        report={name: {"best": s["best"], "scores": s["best_scores"]} for name, s in states.items()},
    )


def _render_remaining(config: RecipeConfig, run_context: RunContext, budget: float) -> Iterator[Progress]:
    """Render all datasets, or as much as `render_share` of the budget allows, and store the counts."""
    path = run_context.run_dir / VIDEO_COUNTS_FILE
    if config.render_share is not None and path.is_file():
        return
    seconds = math.inf if config.render_share is None else config.render_share * budget
    pixels = [one.num_clips * one.num_frames * one.height * one.width for one in config.datasets]
    for i, render_config in enumerate(config.datasets):
        train_dir, held_out_dir = split_dirs(i)
        yield from render_split(run_context, config.held_out_config(i), held_out_dir)
        max_seconds = seconds * pixels[i] / sum(pixels)
        yield from render_split(run_context, render_config, train_dir, max_seconds=max_seconds)
        if run_context.stop_requested():
            return
    with run_context.dist_context.main_process_first():
        if not path.is_file():
            counts = [
                len(open_shards(run_context.run_dir / split_dirs(i)[0], max_clips=one.num_clips))
                for i, one in enumerate(config.datasets)
            ]
            write_text(path, json.dumps(counts) + "\n")


def _open_splits(config: RecipeConfig, run_context: RunContext) -> list[DatasetSplit]:
    """Open all datasets, with as many clips as there were when rendering ended."""
    counts = json.loads((run_context.run_dir / VIDEO_COUNTS_FILE).read_text())
    return [
        open_split(run_context, dataclasses.replace(one, num_clips=count), config.held_out_config(i), i)
        for i, (one, count) in enumerate(zip(config.datasets, counts, strict=True))
    ]
