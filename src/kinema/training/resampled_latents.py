"""Latents as the transformer makes them, of films that are known: what a decoder can be finished on.

A decoder that has seen only encoded latents shows every error of the transformer as it is: corners go soft,
fast things dissolve. So latents of real films are noised part-way, and the transformer takes the noise out
again under the film's caption. They still show that film, but for errors that are the transformer's own; a
decoder that is asked for the true film mends what it can. (Decoders trained on noised latents: RAE,
arXiv 2510.11690. Plain noise is another kind of error: at the same size it costs 9 dB less, for the
transformer errs on things, and noise lies on the floor.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinema import sampling
from kinema.data import rng
from kinema.data.latent_cache import EncodeProgress, LatentDataset, TextEmbeddingTable, euler_sample
from kinema.models.precision import Precision, autocast
from kinema.models.transformer.dit import Dit


@dataclass(frozen=True, kw_only=True)
class ResampleConfig:
    """How latents are worn."""

    num_videos: int = 4096
    """The first so many."""
    max_sigma: float = 0.7
    """The highest noise level; above it another film than the known one would come back."""
    num_inference_steps: int = 10
    """Steps of the solver from pure noise to data, of which each batch takes those below its level."""
    guidance_scale: float = 1.8
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if (
            not 0 < self.max_sigma <= 1
            or self.num_videos < 1
            or self.num_inference_steps < 1
            or self.batch_size < 1
        ):
            raise ValueError("level lies above 0 and is at most 1; films, steps and batch are at least 1")


@torch.no_grad()
def resample_latents(
    dit: Dit,
    dataset: LatentDataset,
    config: ResampleConfig,
    device: torch.device,
    *,
    precision: Precision = "auto",
) -> Iterator[tuple[EncodeProgress, Float[Tensor, "b c f h w"]]]:
    """Worn latents of films, normalised, batch by batch on the CPU. Each batch has a level of its own."""
    table = TextEmbeddingTable(dataset.text_embeddings, device)
    whole = sampling.linear_schedule(config.num_inference_steps)
    count = min(config.num_videos, len(dataset))
    for first in range(0, count, config.batch_size):
        picked = range(first, min(first + config.batch_size, count))
        clean = dataset.latents[picked.start : picked.stop].to(device, torch.float32)
        sizes = tuple(clean.shape[1:])
        noise = torch.stack([rng.normal(sizes, config.seed, "worn", index) for index in picked])
        schedule = whole.truncate(config.max_sigma * rng.uniform(config.seed, "worn level", first))
        rows = [dataset.captions[index][0] for index in picked]
        with autocast(precision, device):
            latents = sampling.add_noise(clean, noise.to(device), schedule.sigmas[0])
            made = euler_sample(dit, table, rows, latents, schedule, guidance_scale=config.guidance_scale)
        yield EncodeProgress(done=picked.stop, total=count), made.to("cpu", torch.float32)
