"""Distribution of the training sigmas: drawn for one sample, or for a whole batch at once."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinema.errors import UserError

WINDOW_SUFFIX_P = 0.35
"""Share of the windows whose last latent frames are clean."""
VALIDATION_SIGMAS = tuple((i + 0.5) / 8 for i in range(8))
"""Sigmas of the validation loss."""
SINGLE_FRAME_PREFIX_SHARE = 0.4
"""Share of the samples with a clean prefix whose prefix has the minimal length."""


@dataclass(frozen=True, kw_only=True)
class SigmaSamplingConfig:
    """How sigmas are drawn: sigma = sigmoid(N(mean, 1)).

    The layout of a video is decided above sigma = 0.9. A mean of 0 draws such sigmas 1.4% of the time, and
    left and right stayed at chance; with 1.2 the model learned them. The samples at `low_logit_mean` keep
    details sharp.

    Attributes:
        logit_mean: mean of the normal distribution for most samples.
        low_logit_mean: mean for the rest.
        low_p: share of the rest.
        diffusion_forcing_p: share of the samples whose latent frames, in chunks, have independent sigmas.
        chunk_frames: largest number of latent frames in such a chunk.
        prefix_p: share of the samples whose first latent frames are clean (sigma 0) and not in the loss.
        suffix_p: share of the samples whose last latent frames are clean; half of these have clean first
            frames as well. They train backward extension, interpolation and loops.
        starts_midclip: the videos start in the middle of an event. A prefix then has at least two latent
            frames, because a single frame does not determine the motion.
        max_prefix_frames: longest clean prefix; None: all frames but one.
        min_sigma: sigmas are drawn from the distribution above it, as for an expert for high noise.
        max_sigma: sigmas are drawn from the distribution below it, as for an expert for low noise.
    """

    logit_mean: float = 1.2
    low_logit_mean: float = 0.0
    low_p: float = 0.3
    diffusion_forcing_p: float = 0.15
    chunk_frames: int = 3
    prefix_p: float = 0.1
    suffix_p: float = 0.1
    starts_midclip: bool = False
    max_prefix_frames: int | None = None
    min_sigma: float = 0.0
    max_sigma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_sigma < self.max_sigma <= 1:
            raise UserError(
                f"sigmas can't be drawn between {self.min_sigma} and {self.max_sigma}; "
                "give min_sigma below max_sigma, both 0 to 1"
            )

    @classmethod
    def shifted(cls, shift: float, *, min_sigma: float = 0.0, max_sigma: float = 1.0) -> SigmaSamplingConfig:
        """Return one sigma for all frames: sigmoid(N(0, 1)), shifted by s·sigma / (1 + (s - 1)·sigma).

        The shift adds log s to the logit, so it is a mean of the normal distribution.

        Args:
            shift: s, as in a sampling schedule; 3 to 5 for Wan.
            min_sigma: lower limit.
            max_sigma: upper limit.
        """
        return cls(
            logit_mean=math.log(shift),
            low_p=0.0,
            diffusion_forcing_p=0.0,
            prefix_p=0.0,
            suffix_p=0.0,
            min_sigma=min_sigma,
            max_sigma=max_sigma,
        )

    def validation_sigmas(self) -> tuple[float, ...]:
        """Return the middles of eight equal parts of the range."""
        width = self.max_sigma - self.min_sigma
        return tuple(self.min_sigma + width * sigma for sigma in VALIDATION_SIGMAS)

    def for_windows(self) -> SigmaSamplingConfig:
        """Return the settings for windows of videos: each of them has a clean prefix or suffix."""
        return dataclasses.replace(
            self,
            diffusion_forcing_p=0.0,
            prefix_p=1 - WINDOW_SUFFIX_P,
            suffix_p=WINDOW_SUFFIX_P,
            starts_midclip=True,
        )


def min_prefix_frames(num_frames: int) -> int:
    """Return the minimal clean prefix of a window: two latent frames, which define the motion."""
    return min(2, num_frames - 1)


def sample_sigmas(
    config: SigmaSamplingConfig, num_frames: int, generator: torch.Generator
) -> Float[Tensor, " f"]:
    """Draw the sigmas of one sample's latent frames."""
    kind, low = torch.rand(2, generator=generator).tolist()
    mean = config.low_logit_mean if low < config.low_p else config.logit_mean
    if kind < config.diffusion_forcing_p:
        independent = _to_sigma(torch.randn(num_frames, generator=generator), mean, config)
        chunk = 1 + int(torch.randint(config.chunk_frames, (1,), generator=generator))
        return independent[torch.arange(num_frames) // chunk]
    sigmas = _to_sigma(torch.randn(1, generator=generator), mean, config).repeat(num_frames)
    if kind < config.diffusion_forcing_p + config.prefix_p and num_frames > 1:
        prefix = min_prefix_frames(num_frames) if config.starts_midclip else 1
        if low >= SINGLE_FRAME_PREFIX_SHARE:
            prefix += int(torch.randint(num_frames - prefix, (1,), generator=generator))
        sigmas[: prefix if config.max_prefix_frames is None else min(prefix, config.max_prefix_frames)] = 0.0
    elif kind < config.diffusion_forcing_p + config.prefix_p + config.suffix_p and num_frames > 1:
        sigmas[_suffix_mask(num_frames, torch.rand(3, generator=generator))] = 0.0
    return sigmas


def _to_sigma(
    normal: Float[Tensor, "*n"], mean: float | Float[Tensor, "*m"], config: SigmaSamplingConfig
) -> Float[Tensor, "*n"]:
    """Map standard normal numbers to sigmas within the limits, in the order of the numbers."""
    logits = normal + mean
    if config.min_sigma > 0 or config.max_sigma < 1:
        mean = torch.as_tensor(mean, dtype=torch.float64)
        low, high = (
            torch.special.ndtr(torch.logit(torch.tensor(sigma, dtype=torch.float64)) - mean)
            for sigma in (config.min_sigma, config.max_sigma)
        )
        share = torch.special.ndtr(normal.double())
        logits = (torch.special.ndtri(low + (high - low) * share) + mean).float()
        return torch.sigmoid(logits).clamp(config.min_sigma, config.max_sigma)
    return torch.sigmoid(logits)


def _suffix_mask(num_frames: int, uniforms: Float[Tensor, "*n 3"]) -> Bool[Tensor, "*n f"]:
    """Mark one or two clean frames at the end and, in half of the samples, up to two at the start.

    At least one frame stays noisy.
    """
    at_end, at_start, both = uniforms.double()[..., None].unbind(-2)
    last = (1 + (2 * at_end).long()).clamp(max=num_frames - 1)
    first = torch.minimum((3 * at_start).long(), num_frames - 1 - last) * (both < 0.5)
    frames = torch.arange(num_frames)
    return (frames < first) | (frames >= num_frames - last)


def sample_sigmas_batched(
    config: SigmaSamplingConfig, batch_size: int, num_frames: int, generator: torch.Generator
) -> Float[Tensor, "b f"]:
    """Draw the sigmas of a batch from the distribution of `sample_sigmas`, in a few operations."""
    kind, low, extra = torch.rand(3, batch_size, 1, generator=generator)
    mean = torch.where(low < config.low_p, config.low_logit_mean, config.logit_mean)
    independent = _to_sigma(torch.randn(batch_size, num_frames, generator=generator), mean, config)
    chunk = torch.randint(1, config.chunk_frames + 1, (batch_size, 1), generator=generator)
    frames = torch.arange(num_frames)
    is_forced = kind < config.diffusion_forcing_p
    sigmas = independent.gather(1, torch.where(is_forced, frames // chunk, 0))
    if num_frames > 1:
        shortest = min_prefix_frames(num_frames) if config.starts_midclip else 1
        prefix = torch.where(
            low < SINGLE_FRAME_PREFIX_SHARE, shortest, shortest + (extra * (num_frames - shortest)).long()
        )
        if config.max_prefix_frames is not None:
            prefix = prefix.clamp(max=config.max_prefix_frames)
        prefix_end = config.diffusion_forcing_p + config.prefix_p
        sigmas = sigmas.masked_fill(~is_forced & (kind < prefix_end) & (frames < prefix), 0.0)
        suffix = _suffix_mask(num_frames, torch.rand(batch_size, 3, generator=generator))
        has_suffix = (kind >= prefix_end) & (kind < prefix_end + config.suffix_p)
        sigmas = sigmas.masked_fill(suffix & has_suffix, 0.0)
    return sigmas
