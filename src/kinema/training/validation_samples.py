"""Samples at each validation, with the same prompts and seeds every time, as contact sheets and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from kinema.atomic_io import atomic_write
from kinema.data import rng
from kinema.data.cropping import to_model_input
from kinema.data.dataset import VideoDataset
from kinema.data.latent_cache import TextEmbeddingTable
from kinema.distributed.process_group import SINGLE_PROCESS, DistContext
from kinema.frames import FrameArray, to_frames
from kinema.media.contact_sheet import contact_sheet
from kinema.models.precision import Precision, autocast
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae
from kinema.pipeline.sampler import SamplerConfig, sample
from kinema.shapes import LatentShape
from kinema.training.caption_denoiser import caption_denoiser
from kinema.training.loop import ValidationCallback


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Settings of the validation samples.

    Attributes:
        num_samples: videos per validation; 0 turns the samples off.
        num_inference_steps: of the sampler.
        guidance_scale: 1 is off.
        seed: of the noise.
        batch_size: videos sampled at once.
        num_on_sheet: videos on the contact sheet.
    """

    num_samples: int = 16
    num_inference_steps: int = 12
    guidance_scale: float = 1.8
    seed: int = 0
    batch_size: int = 8
    num_on_sheet: int = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class ValidationSample:
    """A generated video and its prompt."""

    prompt: str
    frames: FrameArray


Scorer = Callable[[Sequence[ValidationSample]], Mapping[str, float]]
"""Scores generated videos by their prompts. The score `lab_accuracy`, where it is returned, selects
checkpoints."""


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
) -> Iterator[FrameArray]:
    """Generate a video for each caption, with noise from (seed, position of the caption).

    Args:
        dit: the transformer.
        vae: decodes its latents.
        text_table: embeddings of all captions.
        caption_rows: captions to use as prompts.
        shape: of the latents.
        config: settings.
        precision: of the transformer.

    Yields:
        The frames of each video.
    """
    device = vae.latents_mean.device
    sampler = SamplerConfig(solver="euler", schedule="linear", num_inference_steps=config.num_inference_steps)
    size = (vae.config.z_dim, shape.frames, shape.height, shape.width)
    for first in range(0, len(caption_rows), config.batch_size):
        rows = list(caption_rows[first : first + config.batch_size])
        indices = range(first, first + len(rows))
        latents = torch.stack([rng.normal(size, config.seed, "sample", i) for i in indices]).to(device)
        with autocast(precision, device):
            denoiser = caption_denoiser(dit, text_table, rows, guidance_scale=config.guidance_scale)
            for step in sample(denoiser, latents, sampler, seeds=[(config.seed, i) for i in indices]):
                latents = step.latents
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
    """Return the validation callback of the transformer: samples, a contact sheet of them, and their scores.

    Args:
        dit: the transformer in training.
        vae: decodes its latents.
        text_table: embeddings of all captions.
        prompts: texts, and their rows in `text_table`.
        shape: of the latents.
        config: settings.
        folder: of the contact sheets, `step-00001000.png`.
        scorer: None for no scores.
        precision: of the transformer.
        dist_context: all processes sample together; the main one writes the sheet.
    """

    def validation_callback(step: int) -> Mapping[str, float]:
        rows = [row for _, row in prompts]
        videos = sample_videos(dit, vae, text_table, rows, shape, config, precision=precision)
        samples = [
            ValidationSample(prompt=text, frames=frames)
            for (text, _), frames in zip(prompts, videos, strict=True)
        ]
        if dist_context.is_main:
            on_sheet = [(one.prompt, one.frames) for one in samples[: config.num_on_sheet]]
            write_contact_sheet(sheet_path(folder, step), on_sheet)
        return {} if scorer is None else scorer(samples)

    return validation_callback


def reconstruction_callback(
    vae: VideoVae, dataset: VideoDataset, folder: Path, *, dist_context: DistContext = SINGLE_PROCESS
) -> ValidationCallback:
    """Return the validation callback of the autoencoder: a sheet of four videos and their reconstructions.

    Args:
        vae: the autoencoder in training.
        dataset: held-out videos.
        folder: of the contact sheets, `step-00001000.png`.
        dist_context: the main process writes the sheet.
    """

    def validation_callback(step: int) -> Mapping[str, float]:
        on_sheet = []
        for index in range(min(4, len(dataset))):
            frames = dataset.frames(index)
            decoded = vae.decode(vae.encode(to_model_input(frames[None], vae.latents_mean.device)))
            on_sheet += [(dataset.captions(index)[0], np.asarray(frames)), ("", to_frames(decoded))]
        if dist_context.is_main:
            write_contact_sheet(sheet_path(folder, step), on_sheet)
        return {}

    return validation_callback


def sheet_path(folder: Path, step: int) -> Path:
    """Return the path of the contact sheet of a step."""
    return folder / f"step-{step:08d}.png"


def write_contact_sheet(
    path: Path, captioned_videos: Sequence[tuple[str, UInt8[np.ndarray, "_ _ _ 3"]]]
) -> None:
    """Write a contact sheet of captions and videos as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        Image.fromarray(contact_sheet(captioned_videos, columns=8, height=96)).save(temporary)
