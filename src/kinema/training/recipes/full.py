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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kinema.atomic_io import write_text
from kinema.data.dataset import DatasetSplit
from kinema.data.latent_cache import LatentDatasets, load_latent_datasets
from kinema.data.video_shards import open_shards
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.training import checkpoint
from kinema.training.dit_task import DitTask
from kinema.training.recipes.full_config import RecipeConfig
from kinema.training.recipes.vae import load_autoencoder
from kinema.training.render_shards import background_rendering
from kinema.training.run_context import Progress, RunContext
from kinema.training.stage_times import StageTimes
from kinema.training.stages import (
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
from kinema.training.vae_task import VaeTask

VIDEO_COUNTS_FILE = "video_counts.json"
"""Number of clips of each dataset that the run trains on."""
BUDGET_FILE = "budget.json"
"""Seconds for the stages after the first clips."""
VAE_VALIDATIONS = 4
"""Validations of an autoencoder training. Each reconstructs all held-out videos, which takes as long as
some steps."""
DIT_BUDGET_SHARE = 0.95
"""The transformer gets this share of the budget, less the shares of the other stages."""


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
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    times = StageTimes(run_context.run_dir, writes=run_context.dist_context.is_main)
    try:
        for progress in _run_stages(config, run_context, times):
            times.add(progress.stage)
            yield progress
    finally:
        times.save()


def _run_stages(config: RecipeConfig, run_context: RunContext, times: StageTimes) -> Iterator[Progress]:
    init_vae = load_autoencoder(config.init_from, run_context) if config.init_from else None
    train_dir, held_out_dir = split_dirs(0)
    for render_config, name in ((config.held_out, held_out_dir), (config.vae_render_config(), train_dir)):
        yield from render_split(run_context, render_config, name)
        if run_context.stop_requested():
            return
    budget = _remaining_budget(config, run_context, times)
    if init_vae is None:
        yield from _train_vae(config, run_context, config.vae_share * budget)
        if run_context.stop_requested():
            return
        held_out = open_split(run_context, config.vae_render_config(), config.held_out).held_out
        vae = load_trained_autoencoder(run_context, config.vae, held_out)
    else:
        vae = init_vae
    yield from _render_remaining(config, run_context, budget, times)
    if run_context.stop_requested():
        return
    splits = _open_splits(config, run_context)
    yield from encode_datasets(run_context, vae, splits, precision=config.vae.precision)
    if run_context.stop_requested():
        return
    data = load_latent_datasets(run_context.run_dir)
    other_shares = (config.vae_share if init_vae is None else 0.0) + (config.render_share or 0.0)
    if config.decoder is not None:
        other_shares += config.decoder_share
    yield from _train_dit(config, run_context, vae, data, (DIT_BUDGET_SHARE - other_shares) * budget)
    if config.decoder is None or run_context.stop_requested():
        return
    weights = load_autoencoder_weights(run_context, "vae") if init_vae is None else init_vae.state_dict()
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


def _remaining_budget(config: RecipeConfig, run_context: RunContext, times: StageTimes) -> float:
    """Seconds left after the first clips: decided once, so that a resumed run has the same plan."""
    path = run_context.run_dir / BUDGET_FILE
    with run_context.dist_context.main_process_first():
        if not path.is_file():
            write_text(path, json.dumps({"seconds": max(config.budget - times.total, 1.0)}) + "\n")
    return float(json.loads(path.read_text())["seconds"])


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
    vae: VideoVae,
    data: LatentDatasets,
    budget_seconds: float,
) -> Iterator[Progress]:
    """Train the transformer; its validation samples have prompts of the lab, which the scorer knows."""
    init_weights, block_weights = load_init_weights(
        config.init_from, config.init_blocks_from, config.dit.model, run_context.device
    )
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
        vae = load_autoencoder(config.init_from, run_context)
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


def _render_remaining(
    config: RecipeConfig, run_context: RunContext, budget: float, times: StageTimes
) -> Iterator[Progress]:
    """Render all datasets, or as much as `render_share` of the budget allows, and store the counts."""
    path = run_context.run_dir / VIDEO_COUNTS_FILE
    if config.render_share is not None and path.is_file():
        return
    seconds = math.inf if config.render_share is None else config.render_share * budget
    paid = config.budget - budget - times.of(f"render {split_dirs(0)[1]}")
    pixels = [one.num_clips * one.num_frames * one.height * one.width for one in config.datasets]
    for i, render_config in enumerate(config.datasets):
        train_dir, held_out_dir = split_dirs(i)
        yield from render_split(run_context, config.held_out_config(i), held_out_dir)
        max_seconds = seconds * pixels[i] / sum(pixels)
        # What an interrupted run has rendered counts; the first clips of the first dataset were paid before.
        max_seconds -= times.of(f"render {train_dir}") - (paid if i == 0 else 0.0)
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
