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
from kinema.data.cropping import to_model_input
from kinema.data.dataset import VideoDataset
from kinema.models.precision import Precision, autocast
from kinema.models.text_encoders.base import TextEmbeddings, TextEncoder
from kinema.models.transformer.dit import Dit
from kinema.models.vae.autoencoder import VideoVae


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentDataset:
    """Films of one shape as latents, with captions and the text states of every caption."""

    latents: Float[Tensor, "n c f h w"]
    """Normalised."""
    captions: tuple[tuple[int, ...], ...]
    """For each film, the rows of `text_table` that caption it; the plain caption first."""
    text_embeddings: tuple[Float[Tensor, "_ d"], ...]
    """Text states of each distinct caption; the last row is the empty prompt's."""
    starts_midclip: bool = False
    """Whether they begin in the midst of what their captions tell."""

    def __len__(self) -> int:
        return len(self.latents)

    def subset(self, start: int, stop: int) -> LatentDataset:
        """Films `start` up to `stop`."""
        return dataclasses.replace(self, latents=self.latents[start:stop], captions=self.captions[start:stop])


class TextEmbeddingTable:
    """The states of all captions in one piece, so that a batch of them is one gathering, on any device."""

    def __init__(self, embeddings: Sequence[Float[Tensor, "_ d"]], device: torch.device) -> None:
        lengths = torch.tensor([len(state) for state in embeddings])
        self.lengths = lengths
        self._starts = lengths.cumsum(0) - lengths
        self._rows = torch.cat(list(embeddings)).to(device)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def empty_row(self) -> int:
        """The row of the empty prompt."""
        return len(self) - 1

    def batch(self, rows: Sequence[int], *, pad_to_multiple: int = 1) -> TextEmbeddings:
        """The states of some captions, float32, padded by zeros to a multiple of so many."""
        picked = torch.tensor(list(rows))
        lengths = self.lengths[picked]
        place = torch.arange(-(-int(lengths.max()) // pad_to_multiple) * pad_to_multiple)
        inside = place < lengths[:, None]
        where = torch.where(inside, self._starts[picked][:, None] + place, 0).to(self._rows.device)
        states = self._rows[where].float() * inside[..., None].to(self._rows.device)
        return TextEmbeddings(hidden_states=states, lengths=lengths)

    def statistics(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Mean and standard deviation of every channel over all states."""
        rows = self._rows.float()
        return rows.mean(0), rows.std(0)


@torch.no_grad()
def euler_sample(
    dit: Dit,
    text_table: TextEmbeddingTable,
    caption_rows: Sequence[int],
    latents: Float[Tensor, "b c f h w"],
    schedule: sampling.Schedule,
    *,
    guidance_scale: float,
) -> Float[Tensor, "b c f h w"]:
    """What Euler's steps make of latents at the schedule's first level, one row of captions for each."""
    context = dit.context(text_table.batch([*caption_rows, *[text_table.empty_row] * len(caption_rows)]))

    def network(latents, sigma, *, with_unconditional):
        velocity = dit(latents, sigma, context)
        return velocity if with_unconditional else velocity.chunk(2)[0]

    velocity = sampling.apply_cfg(network, sampling.CfgConfig(scale=guidance_scale))
    for step in sampling.sample(velocity, latents, schedule, solver="euler"):
        latents = step.latents
    return latents


@dataclass(frozen=True, kw_only=True)
class EncodeProgress:
    """Progress of an encoding."""

    done: int
    total: int


@torch.no_grad()
def encode_videos(
    vae: VideoVae,
    videos: VideoDataset,
    device: torch.device,
    *,
    batch_size: int = 16,
    precision: Precision = "auto",
) -> Iterator[tuple[EncodeProgress, Tensor]]:
    """Latents of films, normalised, batch by batch: progress and `b c f h w` on the CPU."""
    for first in range(0, len(videos), batch_size):
        picked = range(first, min(first + batch_size, len(videos)))
        frames = np.stack([videos.frames(index) for index in picked])
        with autocast(precision, device):
            latents = vae.encode(to_model_input(frames, device)).to("cpu", torch.float32)
        yield EncodeProgress(done=picked.stop, total=len(videos)), latents


@torch.no_grad()
def encode_captions(
    encoder: TextEncoder,
    datasets: Sequence[VideoDataset],
    device: torch.device,
    *,
    batch_size: int = 128,
    precision: Precision = "auto",
) -> tuple[list[str], list[Tensor]]:
    """Every distinct caption and its states `l d` in half precision; the empty prompt is last.

    In bfloat16 standardised states of MiniLM are 0.7% off (root mean square; the worst channel 1.0%).
    """
    told = {text for store in datasets for index in range(len(store)) for text in store.captions(index)}
    texts = [*sorted(told - {""}), ""]
    # Sorted by length, a batch has little padding.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    states: list[Tensor] = [torch.empty(0)] * len(texts)
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        with autocast(precision, device):
            made = encoder.encode([texts[row] for row in rows])
        real = torch.arange(made.hidden_states.shape[1], device=made.lengths.device) < made.lengths[:, None]
        # In one piece: a hundred thousand small ones, once freed, would not go back to the system, and the
        # training behind them in the same process was a third slower.
        packed = made.hidden_states[real.to(made.hidden_states.device)].cpu().half()
        for row, state in zip(rows, packed.split(made.lengths.tolist()), strict=True):
            states[row] = state
    return texts, states
