"""Steps that reuse the network's last result instead of running it (EasyCache, arXiv 2507.02860).

After the first steps, velocity minus latents changes little from step to step. A step that is skipped adds
the last computed difference to its own latents. How far the velocity has moved since is estimated from the
latents alone: the change of the latents, times the rate at which the velocity followed them when it was last
computed, relative to the velocity. When the sum of these estimates reaches a threshold, the network runs
again. The video changes. By how much the skipped velocities were off is known where the network runs next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.sampling.solver import Denoiser

_FIRST_SHARE = 0.2
"""Share of the steps that are always computed: there the differences still change."""


@dataclass(frozen=True, kw_only=True)
class StepCacheReport:
    """What a run with a step cache did.

    Attributes:
        computed: steps in which the network ran.
        reused: steps in which it did not.
        mean_error: mean relative error that a reused velocity would have had in the steps that ended a row
            of reused ones; 0 where none was reused.
        max_error: the largest of them.
    """

    computed: int
    reused: int
    mean_error: float
    max_error: float


class StepCache:
    """A denoiser that reuses the results of another one.

    Args:
        denoiser: it runs in the first fifth of the steps (at least 3), in the last step, and whenever the
            threshold is reached.
        threshold: what the estimated relative changes of the velocity may add up to before it runs again,
            above 0 to 1.
        num_steps: calls of the run, one for each step.
        boundary_ratio: the sigma at which another network takes over, whose first step is computed.
    """

    MIN_STEPS = 4
    """Of which none is reused."""

    def __init__(
        self, denoiser: Denoiser, *, threshold: float, num_steps: int, boundary_ratio: float | None = None
    ) -> None:
        self._denoiser, self._threshold = denoiser, threshold
        self._last_step, self._boundary_ratio = num_steps - 1, boundary_ratio
        self._first_steps = max(self.MIN_STEPS - 1, math.ceil(_FIRST_SHARE * num_steps))
        self._index = self._reused = self._reused_in_row = 0
        self._estimate, self._rate = 0.0, 0.0
        self._errors: list[float] = []
        self._is_low_noise = False
        self._before: tuple[Tensor, Tensor] | None = None
        self._difference: Tensor | None = None

    @property
    def report(self) -> StepCacheReport:
        """What was done so far."""
        errors = self._errors
        return StepCacheReport(
            computed=self._index - self._reused,
            reused=self._reused,
            mean_error=sum(errors) / len(errors) if errors else 0.0,
            max_error=max(errors, default=0.0),
        )

    def __call__(
        self, latents: Float[Tensor, "b c f h w"], sigma: Float[Tensor, "b f"]
    ) -> Float[Tensor, "b c f h w"]:
        """The velocity, computed or reused."""
        is_low_noise = self._boundary_ratio is not None and sigma.max().item() < self._boundary_ratio
        changes_network, self._is_low_noise = is_low_noise != self._is_low_noise, is_low_noise
        reused = None if self._difference is None else latents + self._difference
        if self._before is not None:
            change = _size(latents - self._before[0])
            self._estimate += self._rate * change / _size(self._before[1])
        must_compute = (
            reused is None
            or changes_network
            or self._index < self._first_steps
            or self._index >= self._last_step
            or self._estimate >= self._threshold
        )
        if reused is not None and not must_compute:
            velocity = reused
            self._reused += 1
            self._reused_in_row += 1
        else:
            velocity = self._denoiser(latents, sigma)
            if reused is not None and self._reused_in_row:
                self._errors.append(_size(reused - velocity) / _size(velocity))
            if self._before is not None:
                self._rate = _size(velocity - self._before[1]) / _size(latents - self._before[0])
            self._difference = velocity - latents
            self._estimate, self._reused_in_row = 0.0, 0
        self._index += 1
        self._before = (latents, velocity)
        return velocity


def _size(x: Tensor) -> float:
    """The mean absolute value, above 0."""
    return max(x.abs().mean(dtype=torch.float32).item(), 1e-12)
