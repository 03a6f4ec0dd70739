"""The release recipe: from a bare machine to weights that can ship, in one budget of time.

    film the set → train the autoencoder → encode → train the transformer → refine the decoder → export

A recipe that was stopped goes on where it was. How many steps fit is measured on this machine once, then
written down, so that a resumed run follows the same schedule.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import safetensors.torch

from kinema.atomic_io import write_text
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import small
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.simulator.annotations import Event
from kinema.training import checkpoint
from kinema.training.dit_task import DitTask, DitTrainConfig
from kinema.training.loop import LoopConfig
from kinema.training.optimizer import OptimizerConfig
from kinema.training.render_shards import RenderConfig, background_rendering, open_shards
from kinema.training.resampled_latents import ResampleConfig
from kinema.training.stages import (
    RESAMPLED_LATENTS_FILE,
    DatasetSplit,
    Progress,
    RunContext,
    encode_datasets,
    load_autoencoder_weights,
    load_init_weights,
    load_latent_datasets,
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
"""Lab events of the films that are cut into stretches, from which the model learns to go on: in longer
films the same happens more slowly."""
VIDEO_COUNTS_FILE = "films.json"
"""How many films of each shape the run trains on."""
VAE_VALIDATIONS = 4
"""How often an autoencoder is validated: its films are coded in full, which takes as long as some steps."""


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """What is filmed and trained, and how the budget is shared."""

    budget: float
    """Seconds for everything."""
    render: RenderConfig
    held_out: RenderConfig
    """Test split, for validation only."""
    vae: VaeTrainConfig = field(default_factory=VaeTrainConfig)
    dit: DitTrainConfig = field(default_factory=DitTrainConfig)
    extra_datasets: tuple[RenderConfig, ...] = ()
    """Films of other sizes and lengths, or of the lab; the transformer trains on all of them in turn."""
    init_from: str = ""
    """A model to go on from: `world` (shipped) or an exported folder. Its latents are kept."""
    init_blocks_from: str = ""
    """A model whose transformer blocks to begin with, where the autoencoder is new: `world` or a folder."""
    samples: SampleConfig = field(default_factory=SampleConfig)
    decoder: VaeTrainConfig | None = None
    """How the decoder is trained further, alone, on all films, once the latents are made; None leaves it."""
    decoder_share: float = 0.1
    """Of the budget, for that."""
    resample: ResampleConfig = field(default_factory=ResampleConfig)
    """How latents are made for the steps of the decoder that ask for worn ones."""
    vae_num_videos: int = 1536
    """The autoencoder trains on the first so many films, while the others are being made."""
    vae_share: float = 0.38
    """Of the budget that filming leaves; the transformer gets the rest but a twentieth."""
    render_share: float | None = None
    """After the autoencoder, films are made for so much of the budget and then it goes on with what is there.
    None waits for all of them."""


def lab(*, budget: float, num_videos: int = 8192) -> RecipeConfig:
    """For two cores and no GPU: the lab at 128 x 128, 17 frames at 8 a second.

    The autoencoder halves once more than the usual small one: a solid thing on an even floor needs no more
    latents at 128 pixels than at 64, and the transformer's cost stays what it was. It is wide where pixels
    come in and go out: four frames of a moving thing are four pictures, which 48 channels blurred into one.
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
    """For one large GPU: the whole set at 128 x 128, 33 frames at 12 a second, lying and standing pictures,
    shorter and larger films, and the lab, on which the judge looks."""
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

    lab_films = dataclasses.replace(
        square, num_clips=num_videos // 4, lab=True, split="train", events=RenderConfig(num_clips=1).events
    )
    return RecipeConfig(
        budget=budget,
        render=square,
        held_out=dataclasses.replace(square, num_clips=256, seed=1),
        extra_datasets=(
            lab_films,
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
    """The whole recipe in seconds, for the tests: it learns nothing worth having."""
    few = RenderConfig(
        num_clips=8, height=32, width=32, num_frames=9, shard_size=4, events=(("still", 0.7), ("roll", 0.3))
    )
    return RecipeConfig(
        budget=budget,
        render=few,
        held_out=dataclasses.replace(few, num_clips=4, split="test", seed=1),
        extra_datasets=(
            dataclasses.replace(few, num_clips=4, width=48),
            dataclasses.replace(few, num_clips=4, num_frames=13, seed=2, window_frames=9),
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
    """What the recipe ends with."""

    vae: VideoVae
    dit: Dit
    config: RecipeConfig
    report: Mapping[str, object]


def run_recipe(config: RecipeConfig, run_context: RunContext) -> Iterator[Progress]:
    """Run the recipe; yields its progress. Afterwards `load_trained` gives the weights.

    Args:
        config: what to make.
        run_context: where; a recipe with the same settings goes on there.
    """
    began = time.perf_counter()
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    begun = None if not config.init_from else load_init_weights(config.init_from, run_context.device)
    first = _vae_render_config(config)
    for part, name in ((config.held_out, split_dirs(0)[1]), (first, split_dirs(0)[0])):
        yield from render_split(run_context, part, name)
        if run_context.stop_requested():
            return
    left = max(config.budget - (time.perf_counter() - began), 1.0)
    if begun is not None:
        vae, share = begun.vae, 0.0
    else:
        share = config.vae_share
        workers = 1 if run_context.device.type == "cpu" else max(1, (os.cpu_count() or 1) - 1)
        with background_rendering(
            config.render,
            run_context.run_dir / "films",
            num_workers=workers * run_context.dist_context.is_main,
        ):
            films = open_split(run_context, first, config.held_out)
            task = VaeTask(config.vae, films.train, films.held_out, run_context.device)
            loop = fit_steps_to_budget(
                run_context, "vae.json", task, config.vae.loop, share * left, num_validations=VAE_VALIDATIONS
            )
            yield from train_autoencoder(run_context, task, dataclasses.replace(config.vae, loop=loop))
            del task
        if run_context.stop_requested():
            return
        vae = load_trained_autoencoder(run_context, config.vae, films.held_out)
    yield from _render_remaining(config, run_context, left)
    if run_context.stop_requested():
        return
    stores = _open_splits(config, run_context)
    yield from encode_datasets(run_context, vae, stores, precision=config.vae.precision)
    data = load_latent_datasets(run_context.run_dir)
    weights = None if begun is None else begun.dit_weights_for(config.dit.model)
    blocks = (
        load_init_weights(config.init_blocks_from, run_context.device).dit
        if config.init_blocks_from
        else None
    )
    dit_task = DitTask(
        config.dit, data.train, data.held_out, run_context.device, init_weights=weights, block_weights=blocks
    )
    spent = share + (config.render_share or 0.0)
    if config.decoder is not None:
        spent += config.decoder_share
    loop = fit_steps_to_budget(run_context, "dit.json", dit_task, config.dit.loop, (0.95 - spent) * left)
    dit = dataclasses.replace(config.dit, loop=loop)
    lab_group = next((i for i, one in enumerate((config.render, *config.extra_datasets)) if one.lab), 0)
    yield from train_transformer(run_context, dit_task, dit, vae, data, config.samples, group=lab_group)
    if config.decoder is not None and not run_context.stop_requested():
        weights = load_autoencoder_weights(run_context, "vae") if begun is None else begun.vae.state_dict()
        of, latents = stores[0], None
        if config.decoder.resampled_p:
            yield from write_resampled_latents(
                run_context,
                load_trained_transformer(run_context, config.dit.model),
                data.train[0],
                config.resample,
                precision=config.dit.precision,
            )
            if run_context.stop_requested():
                return
            latents = safetensors.torch.load_file(run_context.run_dir / RESAMPLED_LATENTS_FILE)["worn"]
        # Worn latents are normalised, by constants that the autoencoder did not have when it was trained.
        finer = dataclasses.replace(config.decoder, model=vae.config)
        task = VaeTask(
            finer, of.train, of.held_out, run_context.device, init_weights=weights, resampled_latents=latents
        )
        seconds = config.decoder_share * left
        loop = fit_steps_to_budget(
            run_context, "decoder.json", task, finer.loop, seconds, num_validations=VAE_VALIDATIONS
        )
        yield from train_autoencoder(run_context, task, dataclasses.replace(finer, loop=loop), part="decoder")


def load_trained(config: RecipeConfig, run_context: RunContext) -> TrainedModel:
    """The averaged weights of a finished recipe: the transformer's best by tracked facts, where they are
    known, else its last."""
    part = "vae" if config.decoder is None else "decoder"
    if config.init_from:
        vae = load_init_weights(config.init_from, run_context.device).vae
        if config.decoder is not None:
            vae.load_state_dict(load_autoencoder_weights(run_context, part))
        parts = ("dit",) if config.decoder is None else (part, "dit")
    else:
        held = open_shards(config.held_out, run_context.run_dir / split_dirs(0)[1])
        vae = load_trained_autoencoder(run_context, config.vae, held, part=part)
        parts = (part, "dit")
    scores = {name: checkpoint.load(run_context.run_dir / name).state for name in parts}
    report = {name: {"best": s["best"], "scores": s["best_scores"]} for name, s in scores.items()}
    return TrainedModel(
        vae=vae.eval(),
        dit=load_trained_transformer(run_context, config.dit.model),
        config=config,
        report=report,
    )


def _render_remaining(
    config: RecipeConfig, run_context: RunContext, remaining_seconds: float
) -> Iterator[Progress]:
    """Films of every shape, all of them or as many as their share of the budget allows."""
    note = run_context.run_dir / VIDEO_COUNTS_FILE
    if config.render_share is not None and note.is_file():
        return
    seconds = float("inf") if config.render_share is None else config.render_share * remaining_seconds
    each = (config.render, *config.extra_datasets)
    pixels = [one.num_clips * one.num_frames * one.height * one.width for one in each]
    for number, filming in enumerate(each):
        films, held = split_dirs(number)
        yield from render_split(run_context, _held_out_config(config, number), held)
        yield from render_split(
            run_context, filming, films, max_seconds=seconds * pixels[number] / sum(pixels)
        )
        if run_context.stop_requested():
            return
    with run_context.dist_context.main_process_first():
        if not note.is_file():
            counts = [
                len(open_shards(one, run_context.run_dir / split_dirs(n)[0])) for n, one in enumerate(each)
            ]
            write_text(note, json.dumps(counts) + "\n")


def _open_splits(config: RecipeConfig, run_context: RunContext) -> list[DatasetSplit]:
    """The films of every shape, as many as there were when the recipe went on without waiting for more."""
    counts = json.loads((run_context.run_dir / VIDEO_COUNTS_FILE).read_text())
    filmings = [
        dataclasses.replace(one, num_clips=count)
        for one, count in zip((config.render, *config.extra_datasets), counts, strict=True)
    ]
    return [open_split(run_context, one, _held_out_config(config, n), n) for n, one in enumerate(filmings)]


def _held_out_config(config: RecipeConfig, dataset_index: int) -> RenderConfig:
    if dataset_index == 0:
        return config.held_out
    one = config.extra_datasets[dataset_index - 1]
    split = "test" if one.lab else "all"
    return dataclasses.replace(
        one, num_clips=max(4, config.held_out.num_clips // 4), seed=one.seed + 1, split=split
    )


def _vae_render_config(config: RecipeConfig) -> RenderConfig:
    """The films that the autoencoder trains on: whole shards, so that the store goes on from them."""
    shards = -(-min(config.vae_num_videos, config.render.num_clips) // config.render.shard_size)
    count = min(shards * config.render.shard_size, config.render.num_clips)
    return dataclasses.replace(config.render, num_clips=count)
