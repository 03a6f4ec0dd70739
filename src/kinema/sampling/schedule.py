"""Sigma schedules: the noise levels of the steps from noise to data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Noise levels from noisy to clean.

    Attributes:
        sigmas: falling, within 1 and 0; one more than there are steps, the last is usually 0.
        model_sigmas: what the network gets at each step. It differs from `sigmas` for models that were
            trained on whole thousandths (timestep = 1000 * sigma).
    """

    sigmas: tuple[float, ...]
    model_sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.sigmas) != len(self.model_sigmas) + 1 or not self.model_sigmas:
            raise ValueError(f"{len(self.model_sigmas)} steps need one more sigma, not {len(self.sigmas)}")
        falling = all(a > b for a, b in zip(self.sigmas[:-1], self.sigmas[1:], strict=True))
        if not falling or self.sigmas[0] > 1 or self.sigmas[-1] < 0:
            raise ValueError(f"sigmas must fall within 1 and 0, unlike {self.sigmas}")

    @property
    def num_steps(self) -> int:
        """How many steps."""
        return len(self.model_sigmas)

    def truncate(self, max_sigma: float) -> Schedule:
        """The steps that start at `max_sigma` or below, for edits and upscaling; at least the last step."""
        first = min(sum(sigma > max_sigma for sigma in self.sigmas), self.num_steps - 1)
        return Schedule(sigmas=self.sigmas[first:], model_sigmas=self.model_sigmas[first:])


def apply_shift(sigma: float, shift: float) -> float:
    """Shift a sigma towards noise: with more pixels the same sigma destroys less (arXiv 2403.03206)."""
    return sigma / (sigma + (1 - sigma) / shift)


def linear_schedule(num_steps: int, shift: float = 1.0) -> Schedule:
    """Even steps from 1 to 0, then shifted; for our own models."""
    _check_schedule_settings(num_steps, shift)
    sigmas = tuple(apply_shift(1 - index / num_steps, shift) for index in range(num_steps + 1))
    return Schedule(sigmas=sigmas, model_sigmas=sigmas[:-1])


def fixed_schedule(sigmas: tuple[float, ...]) -> Schedule:
    """The noise levels that a few-step model was trained for, and 0 at the end."""
    return Schedule(sigmas=(*sigmas, 0.0), model_sigmas=sigmas)


def wan_schedule(num_steps: int, shift: float) -> Schedule:
    """Wan's schedule as in diffusers: float32 sigmas, and whole thousandths for the network.

    Shift 3 suits 480p, 5 suits 720p.
    """
    _check_schedule_settings(num_steps, shift)
    levels = np.linspace(1, 1 / 1000, num_steps + 1)[:-1]
    levels = shift * levels / (1 + (shift - 1) * levels)
    if abs(levels[0] - 1) < 1e-6:
        levels[0] -= 1e-6  # at 1 the logarithm of the signal would be infinite
    sigmas = tuple(float(level) for level in np.append(levels, 0.0).astype(np.float32))
    return Schedule(sigmas=sigmas, model_sigmas=tuple(int(level * 1000) / 1000 for level in levels))


def _check_schedule_settings(num_steps: int, shift: float) -> None:
    if num_steps < 1 or not 0 < shift < float("inf"):
        raise ValueError(
            f"{num_steps} steps with shift {shift}: steps are at least 1 and the shift is above 0"
        )
