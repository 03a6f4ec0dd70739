"""Skipping evaluations of the network whose result can be guessed, at a loss.

When to skip is EasyCache's rule (arXiv 2507.02860): over stretches of the path the velocity changes in
proportion to the latents. The proportion is measured whenever the network runs, and while the change it
foretells adds up to less than a threshold, the velocity is guessed. The guess continues the line through the
last two velocities of the network; on flows whose velocity is known that is two to five times nearer than
EasyCache's own, which keeps the difference between velocity and latents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Reused:
    """A velocity that was guessed.

    Attributes:
        change: how much the velocity was expected to have changed since the network last ran, relative to
            its mean size; the error of the guess is expected to be below that.
    """

    change: float


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """When to guess. The loss is for the caller to judge; `Step.reused` says where it was done.

    Attributes:
        threshold: expected relative change that may add up before the network runs again; 0.05 is careful.
        first: steps at the beginning that always run (layout is decided there); at least 2.
        last: steps at the end that always run.
    """

    threshold: float = 0.05
    first: int = 3
    last: int = 1

    def __post_init__(self) -> None:
        if self.threshold < 0 or self.first < 2 or self.last < 0:
            raise ValueError(f"can't follow threshold {self.threshold}, first {self.first}, last {self.last}")

    def start(self) -> ReuseRun:
        """A fresh run."""
        return ReuseRun(self)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What the network said."""

    level: float
    latents: Float[Tensor, "b c f h w"]
    velocity: Float[Tensor, "b c f h w"]


class ReuseRun:
    """What one solve has measured so far."""

    def __init__(self, settings: Reuse) -> None:
        self.settings = settings
        self.seen: tuple[_Seen, ...] = ()  # the last two, oldest first
        self.before: Tensor | None = None
        self.change = 0.0

    def __call__(
        self,
        evaluate: Callable[[], Tensor],
        latents: Float[Tensor, "b c f h w"],
        level: float,
        index: int,
        steps: int,
    ) -> tuple[Float[Tensor, "b c f h w"], Reused | None]:
        """The velocity at these latents, from the network or guessed."""
        settings, before = self.settings, self.before
        self.before = latents
        if settings.first <= index < steps - settings.last and len(self.seen) == 2 and before is not None:
            old, new = self.seen
            rate = _mean(new.velocity - old.velocity) / max(_mean(new.latents - old.latents), 1e-12)
            self.change += rate * _mean(latents - before) / max(_mean(new.velocity), 1e-12)
            if self.change < settings.threshold:
                onward = (level - new.level) / (new.level - old.level)
                return new.velocity + onward * (new.velocity - old.velocity), Reused(change=self.change)
        velocity = evaluate()
        self.seen = (*self.seen[-1:], _Seen(level=level, latents=latents, velocity=velocity))
        self.change = 0.0
        return velocity, None


def _mean(x: Tensor) -> float:
    return x.abs().mean().item()
