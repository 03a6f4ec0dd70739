"""Resampled latents for decoder fine-tuning: known videos, noised and denoised by the transformer.

A decoder trained on encoded latents shows the transformer's errors as they are: corners become soft and fast
objects dissolve. Resampled latents still show the original video, with errors typical of the transformer,
and the decoder learns to reconstruct the original from them. Decoders trained on noised latents: RAE, arXiv
2510.11690. Gaussian noise of the same size is another kind of error and costs 9 dB less, because the
transformer's errors lie on the objects and noise lies mostly on the floor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.data import rng
from kinema.data.latent_cache import EncodeProgress, LatentDataset, TextEmbeddingTable
from kinema.models.precision import Precision, autocast
from kinema.models.transformer.dit import Dit
from kinema.pipeline.conditioning import EncodedEdit
from kinema.pipeline.sampler import SamplerConfig, sample
from kinema.training.caption_denoiser import caption_denoiser


@dataclass(frozen=True, kw_only=True)
class ResampleConfig:
    """Settings of resampling.

    Attributes:
        num_videos: videos that are resampled, from the first on.
        max_sigma: highest noise level; above it the transformer would generate another video.
        num_inference_steps: from pure noise to data; a batch does those below its own sigma.
        guidance_scale: 1 is off.
        batch_size: videos resampled at once, with one sigma.
        seed: of noise and sigmas.
    """

    num_videos: int = 4096
    max_sigma: float = 0.7
    num_inference_steps: int = 10
    guidance_scale: float = 1.8
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.max_sigma <= 1:
            raise ValueError(f"max_sigma is {self.max_sigma} and must be above 0 and at most 1")
        for name in ("num_videos", "num_inference_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)} and must be at least 1")


@torch.no_grad()
def resample_latents(
    dit: Dit,
    dataset: LatentDataset,
    config: ResampleConfig,
    device: torch.device,
    *,
    precision: Precision = "auto",
) -> Iterator[tuple[EncodeProgress, Float[Tensor, "b c f h w"]]]:
    """Resample the latents of a dataset; each batch has its own sigma.

    Args:
        dit: the transformer.
        dataset: its plain captions are the prompts.
        config: settings.
        device: of the transformer.
        precision: of the transformer.

    Yields:
        Progress and the normalised latents of a batch, float32 on the CPU.
    """
    text_table = TextEmbeddingTable(dataset.text_embeddings, device)
    sampler = SamplerConfig(solver="euler", schedule="linear", num_inference_steps=config.num_inference_steps)
    count = min(config.num_videos, len(dataset))
    for first in range(0, count, config.batch_size):
        indices = range(first, min(first + config.batch_size, count))
        clean = dataset.latents[indices.start : indices.stop].to(device, torch.float32)
        shape = tuple(clean.shape[1:])
        noise = torch.stack([rng.normal(shape, config.seed, "worn", index) for index in indices])
        sigma = config.max_sigma * rng.uniform(config.seed, "worn level", first)
        rows = [dataset.captions[index][0] for index in indices]
        latents = clean
        with autocast(precision, device):
            denoiser = caption_denoiser(dit, text_table, rows, guidance_scale=config.guidance_scale)
            edit = EncodedEdit(latents=clean, sigma=sigma, mask=None)
            seeds = [(config.seed, index) for index in indices]
            for step in sample(denoiser, noise.to(device), sampler, seeds=seeds, edit=edit):
                latents = step.latents
        yield EncodeProgress(done=indices.stop, total=count), latents.to("cpu", torch.float32)
