"""Skipping evaluations of the network whose result can be guessed, at a loss.

EasyCache (arXiv 2507.02860): over stretches of the path the velocity changes in proportion to the latents.
The proportion is measured whenever the network runs; while the change it foretells adds up to less than a
threshold, the last difference between velocity and latents is used again.
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
            raise ValueError(
                f"threshold {self.threshold}, first {self.first}, last {self.last} can't be followed"
            )

    def start(self) -> ReuseRun:
        """A fresh run."""
        return ReuseRun(self)


class ReuseRun:
    """What one solve has measured so far."""

    def __init__(self, settings: Reuse) -> None:
        self.settings = settings
        self.latents: Tensor | None = None
        self.velocity: Tensor | None = None
        self.previous: Tensor | None = None
        self.rate: float | None = None
        self.change = 0.0

    def __call__(
        self, evaluate: Callable[[], Tensor], latents: Float[Tensor, "b c f h w"], index: int, steps: int
    ) -> tuple[Float[Tensor, "b c f h w"], Reused | None]:
        """The velocity at these latents, from the network or guessed."""
        settings = self.settings
        previous, self.previous = self.previous, latents
        if self.latents is not None and self.velocity is not None and previous is not None:
            moved = _mean(latents - previous)
            if self.rate is not None and settings.first <= index < steps - settings.last:
                self.change += self.rate * moved / _mean(self.velocity)
                if self.change < settings.threshold:
                    guess = self.velocity + (latents - self.latents)
                    return guess, Reused(change=self.change)
        velocity = evaluate()
        if self.latents is not None and self.velocity is not None:
            moved = _mean(latents - self.latents)
            self.rate = _mean(velocity - self.velocity) / moved if moved else None
        self.latents, self.velocity, self.change = latents, velocity, 0.0
        return velocity, None


def _mean(x: Tensor) -> float:
    return x.abs().mean().item()
