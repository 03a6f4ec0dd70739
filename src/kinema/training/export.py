"""Export a finished run to a folder that `kinema.load` reads, with its settings and scores."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from kinema.atomic_io import write_text
from kinema.data.latent_cache import TEXTS_FILE
from kinema.data.video_folder import open_datasets
from kinema.models.formats.loader import open_model
from kinema.models.formats.native import VOCABULARY_FILE, save_checkpoint, save_vae
from kinema.models.formats.serialization import to_json
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.pipeline.prompt_vocabulary import model_vocabulary
from kinema.simulator.phyworld import FRAME_SECONDS, IMAGE_SIZE, NUM_FRAMES
from kinema.training.distill_task import DistillConfig
from kinema.training.export_finetuned import caption_vocabulary
from kinema.training.recipes.datasets import DataConfig
from kinema.training.recipes.dit import DitRunConfig
from kinema.training.recipes.full import TrainedModel
from kinema.training.recipes.phyworld import PhyWorldRunConfig
from kinema.training.recipes.vae import VaeRunConfig
from kinema.training.render_shards import RenderConfig

SETTINGS_FILE, SCORES_FILE = "training.json", "scores.json"
NUM_INFERENCE_STEPS, GUIDANCE_SCALE, ETA = 20, 1.8, 0.5
"""Sampling defaults of exported models; the small models were measured with them."""
PHYWORLD_FLOW_SHIFT = 5.0
"""Where bodies are is decided near sigma = 1, as in training."""


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


def distilled_sampling_defaults(teacher: SamplingDefaults, distill: DistillConfig) -> SamplingDefaults:
    """Return the sampling defaults of a student: few steps, without guidance and without fresh noise."""
    return dataclasses.replace(
        teacher,
        num_inference_steps=distill.num_steps,
        distilled_steps=distill.num_steps,
        guidance_scale=(1.0,),
        flow_shift=distill.flow_shift,
        solver="euler",
        schedule="linear",
        eta=0.0,
    )


def export(model: TrainedModel, folder: Path) -> Path:
    """Export the result of the full recipe; return the folder."""
    config = model.config
    defaults = build_sampling_defaults(config.render, causal=config.dit.causal_p > 0)
    _export_model(folder, defaults, vae=model.vae, dit=model.dit)
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
    if config.distill is not None:
        defaults = distilled_sampling_defaults(open_model(config.init_from).sampling_defaults, config.distill)
    else:
        video_format = _most_common_format(config.data) if config.data.sets else config.data.render
        defaults = build_sampling_defaults(video_format, causal=config.training.causal_p > 0)
    _export_model(folder, defaults, vae=vae, dit=dit)
    write_text(folder / SETTINGS_FILE, to_json(config))
    return folder


def export_phyworld(config: PhyWorldRunConfig, vae: VideoVae, dit: Dit, folder: Path) -> Path:
    """Export a model of PhyWorld's scenarios; return the folder."""
    defaults = SamplingDefaults(
        num_inference_steps=NUM_INFERENCE_STEPS,
        guidance_scale=(1.0,),
        flow_shift=PHYWORLD_FLOW_SHIFT,
        solver="euler",
        eta=0.0,
        schedule="linear",
        image_conditioning="frames",
        size=(IMAGE_SIZE, IMAGE_SIZE),
        num_frames=NUM_FRAMES,
        fps=1 / FRAME_SECONDS,
        streaming_mode="windows",
    )
    _export_model(folder, defaults, vae=vae, dit=dit)
    write_text(folder / SETTINGS_FILE, to_json(config))
    return folder


def write_vocabulary(folder: Path, run_dir: Path, init_from: str) -> None:
    """Write the words of a run's captions, and those of the model it began from, next to its export."""
    texts = json.loads((run_dir / TEXTS_FILE).read_text())
    words = set(caption_vocabulary(texts))
    if init_from:
        words |= model_vocabulary(open_model(init_from))
    write_text(folder / VOCABULARY_FILE, "".join(f"{word}\n" for word in sorted(words)))


def _most_common_format(data: DataConfig) -> RenderConfig:
    """The size, length and rate of most clips of curated sets."""
    opened = [dataset for one in data.sets for dataset in open_datasets(Path(one.folder))]
    largest = max(opened, key=lambda dataset: len(dataset.videos))
    frames, height, width = largest.videos.frames(0).shape[:3]
    return dataclasses.replace(
        data.render,
        num_frames=frames,
        height=height,
        width=width,
        fps=largest.fps or data.render.fps,
        window_frames=None,
    )


def _export_model(folder: Path, defaults: SamplingDefaults, *, vae: VideoVae, dit: Dit) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder, sampling_defaults=defaults, transformer=dit, vae=vae)
