"""From a finished run to a folder that `kinema.load` reads, with a card that says what it is."""

from __future__ import annotations

import json
from pathlib import Path

from kinema.atomic_io import write_text
from kinema.models.formats.native import save_checkpoint, save_vae
from kinema.models.formats.serialization import to_json
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.training.recipes.full import RecipeConfig, TrainedModel
from kinema.training.recipes.single_model import DitRunConfig, VaeRunConfig
from kinema.training.render_shards import RenderConfig

NUM_INFERENCE_STEPS = 20
GUIDANCE_SCALE = 1.8
ETA = 0.5


def recipe_sampling_defaults(config: RecipeConfig) -> SamplingDefaults:
    """How the model wants to be run: at the size, length and rate it was trained on.

    20 steps, guidance of 1.8 and eta of 0.5 are what the small model was measured with.
    """
    return build_sampling_defaults(config.render, causal=config.dit.causal_p > 0)


def build_sampling_defaults(render_config: RenderConfig, *, causal: bool) -> SamplingDefaults:
    """How a model wants to be run that was trained on such films, and under block-causal masks or not."""
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
    """Write the averaged weights in bfloat16 shards, the settings of the run and its scores.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        folder, sampling_defaults=recipe_sampling_defaults(model.config), transformer=model.dit, vae=model.vae
    )
    write_text(folder / "training.json", to_json(model.config))
    write_text(folder / "scores.json", json.dumps(model.report, indent=1) + "\n")
    return folder


def export_vae(config: VaeRunConfig, vae: VideoVae, folder: Path) -> Path:
    """Write an autoencoder on its own, with its settings: what `kinema train dit --vae` reads.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_vae(folder, vae)
    write_text(folder / "training.json", to_json(config))
    return folder


def export_dit(config: DitRunConfig, vae: VideoVae, dit: Dit, folder: Path) -> Path:
    """Write a transformer and the autoencoder that it was trained over: a model that `kinema generate` reads.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = build_sampling_defaults(config.data.render, causal=config.training.causal_p > 0)
    save_checkpoint(folder, sampling_defaults=recipe, transformer=dit, vae=vae)
    write_text(folder / "training.json", to_json(config))
    return folder
