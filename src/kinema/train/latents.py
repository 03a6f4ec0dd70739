"""Films to latents and captions to states: what the transformer trains on, made once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinema.models.text import TextEncoder
from kinema.models.vae import VideoVae
from kinema.train.dit import LatentFilms
from kinema.train.films import Films
from kinema.train.vae import as_input


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Progress of an encoding."""

    done: int
    of: int


@torch.no_grad()
def encode_films(
    vae: VideoVae, films: Films, device: torch.device, *, batch: int = 16
) -> Iterator[tuple[Encoded, Tensor]]:
    """Latents of films, normalised, batch by batch: progress and `b c f h w` on the CPU."""
    for first in range(0, len(films), batch):
        picked = range(first, min(first + batch, len(films)))
        frames = np.stack([films.frames(index) for index in picked])
        yield (
            Encoded(done=picked.stop, of=len(films)),
            vae.encode(as_input(frames).to(device)).to("cpu", torch.float32),
        )


@torch.no_grad()
def encode_captions(
    encoder: TextEncoder, films: Films, *, batch: int = 128
) -> tuple[list[str], list[Tensor]]:
    """Every distinct caption and its states `l d` in half precision; the empty prompt is last."""
    texts = sorted({text for index in range(len(films)) for text in films.captions(index)} - {""})
    texts.append("")
    # Sorted by length, a batch has little padding.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    states: list[Tensor] = [torch.empty(0)] * len(texts)
    for first in range(0, len(order), batch):
        rows = order[first : first + batch]
        made = encoder.encode([texts[row] for row in rows])
        for place, row in enumerate(rows):
            states[row] = made.states[place, : int(made.lengths[place])].half().clone()
    return texts, states


def latent_films(films: Films, latents: Tensor, texts: list[str], states: list[Tensor]) -> LatentFilms:
    """Films, latents and states brought together."""
    row = {text: index for index, text in enumerate(texts)}
    return LatentFilms(
        latents=latents,
        captions=tuple(tuple(row[text] for text in films.captions(i)) for i in range(len(films))),
        states=tuple(states),
    )
