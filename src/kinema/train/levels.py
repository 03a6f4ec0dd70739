"""How noise levels are drawn in training: for one film, or for a whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

LEVELS = tuple((i + 0.5) / 8 for i in range(8))
"""Noise levels of the validation loss."""
PICTURES = 0.4
"""Of films whose beginning is given, the share of which it is the first latent frame alone."""


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

    def reaches(self, kind: float) -> bool:
        """Whether a sample whose kind was drawn evenly from 0 to 1 is given its last frames."""
        low = self.forcing + self.given
        return low <= kind < low + self.reached


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
        given = 1 if low < PICTURES else 1 + int(torch.randint(frames - 1, (1,), generator=place))
        times[:given] = 0.0
    elif config.reaches(kind) and frames > 1:
        at_end, at_start, both = torch.rand(3, generator=place).tolist()
        times[torch.tensor(_ends(frames, at_end, at_start, both))] = 0.0
    return times


def _ends(frames: int, at_end: float, at_start: float, both: float) -> list[int]:
    """Given frames at the end, one or two, and before half of such films up to two; one frame stays free."""
    last = min(1 + int(2 * at_end), frames - 1)
    first = min(int(3 * at_start), frames - 1 - last) if both < 0.5 else 0
    return [*range(first), *range(frames - last, frames)]


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
        given = torch.where(low < PICTURES, 1, 1 + (some * (frames - 1)).long())
        clean = ~forced & (kind < config.forcing + config.given) & (where < given)
        times = times.masked_fill(clean, 0.0)
        ends = torch.rand(count, 3, generator=place).tolist()
        for row in range(count):
            if config.reaches(float(kind[row])):
                times[row, torch.tensor(_ends(frames, *ends[row]))] = 0.0
    return times
