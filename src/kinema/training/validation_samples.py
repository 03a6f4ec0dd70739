"""Looking at a model while it is trained: the same prompts and seeds every time, as sheets and as scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from kinema import sampling
from kinema.atomic_io import atomic_write
from kinema.data import rng
from kinema.data.cropping import to_model_input
from kinema.data.dataset import VideoDataset
from kinema.data.latent_cache import TextEmbeddingTable, euler_sample
from kinema.distributed.process_group import SINGLE_PROCESS, DistContext
from kinema.media.contact_sheet import contact_sheet
from kinema.models.precision import Precision, autocast
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.pipeline.video import to_frames
from kinema.shapes import LatentShape
from kinema.training.loop import ValidationCallback


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What is made when a transformer is looked at."""

    num_samples: int = 16
    """Films; 0 makes none."""
    num_inference_steps: int = 12
    guidance_scale: float = 1.8
    seed: int = 0
    batch_size: int = 8
    """Films made at once."""
    num_on_sheet: int = 8
    """Films on a sheet."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ValidationSample:
    """A film that the model made, and what it was asked for."""

    prompt: str
    frames: UInt8[np.ndarray, "f h w 3"]


Scorer = Callable[[Sequence[ValidationSample]], Mapping[str, float]]
"""Scores of films by their prompts; `facts_right`, where it is among them, decides between checkpoints."""


@torch.no_grad()
def sample_videos(
    dit: Dit,
    vae: VideoVae,
    text_table: TextEmbeddingTable,
    caption_rows: Sequence[int],
    shape: LatentShape,
    config: SampleConfig,
    *,
    precision: Precision = "auto",
) -> Iterator[UInt8[np.ndarray, "f h w 3"]]:
    """A film for each row of captions; the noise of each comes from its own seed."""
    for first in range(0, len(caption_rows), config.batch_size):
        picked = list(caption_rows[first : first + config.batch_size])
        device = vae.latents_mean.device
        sizes = (vae.config.z_dim, shape.frames, shape.height, shape.width)
        noise = torch.stack([rng.normal(sizes, config.seed, "sample", first + i) for i in range(len(picked))])
        with autocast(precision, device):
            latents = euler_sample(
                dit,
                text_table,
                picked,
                noise.to(device),
                sampling.linear_schedule(config.num_inference_steps),
                guidance_scale=config.guidance_scale,
            )
        for one in latents.float():
            yield to_frames(vae.decode(one[None]))


def sample_callback(
    dit: Dit,
    vae: VideoVae,
    text_table: TextEmbeddingTable,
    prompts: Sequence[tuple[str, int]],
    shape: LatentShape,
    config: SampleConfig,
    folder: Path,
    *,
    scorer: Scorer | None,
    precision: Precision = "auto",
    dist_context: DistContext = SINGLE_PROCESS,
) -> ValidationCallback:
    """What the transformer's training shows: films of fixed prompts, a sheet of them, and the judge's scores.

    Args:
        dit: which is trained.
        vae: which turns its latents into films.
        text_table: of the captions.
        prompts: texts, and their rows in `text_table`.
        shape: of the films' latents.
        config: how the films are made.
        folder: where the sheets go, one for each step that is looked at.
        scorer: scores films, or None.
        precision: of the transformer.
        dist_context: all make the films together; the leader draws the sheet.
    """

    def validation_callback(step: int) -> Mapping[str, float]:
        rows = [row for _, row in prompts]
        made = sample_videos(dit, vae, text_table, rows, shape, config, precision=precision)
        films = [
            ValidationSample(prompt=text, frames=frames)
            for (text, _), frames in zip(prompts, made, strict=True)
        ]
        if dist_context.is_main:
            shown = [(film.prompt, film.frames) for film in films[: config.num_on_sheet]]
            write_contact_sheet(folder / f"step-{step:08d}.png", shown)
        return {} if scorer is None else scorer(films)

    return validation_callback


def reconstruction_callback(
    vae: VideoVae, dataset: VideoDataset, folder: Path, *, dist_context: DistContext = SINGLE_PROCESS
) -> ValidationCallback:
    """What the autoencoder's training shows: held-out films, and below each what comes back."""

    def validation_callback(step: int) -> Mapping[str, float]:
        shown = []
        for index in range(min(4, len(dataset))):
            frames = dataset.frames(index)
            back = vae.decode(vae.encode(to_model_input(frames[None], vae.latents_mean.device)))
            shown += [(dataset.captions(index)[0], np.asarray(frames)), ("", to_frames(back))]
        if dist_context.is_main:
            write_contact_sheet(folder / f"step-{step:08d}.png", shown)
        return {}

    return validation_callback


def write_contact_sheet(
    path: Path, captioned_videos: Sequence[tuple[str, UInt8[np.ndarray, "_ _ _ 3"]]]
) -> None:
    """A contact sheet as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside:
        Image.fromarray(contact_sheet(captioned_videos, columns=8, height=96)).save(beside)
