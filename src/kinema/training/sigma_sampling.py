"""How noise levels are drawn in training: for one film, or for a whole batch at once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

WINDOW_SUFFIX_P = 0.35
"""Of films that begin midway, the share whose last latent frames are given."""
VALIDATION_SIGMAS = tuple((i + 0.5) / 8 for i in range(8))
"""Noise levels of the validation loss."""
SINGLE_FRAME_PREFIX_SHARE = 0.4
"""Of films whose beginning is given, the share of which it is as little as can be: the first latent frame."""


@dataclass(frozen=True, kw_only=True)
class SigmaSamplingConfig:
    """How noise levels are drawn: t = sigmoid(N(mean, 1)).

    Where things stand and which is which is decided above t = 0.9. A mean of 0 samples that 1.4% of the time
    and leaves left and right at chance; 1.2 learned it. The rest of the samples, at `low_logit_mean`, keep the
    details sharp.
    """

    logit_mean: float = 1.2
    low_logit_mean: float = 0.0
    low_p: float = 0.3
    diffusion_forcing_p: float = 0.15
    """Share of samples whose latent frames, in chunks, have independent levels."""
    chunk_frames: int = 3
    """Largest number of latent frames that share a level there."""
    prefix_p: float = 0.1
    """Share of samples whose first latent frames are given clean (t = 0) and not scored."""
    suffix_p: float = 0.1
    """Share of samples whose last latent frames are given too, and half of them the first ones: films that
    lead up to something, bridges and loops."""
    starts_midclip: bool = False
    """The films begin in the midst of what happens: some of each is given, and not the first frame alone,
    from which nobody could tell what moves where."""

    def for_windows(self) -> SigmaSamplingConfig:
        """The same for stretches of films, which begin anywhere."""
        return dataclasses.replace(
            self,
            diffusion_forcing_p=0.0,
            prefix_p=1 - WINDOW_SUFFIX_P,
            suffix_p=WINDOW_SUFFIX_P,
            starts_midclip=True,
        )


def min_prefix_frames(num_frames: int) -> int:
    """Latent frames given at least of films that begin midway: one, and behind it from where to where things
    move."""
    return min(2, num_frames - 1)


def sample_sigmas(
    config: SigmaSamplingConfig, num_frames: int, generator: torch.Generator
) -> Float[Tensor, " f"]:
    """Noise levels of one sample's latent frames."""
    kind, low = torch.rand(2, generator=generator).tolist()
    mean = config.low_logit_mean if low < config.low_p else config.logit_mean
    if kind < config.diffusion_forcing_p:
        levels = torch.sigmoid(torch.randn(num_frames, generator=generator) + mean)
        chunk = 1 + int(torch.randint(config.chunk_frames, (1,), generator=generator))
        return levels[torch.arange(num_frames) // chunk]
    times = torch.sigmoid(torch.randn(1, generator=generator) + mean).repeat(num_frames)
    if kind < config.diffusion_forcing_p + config.prefix_p and num_frames > 1:
        given = min_prefix_frames(num_frames) if config.starts_midclip else 1
        if low >= SINGLE_FRAME_PREFIX_SHARE:
            given += int(torch.randint(num_frames - given, (1,), generator=generator))
        times[:given] = 0.0
    elif kind < config.diffusion_forcing_p + config.prefix_p + config.suffix_p and num_frames > 1:
        times[_suffix_mask(num_frames, torch.rand(3, generator=generator))] = 0.0
    return times


def _suffix_mask(num_frames: int, uniforms: Float[Tensor, "*n 3"]) -> Bool[Tensor, "*n f"]:
    """Given frames at the end, one or two, and before half of such films up to two; one frame stays free."""
    at_end, at_start, both = uniforms.double()[..., None].unbind(-2)
    last = (1 + (2 * at_end).long()).clamp(max=num_frames - 1)
    first = torch.minimum((3 * at_start).long(), num_frames - 1 - last) * (both < 0.5)
    where = torch.arange(num_frames)
    return (where < first) | (where >= num_frames - last)


def sample_sigmas_batched(
    config: SigmaSamplingConfig, batch_size: int, num_frames: int, generator: torch.Generator
) -> Float[Tensor, "b f"]:
    """Noise levels of `batch_size` samples, of the same distribution, in a handful of operations."""
    kind, low, some = torch.rand(3, batch_size, 1, generator=generator)
    mean = torch.where(low < config.low_p, config.low_logit_mean, config.logit_mean)
    levels = torch.sigmoid(torch.randn(batch_size, num_frames, generator=generator) + mean)
    chunk = torch.randint(1, config.chunk_frames + 1, (batch_size, 1), generator=generator)
    where = torch.arange(num_frames)
    forced = kind < config.diffusion_forcing_p
    times = levels.gather(1, torch.where(forced, where // chunk, 0))
    if num_frames > 1:
        least = min_prefix_frames(num_frames) if config.starts_midclip else 1
        given = torch.where(
            low < SINGLE_FRAME_PREFIX_SHARE, least, least + (some * (num_frames - least)).long()
        )
        clean = ~forced & (kind < config.diffusion_forcing_p + config.prefix_p) & (where < given)
        times = times.masked_fill(clean, 0.0)
        ends = _suffix_mask(num_frames, torch.rand(batch_size, 3, generator=generator))
        begun = config.diffusion_forcing_p + config.prefix_p
        times = times.masked_fill(ends & (kind >= begun) & (kind < begun + config.suffix_p), 0.0)
    return times
