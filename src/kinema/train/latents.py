"""Films to latents and captions to states: what the transformer trains on, made once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinema import sampling
from kinema.models.text_encoders.base import TextEmbeddings, TextEncoder
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder.autoencoder import VideoVae
from kinema.train.crops import as_input
from kinema.train.films import Films
from kinema.train.precision import Precision, mixed


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentFilms:
    """Films of one shape as latents, with captions and the text states of every caption."""

    latents: Float[Tensor, "n c f h w"]
    """Normalised."""
    captions: tuple[tuple[int, ...], ...]
    """For each film, the rows of `states` that caption it; the plain caption first."""
    states: tuple[Float[Tensor, "_ d"], ...]
    """Text states of each distinct caption; the last row is the empty prompt's."""
    midway: bool = False
    """Whether they begin in the midst of what their captions tell."""

    def __len__(self) -> int:
        return len(self.latents)

    def part(self, first: int, last: int) -> LatentFilms:
        """Films `first` up to `last`."""
        return dataclasses.replace(self, latents=self.latents[first:last], captions=self.captions[first:last])


class StateTable:
    """The states of all captions in one piece, so that a batch of them is one gathering, on any device."""

    def __init__(self, states: Sequence[Float[Tensor, "_ d"]], device: torch.device) -> None:
        lengths = torch.tensor([len(state) for state in states])
        self.lengths = lengths
        self._starts = lengths.cumsum(0) - lengths
        self._rows = torch.cat(list(states)).to(device)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def empty(self) -> int:
        """The row of the empty prompt."""
        return len(self) - 1

    def batch(self, rows: Sequence[int], *, multiple: int = 1) -> TextEmbeddings:
        """The states of some captions, float32, padded by zeros to a multiple of so many."""
        picked = torch.tensor(list(rows))
        lengths = self.lengths[picked]
        place = torch.arange(-(-int(lengths.max()) // multiple) * multiple)
        inside = place < lengths[:, None]
        where = torch.where(inside, self._starts[picked][:, None] + place, 0).to(self._rows.device)
        states = self._rows[where].float() * inside[..., None].to(self._rows.device)
        return TextEmbeddings(hidden_states=states, lengths=lengths)

    def statistics(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Mean and standard deviation of every channel over all states."""
        rows = self._rows.float()
        return rows.mean(0), rows.std(0)


@torch.no_grad()
def denoised(
    dit: Dit,
    states: StateTable,
    rows: Sequence[int],
    latents: Float[Tensor, "b c f h w"],
    schedule: sampling.Schedule,
    *,
    guidance: float,
) -> Float[Tensor, "b c f h w"]:
    """What Euler's steps make of latents at the schedule's first level, one row of captions for each."""
    context = dit.context(states.batch([*rows, *[states.empty] * len(rows)]))

    def network(latents, time, *, both):
        velocity = dit(latents, time, context)
        return velocity if both else velocity.chunk(2)[0]

    velocity = sampling.apply_cfg(network, sampling.CfgConfig(scale=guidance))
    for step in sampling.sample(velocity, latents, schedule, solver="euler"):
        latents = step.latents
    return latents


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Progress of an encoding."""

    done: int
    of: int


@torch.no_grad()
def encode_films(
    vae: VideoVae, films: Films, device: torch.device, *, batch: int = 16, precision: Precision = "auto"
) -> Iterator[tuple[Encoded, Tensor]]:
    """Latents of films, normalised, batch by batch: progress and `b c f h w` on the CPU."""
    for first in range(0, len(films), batch):
        picked = range(first, min(first + batch, len(films)))
        frames = np.stack([films.frames(index) for index in picked])
        with mixed(precision, device):
            latents = vae.encode(as_input(frames, device)).to("cpu", torch.float32)
        yield Encoded(done=picked.stop, of=len(films)), latents


@torch.no_grad()
def encode_captions(
    encoder: TextEncoder,
    films: Sequence[Films],
    device: torch.device,
    *,
    batch: int = 128,
    precision: Precision = "auto",
) -> tuple[list[str], list[Tensor]]:
    """Every distinct caption and its states `l d` in half precision; the empty prompt is last.

    In bfloat16 standardised states of MiniLM are 0.7% off (root mean square; the worst channel 1.0%).
    """
    told = {text for store in films for index in range(len(store)) for text in store.captions(index)}
    texts = [*sorted(told - {""}), ""]
    # Sorted by length, a batch has little padding.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    states: list[Tensor] = [torch.empty(0)] * len(texts)
    for first in range(0, len(order), batch):
        rows = order[first : first + batch]
        with mixed(precision, device):
            made = encoder.encode([texts[row] for row in rows])
        real = torch.arange(made.hidden_states.shape[1], device=made.lengths.device) < made.lengths[:, None]
        # In one piece: a hundred thousand small ones, once freed, would not go back to the system, and the
        # training behind them in the same process was a third slower.
        packed = made.hidden_states[real.to(made.hidden_states.device)].cpu().half()
        for row, state in zip(rows, packed.split(made.lengths.tolist()), strict=True):
            states[row] = state
    return texts, states
