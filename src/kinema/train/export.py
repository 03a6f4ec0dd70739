"""From a finished run to a folder that `kinema.load` reads, with a card that says what it is."""

from __future__ import annotations

import json
from pathlib import Path

from kinema.atomic_io import write_text
from kinema.models.formats.native import save_checkpoint, save_vae
from kinema.models.formats.serialization import to_json
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder.autoencoder import VideoVae
from kinema.train.filming import Filming
from kinema.train.release import ReleaseConfig, Trained
from kinema.train.runs import DitRun, VaeRun

STEPS = 20
GUIDANCE = 1.8
ETA = 0.5


def recipe_of(config: ReleaseConfig) -> SamplingDefaults:
    """How the model wants to be run: at the size, length and rate it was trained on.

    20 steps, guidance of 1.8 and eta of 0.5 are what the small model was measured with.
    """
    return recipe_for(config.filming, causal=config.dit.causal > 0)


def recipe_for(filming: Filming, *, causal: bool) -> SamplingDefaults:
    """How a model wants to be run that was trained on such films, and under block-causal masks or not."""
    return SamplingDefaults(
        num_inference_steps=STEPS,
        guidance_scale=(GUIDANCE,),
        flow_shift=1.0,
        solver="euler",
        eta=ETA,
        schedule="linear",
        image_conditioning="frames",
        size=(filming.width, filming.height),
        num_frames=filming.frames,
        fps=filming.fps,
        streaming_mode="cache" if causal else "windows",
    )


def export(trained: Trained, folder: Path) -> Path:
    """Write the averaged weights in bfloat16 shards, the settings of the run and its scores.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        folder, sampling_defaults=recipe_of(trained.config), transformer=trained.dit, vae=trained.vae
    )
    write_text(folder / "training.json", to_json(trained.config))
    write_text(folder / "scores.json", json.dumps(trained.report, indent=1) + "\n")
    return folder


def export_vae(config: VaeRun, vae: VideoVae, folder: Path) -> Path:
    """Write an autoencoder on its own, with its settings: what `kinema train dit --vae` reads.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_vae(folder, vae)
    write_text(folder / "training.json", to_json(config))
    return folder


def export_dit(config: DitRun, vae: VideoVae, dit: Dit, folder: Path) -> Path:
    """Write a transformer and the autoencoder that it was trained over: a model that `kinema generate` reads.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = recipe_for(config.films.filming, causal=config.training.causal > 0)
    save_checkpoint(folder, sampling_defaults=recipe, transformer=dit, vae=vae)
    write_text(folder / "training.json", to_json(config))
    return folder
