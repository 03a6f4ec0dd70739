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
from kinema.distributed.crowd import ALONE, Crowd
from kinema.media.contact_sheet import contact_sheet
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder.autoencoder import VideoVae
from kinema.pipeline.video import to_frames
from kinema.shapes import LatentShape
from kinema.train import chance
from kinema.train.crops import as_input
from kinema.train.films import Films
from kinema.train.latents import StateTable, denoised
from kinema.train.loop import Look
from kinema.train.precision import Precision, mixed


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What is made when a transformer is looked at."""

    count: int = 16
    """Films; 0 makes none."""
    steps: int = 12
    guidance: float = 1.8
    seed: int = 0
    batch: int = 8
    """Films made at once."""
    shown: int = 8
    """Films on a sheet."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampled:
    """A film that the model made, and what it was asked for."""

    prompt: str
    frames: UInt8[np.ndarray, "f h w 3"]


Judge = Callable[[Sequence[Sampled]], Mapping[str, float]]
"""Scores of films by their prompts; `facts_right`, where it is among them, decides between checkpoints."""


@torch.no_grad()
def sampled(
    dit: Dit,
    vae: VideoVae,
    states: StateTable,
    rows: Sequence[int],
    shape: LatentShape,
    config: SampleConfig,
    *,
    precision: Precision = "auto",
) -> Iterator[UInt8[np.ndarray, "f h w 3"]]:
    """A film for each row of captions; the noise of each comes from its own seed."""
    for first in range(0, len(rows), config.batch):
        picked = list(rows[first : first + config.batch])
        device = vae.latents_mean.device
        sizes = (vae.config.z_dim, shape.frames, shape.height, shape.width)
        noise = torch.stack(
            [chance.normal(sizes, config.seed, "sample", first + i) for i in range(len(picked))]
        )
        with mixed(precision, device):
            latents = denoised(
                dit,
                states,
                picked,
                noise.to(device),
                sampling.linear_schedule(config.steps),
                guidance=config.guidance,
            )
        for one in latents.float():
            yield to_frames(vae.decode(one[None]))


def looking_at_films(
    dit: Dit,
    vae: VideoVae,
    states: StateTable,
    prompts: Sequence[tuple[str, int]],
    shape: LatentShape,
    config: SampleConfig,
    folder: Path,
    *,
    judge: Judge | None,
    precision: Precision = "auto",
    crowd: Crowd = ALONE,
) -> Look:
    """What the transformer's training shows: films of fixed prompts, a sheet of them, and the judge's scores.

    Args:
        dit: which is trained.
        vae: which turns its latents into films.
        states: of the captions.
        prompts: texts, and their rows in `states`.
        shape: of the films' latents.
        config: how the films are made.
        folder: where the sheets go, one for each step that is looked at.
        judge: scores films, or None.
        precision: of the transformer.
        crowd: all make the films together; the leader draws the sheet.
    """

    def look(step: int) -> Mapping[str, float]:
        rows = [row for _, row in prompts]
        made = sampled(dit, vae, states, rows, shape, config, precision=precision)
        films = [Sampled(prompt=text, frames=frames) for (text, _), frames in zip(prompts, made, strict=True)]
        if crowd.leads:
            shown = [(film.prompt, film.frames) for film in films[: config.shown]]
            write_sheet(folder / f"step-{step:08d}.png", shown)
        return {} if judge is None else judge(films)

    return look


def looking_at_reconstructions(vae: VideoVae, films: Films, folder: Path, *, crowd: Crowd = ALONE) -> Look:
    """What the autoencoder's training shows: held-out films, and below each what comes back."""

    def look(step: int) -> Mapping[str, float]:
        shown = []
        for index in range(min(4, len(films))):
            frames = films.frames(index)
            back = vae.decode(vae.encode(as_input(frames[None], vae.latents_mean.device)))
            shown += [(films.captions(index)[0], np.asarray(frames)), ("", to_frames(back))]
        if crowd.leads:
            write_sheet(folder / f"step-{step:08d}.png", shown)
        return {}

    return look


def write_sheet(path: Path, shown: Sequence[tuple[str, UInt8[np.ndarray, "_ _ _ 3"]]]) -> None:
    """A contact sheet as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside:
        Image.fromarray(contact_sheet(shown, columns=8, height=96)).save(beside)
