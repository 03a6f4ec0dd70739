"""How noise levels are drawn in training: for one film, or for a whole batch at once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

REACHED = 0.35
"""Of films that begin midway, the share whose last latent frames are given."""
LEVELS = tuple((i + 0.5) / 8 for i in range(8))
"""Noise levels of the validation loss."""
PICTURES = 0.4
"""Of films whose beginning is given, the share of which it is as little as can be: the first latent frame."""


@dataclass(frozen=True, kw_only=True)
class TimeConfig:
    """How noise levels are drawn: t = sigmoid(N(mean, 1)).

    Where things stand and which is which is decided above t = 0.9. A mean of 0 samples that 1.4% of the time
    and leaves left and right at chance; 1.2 learned it. The rest of the samples, at `low_mean`, keep the
    details sharp.
    """

    mean: float = 1.2
    low_mean: float = 0.0
    low_share: float = 0.3
    forcing: float = 0.15
    """Share of samples whose latent frames, in chunks, have independent levels."""
    chunk: int = 3
    """Largest number of latent frames that share a level there."""
    given: float = 0.1
    """Share of samples whose first latent frames are given clean (t = 0) and not scored."""
    reached: float = 0.1
    """Share of samples whose last latent frames are given too, and half of them the first ones: films that
    lead up to something, bridges and loops."""
    midway: bool = False
    """The films begin in the midst of what happens: some of each is given, and not the first frame alone,
    from which nobody could tell what moves where."""

    def of_stretches(self) -> TimeConfig:
        """The same for stretches of films, which begin anywhere."""
        return dataclasses.replace(self, forcing=0.0, given=1 - REACHED, reached=REACHED, midway=True)


def least_given(frames: int) -> int:
    """Latent frames given at least of films that begin midway: one, and behind it from where to where things
    move."""
    return min(2, frames - 1)


def drawn_times(config: TimeConfig, frames: int, place: torch.Generator) -> Float[Tensor, " f"]:
    """Noise levels of one sample's latent frames."""
    kind, low = torch.rand(2, generator=place).tolist()
    mean = config.low_mean if low < config.low_share else config.mean
    if kind < config.forcing:
        levels = torch.sigmoid(torch.randn(frames, generator=place) + mean)
        chunk = 1 + int(torch.randint(config.chunk, (1,), generator=place))
        return levels[torch.arange(frames) // chunk]
    times = torch.sigmoid(torch.randn(1, generator=place) + mean).repeat(frames)
    if kind < config.forcing + config.given and frames > 1:
        given = least_given(frames) if config.midway else 1
        if low >= PICTURES:
            given += int(torch.randint(frames - given, (1,), generator=place))
        times[:given] = 0.0
    elif kind < config.forcing + config.given + config.reached and frames > 1:
        times[_ends(frames, torch.rand(3, generator=place))] = 0.0
    return times


def _ends(frames: int, drawn: Float[Tensor, "*n 3"]) -> Bool[Tensor, "*n f"]:
    """Given frames at the end, one or two, and before half of such films up to two; one frame stays free."""
    at_end, at_start, both = drawn.double()[..., None].unbind(-2)
    last = (1 + (2 * at_end).long()).clamp(max=frames - 1)
    first = torch.minimum((3 * at_start).long(), frames - 1 - last) * (both < 0.5)
    where = torch.arange(frames)
    return (where < first) | (where >= frames - last)


def drawn_together(
    config: TimeConfig, count: int, frames: int, place: torch.Generator
) -> Float[Tensor, "b f"]:
    """Noise levels of `count` samples, of the same distribution, in a handful of operations."""
    kind, low, some = torch.rand(3, count, 1, generator=place)
    mean = torch.where(low < config.low_share, config.low_mean, config.mean)
    levels = torch.sigmoid(torch.randn(count, frames, generator=place) + mean)
    chunk = torch.randint(1, config.chunk + 1, (count, 1), generator=place)
    where = torch.arange(frames)
    forced = kind < config.forcing
    times = levels.gather(1, torch.where(forced, where // chunk, 0))
    if frames > 1:
        least = least_given(frames) if config.midway else 1
        given = torch.where(low < PICTURES, least, least + (some * (frames - least)).long())
        clean = ~forced & (kind < config.forcing + config.given) & (where < given)
        times = times.masked_fill(clean, 0.0)
        ends = _ends(frames, torch.rand(count, 3, generator=place))
        begun = config.forcing + config.given
        times = times.masked_fill(ends & (kind >= begun) & (kind < begun + config.reached), 0.0)
    return times
