"""Export a finished run to a folder that `kinema.load` reads, with its settings and scores."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from kinema.atomic_io import write_text
from kinema.data.video_folder import open_datasets
from kinema.models.formats.native import VOCABULARY_FILE, save_checkpoint, save_vae
from kinema.models.formats.serialization import to_json
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.simulator.captions.vocabulary import unique_words
from kinema.training.export_finetuned import caption_vocabulary
from kinema.training.recipes.datasets import DataConfig
from kinema.training.recipes.dit import DitRunConfig
from kinema.training.recipes.full import TrainedModel
from kinema.training.recipes.vae import VaeRunConfig
from kinema.training.render_shards import RenderConfig

SETTINGS_FILE, SCORES_FILE = "training.json", "scores.json"
NUM_INFERENCE_STEPS, GUIDANCE_SCALE, ETA = 20, 1.8, 0.5
"""Sampling defaults of exported models; the small models were measured with them."""


def build_sampling_defaults(render_config: RenderConfig, *, causal: bool) -> SamplingDefaults:
    """Return the sampling defaults of a model: the size, length and frame rate that it was trained on.

    Args:
        render_config: the training clips.
        causal: whether it was trained with block-causal masks, for streaming with a KV cache.
    """
    return SamplingDefaults(
        num_inference_steps=NUM_INFERENCE_STEPS,
        guidance_scale=(GUIDANCE_SCALE,),
        flow_shift=1.0,
        solver="euler",
        eta=ETA,
        schedule="linear",
        image_conditioning="frames",
        size=(render_config.width, render_config.height),
        num_frames=render_config.num_frames,
        fps=render_config.fps,
        streaming_mode="cache" if causal else "windows",
    )


def export(model: TrainedModel, folder: Path) -> Path:
    """Export the result of the full recipe; return the folder."""
    config = model.config
    _export_model(folder, config.render, causal=config.dit.causal_p > 0, vae=model.vae, dit=model.dit)
    write_text(folder / SETTINGS_FILE, to_json(config))
    write_text(folder / SCORES_FILE, json.dumps(model.report, indent=1) + "\n")
    return folder


def export_vae(config: VaeRunConfig, vae: VideoVae, folder: Path) -> Path:
    """Export an autoencoder, for `kinema train dit --vae`; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_vae(folder, vae)
    write_text(folder / SETTINGS_FILE, to_json(config))
    return folder


def export_dit(config: DitRunConfig, vae: VideoVae, dit: Dit, folder: Path) -> Path:
    """Export a transformer with its autoencoder; return the folder."""
    video_format, captions = config.data.render, []
    if config.data.sets:
        video_format, captions = _describe_sets(config.data)
    _export_model(
        folder,
        video_format,
        causal=config.training.causal_p > 0,
        vae=vae,
        dit=dit,
        vocabulary=caption_vocabulary(captions),
    )
    if captions and not config.init_from:
        # The whole vocabulary: such a model has never seen the simulator's captions.
        words = sorted(set().union(*(unique_words(text) for text in captions)))
        write_text(folder / VOCABULARY_FILE, "".join(f"{word}\n" for word in words))
    write_text(folder / SETTINGS_FILE, to_json(config))
    return folder


def _describe_sets(data: DataConfig) -> tuple[RenderConfig, list[str]]:
    """The size, length and rate of most clips of curated sets, and their captions."""
    opened = [dataset for one in data.sets for dataset in open_datasets(Path(one.folder))]
    largest = max(opened, key=lambda dataset: len(dataset.videos))
    frames, height, width = largest.videos.frames(0).shape[:3]
    video_format = dataclasses.replace(
        data.render,
        num_frames=frames,
        height=height,
        width=width,
        fps=largest.fps or data.render.fps,
        window_frames=None,
    )
    captions = [
        text
        for dataset in opened
        for index in range(len(dataset.videos))
        for text in dataset.videos.captions(index)
    ]
    return video_format, captions


def _export_model(
    folder: Path,
    render_config: RenderConfig,
    *,
    causal: bool,
    vae: VideoVae,
    dit: Dit,
    vocabulary: tuple[str, ...] = (),
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    defaults = build_sampling_defaults(render_config, causal=causal)
    save_checkpoint(folder, sampling_defaults=defaults, transformer=dit, vae=vae, vocabulary=vocabulary)
