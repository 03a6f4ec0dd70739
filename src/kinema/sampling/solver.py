"""Solvers: from noise to data along the predicted velocity, as a loop that yields one event per step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinema.sampling.interpolant import add_noise
from kinema.sampling.schedule import Schedule

SolverName = Literal["euler", "heun", "unipc", "lcm"]


@runtime_checkable
class Denoiser(Protocol):
    """A network with its prompts and guidance, as a function of latents and sigma."""

    def __call__(
        self, latents: Float[Tensor, "b c f h w"], sigma: Float[Tensor, "b f"]
    ) -> Float[Tensor, "b c f h w"]:
        """The velocity, noise − data.

        Args:
            latents: float32.
            sigma: noise level of each latent frame, float64 on the CPU.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class FrameClamp:
    """Known latent frames: they keep their values while the others are sampled.

    Attributes:
        frames: which frames are known.
        latents: their values, at their noise level; values of the other frames are not read.
        sigmas: the noise level of each known frame, 0 where it is clean.
        release_sigmas: the sigma of the other frames below which a known frame is released: it is noised to
            that sigma and sampled with the others, so that no step is visible between known and sampled
            frames. 0 never releases, and only clean frames can be released. None: no frame is released.
        noise: the noise of released frames.
    """

    frames: Bool[Tensor, " f"]
    latents: Float[Tensor, "b c f h w"]
    sigmas: Float[Tensor, " f"]
    release_sigmas: Float[Tensor, " f"] | None = None
    noise: Float[Tensor, "b c f h w"] | None = None

    def active(self, sigma: float) -> Bool[Tensor, " f"]:
        """The frames that are still clamped when the others are at `sigma`."""
        if self.release_sigmas is None:
            return self.frames
        return self.frames & ((self.release_sigmas == 0) | (self.release_sigmas < sigma))

    def apply(
        self, latents: Float[Tensor, "b c f h w"], sigma: float, previous_sigma: float = math.inf
    ) -> Float[Tensor, "b c f h w"]:
        """Put the known frames into latents at `sigma`; `previous_sigma` is the sigma of the step before."""
        active = self.active(sigma)
        latents = torch.where(_frame_mask(active, latents), self.latents.to(latents), latents)
        released = self.active(previous_sigma) & ~active
        if self.noise is None or not released.any():
            return latents
        noised = add_noise(self.latents, self.noise.to(self.latents), sigma).to(latents)
        return torch.where(_frame_mask(released, latents), noised, latents)

    def per_frame_sigmas(self, model_sigma: float, batch: int, sigma: float) -> Float[Tensor, "b f"]:
        """The sigma of each latent frame for the network; free frames are at `model_sigma`."""
        frames = torch.where(self.active(sigma).cpu(), self.sigmas.double().cpu(), model_sigma)
        return frames.expand(batch, -1)


def _frame_mask(frames: Bool[Tensor, " f"], latents: Float[Tensor, "b c f h w"]) -> Bool[Tensor, "1 1 f 1 1"]:
    return frames.to(latents.device)[None, None, :, None, None]


@dataclass(frozen=True, kw_only=True)
class InpaintMask:
    """A region that keeps its values (blended diffusion, arXiv 2111.14818; RePaint, arXiv 2201.09865).

    At every step the region is replaced by the known latents, noised to the step's sigma with the noise of
    the run. It needs nothing of the network, so every model can do it.

    Attributes:
        clean: the known latents.
        noise: the noise that the run started with.
        mask: 1 where latents are sampled, 0 where they are kept; values between are mixtures.
    """

    clean: Float[Tensor, "b c f h w"]
    noise: Float[Tensor, "b c f h w"]
    mask: Float[Tensor, "1 1 f h w"]

    def apply(self, latents: Float[Tensor, "b c f h w"], sigma: float) -> Float[Tensor, "b c f h w"]:
        """Put the known region into latents at `sigma`."""
        known = add_noise(self.clean.to(latents), self.noise.to(latents), sigma)
        return torch.lerp(known, latents, self.mask.to(latents))


@dataclass(frozen=True, kw_only=True)
class AncestralNoise:
    """Fresh noise at every step: an ancestral solver (arXiv 2010.02502, section 4.1).

    A deterministic solver carries an error in the predicted noise to the end. Here a step goes below its next
    sigma, and fresh noise brings the latents back up to it. That noise has the right distribution, and later
    steps correct errors in the rest. The distribution of the results is the same. The noise depends on the
    seed and the index of the step alone, so an interrupted run continues as it was.

    Attributes:
        eta: how far below the next sigma a step goes, as a share of the step: 0 is the deterministic solver.
        seeds: of every sample of the batch; any tuple of whole numbers from 0.
    """

    eta: float
    seeds: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be between 0 and 1, not {self.eta}")

    def step(
        self,
        clean: Float[Tensor, "b c f h w"],
        noise: Float[Tensor, "b c f h w"],
        sigma: float,
        next_sigma: float,
        index: int,
    ) -> Float[Tensor, "b c f h w"]:
        """The latents at `next_sigma`.

        Args:
            clean: the data predicted by a step at `sigma`.
            noise: the noise predicted by that step.
            sigma: of the step.
            next_sigma: of the next step.
            index: of the step, for the seed.
        """
        below = next_sigma * (1 - self.eta * (1 - next_sigma / sigma))
        # Both together give a share of 1 − next_sigma of data and a deviation of next_sigma of noise.
        share = (1 - next_sigma) / (1 - below)
        deviation = math.sqrt(max(0.0, next_sigma**2 - (share * below) ** 2))
        fresh = torch.stack([self._draw_noise(clean[0].shape, seed, index) for seed in self.seeds])
        return share * add_noise(clean, noise, below) + deviation * fresh.to(clean)

    def renoise(
        self, clean: Float[Tensor, "b c f h w"], next_sigma: float, index: int
    ) -> Float[Tensor, "b c f h w"]:
        """The predicted data with nothing but fresh noise at `next_sigma`, after step `index`."""
        fresh = torch.stack([self._draw_noise(clean[0].shape, seed, index) for seed in self.seeds])
        return add_noise(clean, fresh.to(clean), next_sigma)

    @staticmethod
    def _draw_noise(shape: Sequence[int], seed: tuple[int, ...], index: int) -> Tensor:
        mixed = np.random.SeedSequence([*seed, index]).generate_state(1, np.uint64)[0]
        return torch.randn(*shape, generator=torch.Generator("cpu").manual_seed(int(mixed >> 1)))


@dataclass(frozen=True, kw_only=True)
class Step:
    """The state after a step.

    Attributes:
        index: of the step, from 0.
        total: how many steps there are.
        sigma: the noise level that is reached.
        latents: at that level. Do not write into them: the solver continues from them.
        clean: the predicted data, for previews.
        history: what a multi-step solver keeps; a run continues from the index, the latents and this.
    """

    index: int
    total: int
    sigma: float
    latents: Float[Tensor, "b c f h w"]
    clean: Float[Tensor, "b c f h w"]
    history: tuple[Float[Tensor, "b c f h w"], ...] = ()


def sample(
    denoiser: Denoiser,
    latents: Float[Tensor, "b c f h w"],
    schedule: Schedule,
    *,
    solver: SolverName = "unipc",
    clamp: FrameClamp | None = None,
    mask: InpaintMask | None = None,
    ancestral: AncestralNoise | None = None,
    first_step: int = 0,
    history: tuple[Float[Tensor, "b c f h w"], ...] = (),
) -> Iterator[Step]:
    """Integrate latents from the first sigma of the schedule to its last, one event per step.

    An interrupted run continues bit for bit from the latents and the history of its last step, with
    `first_step` one more than that step's index.

    Args:
        denoiser: the network.
        latents: at `schedule.sigmas[0]` (pure noise where that is 1), float32; not written into.
        schedule: the noise levels.
        solver: `euler` (order 1), `heun` (order 2, two evaluations a step), `unipc` (order 2, one) or `lcm`:
            at every step the predicted data is noised again with fresh noise, as few-step models are trained
            (consistency models, arXiv 2303.01469; DMD2, arXiv 2405.14867).
        clamp: known latent frames.
        mask: a region that keeps its values.
        ancestral: fresh noise at every step; `euler` and `lcm` only. `lcm` needs its seeds and reads no eta.
        first_step: index of the first step to do.
        history: of the step before that.

    Raises:
        ValueError: `first_step` is outside the schedule, fresh noise with another solver than `euler`, or
            none with `lcm`.
    """
    if not 0 <= first_step <= schedule.num_steps:
        raise ValueError(f"can't continue with step {first_step} of {schedule.num_steps}")
    if ancestral is not None and not ancestral.eta and solver != "lcm":
        ancestral = None
    if ancestral is not None and solver not in ("euler", "lcm"):
        raise ValueError(f"fresh noise needs the solver euler, not {solver}")
    run = _SolverRun(denoiser, schedule, clamp, mask)
    if not first_step:  # a soft mask must not be applied twice
        latents = run.apply_known(latents, 0)
    match solver:
        case "euler":
            return _euler(run, latents, first_step, ancestral)
        case "heun":
            return _heun(run, latents, first_step)
        case "unipc":
            return _unipc(run, latents, first_step, history)
        case "lcm":
            if ancestral is None:
                raise ValueError("the solver lcm needs seeds for its fresh noise")
            return _lcm(run, latents, first_step, ancestral)


class _SolverRun:
    """A run of a solver: the network with known frames and regions."""

    def __init__(
        self, denoiser: Denoiser, schedule: Schedule, clamp: FrameClamp | None, mask: InpaintMask | None
    ) -> None:
        self.denoiser, self.schedule, self.clamp, self.mask = denoiser, schedule, clamp, mask

    def apply_known(self, latents: Tensor, index: int) -> Tensor:
        """Put known frames and regions into latents at `sigmas[index]`."""
        sigma = self.schedule.sigmas[index]
        if self.mask is not None:
            latents = self.mask.apply(latents, sigma)
        if self.clamp is None:
            return latents
        return self.clamp.apply(latents, sigma, self.schedule.sigmas[index - 1] if index else math.inf)

    def clamp_x0(self, clean: Tensor, index: int) -> Tensor:
        """Put the frames that are clamped at `sigmas[index]` into the predicted data."""
        if self.clamp is None:
            return clean
        sigma = self.schedule.sigmas[index]
        return self.clamp.apply(clean, sigma, sigma)

    def velocity(self, latents: Tensor, index: int) -> Tensor:
        """The network at `sigmas[index]`."""
        sigma = self.schedule.model_sigmas[index]
        batch, _, frames = latents.shape[:3]
        if self.clamp is None:
            sigmas = torch.full((batch, frames), sigma, dtype=torch.float64)
        else:
            sigmas = self.clamp.per_frame_sigmas(sigma, batch, self.schedule.sigmas[index])
        return self.denoiser(latents, sigmas)

    def make_step(self, index: int, latents: Tensor, clean: Tensor, history: tuple[Tensor, ...] = ()) -> Step:
        """The event of step `index`; `latents` are those at the next sigma."""
        if self.mask is not None:
            clean = self.mask.apply(clean, 0.0)
        return Step(
            index=index,
            total=self.schedule.num_steps,
            sigma=self.schedule.sigmas[index + 1],
            latents=self.apply_known(latents, index + 1),
            clean=self.clamp_x0(clean, index),
            history=history,
        )


def _euler(run: _SolverRun, x: Tensor, first_step: int, ancestral: AncestralNoise | None) -> Iterator[Step]:
    sigmas = run.schedule.sigmas
    for index in range(first_step, run.schedule.num_steps):
        velocity = run.velocity(x, index)
        sigma, next_sigma = sigmas[index], sigmas[index + 1]
        clean = torch.add(x, velocity, alpha=-sigma)
        if ancestral is None:
            ahead = torch.add(x, velocity, alpha=next_sigma - sigma)
        else:
            noise = torch.add(x, velocity, alpha=1 - sigma)
            ahead = ancestral.step(clean, noise, sigma, next_sigma, index)
        step = run.make_step(index, ahead, clean)
        x = step.latents
        yield step


def _lcm(run: _SolverRun, x: Tensor, first_step: int, noise: AncestralNoise) -> Iterator[Step]:
    sigmas = run.schedule.sigmas
    for index in range(first_step, run.schedule.num_steps):
        clean = torch.add(x, run.velocity(x, index), alpha=-sigmas[index])
        next_sigma = sigmas[index + 1]
        ahead = noise.renoise(clean, next_sigma, index) if next_sigma else clean
        step = run.make_step(index, ahead, clean)
        x = step.latents
        yield step


def _heun(run: _SolverRun, x: Tensor, first_step: int) -> Iterator[Step]:
    sigmas, last = run.schedule.sigmas, run.schedule.num_steps - 1
    for index in range(first_step, last + 1):
        velocity = run.velocity(x, index)
        clean = torch.add(x, velocity, alpha=-sigmas[index])
        size = sigmas[index + 1] - sigmas[index]
        ahead = run.make_step(index, torch.add(x, velocity, alpha=size), clean)
        if index < last:
            # The last step stays an Euler step: networks are not trained at exactly 0.
            second = run.velocity(ahead.latents, index + 1)
            ahead = run.make_step(index, x + (0.5 * size) * (velocity + second), clean)
        x = ahead.latents
        yield ahead


def _log_snr(sigma: float) -> float:
    return math.log(1 - sigma) - math.log(sigma) if sigma > 0 else math.inf


def _unipc(run: _SolverRun, x: Tensor, first_step: int, history: tuple[Tensor, ...]) -> Iterator[Step]:
    """UniPC (arXiv 2302.04867): order 2, B(h) = e^h − 1, on predictions of the data, lower order at the ends.

    All coefficients are scalars in float64, so that a step is a few multiply-adds on the latents.
    """
    schedule = run.schedule
    steps = schedule.num_steps
    # At level 1 the data has no part and the logarithm of its share is infinite.
    sigmas = tuple(min(sigma, 1 - 1e-6) for sigma in schedule.sigmas)
    logs = [_log_snr(sigma) for sigma in sigmas]
    # The latents from which the last step was taken, and the last two predictions of the data, oldest first.
    before: Tensor | None = history[0] if history else None
    cleans = list(history[1:])
    order = min(2, steps - first_step + 1, len(cleans))
    for index in range(first_step, steps):
        clean = run.clamp_x0(torch.add(x, run.velocity(x, index), alpha=-sigmas[index]), index)
        if before is not None:
            x = run.apply_known(_correct(before, cleans, clean, sigmas, logs, index, order), index)
        cleans = [*cleans[-1:], clean]
        order = min(2, steps - index, len(cleans))
        before = x
        x = _predict(x, cleans, sigmas, logs, index, order)
        step = run.make_step(index, x, clean, (before, *cleans))
        x = step.latents
        yield step


def _predict(
    x: Tensor, cleans: list[Tensor], sigmas: tuple[float, ...], logs: list[float], index: int, order: int
) -> Tensor:
    """From `sigmas[index]` to the next."""
    sigma, next_sigma = sigmas[index], sigmas[index + 1]
    h = logs[index + 1] - logs[index]
    growth = -math.expm1(-h) * (1 - next_sigma)
    weights = [0.0, growth]
    if order == 2:
        slope = 0.5 * growth / ((logs[index - 1] - logs[index]) / h)
        weights = [slope, growth - slope]
    return _combine(next_sigma / sigma, x, weights[-order:], cleans[-order:])


def _correct(
    previous_latents: Tensor,
    cleans: list[Tensor],
    clean: Tensor,
    sigmas: tuple[float, ...],
    logs: list[float],
    index: int,
    order: int,
) -> Tensor:
    """The step to `sigmas[index]` again, with the prediction there."""
    sigma, previous_sigma = sigmas[index], sigmas[index - 1]
    h = logs[index] - logs[index - 1]
    growth = -math.expm1(-h) * (1 - sigma)
    if order == 1:
        return _combine(sigma / previous_sigma, previous_latents, [0.5 * growth] * 2, [cleans[-1], clean])
    # Match the first two terms of the exponential integrator: a 2 x 2 system, solved by hand.
    ratio = (logs[index - 2] - logs[index - 1]) / h
    phi = math.expm1(-h) / -h - 1
    first = phi / math.expm1(-h)
    second = (phi / -h - 0.5) * 2 / math.expm1(-h)
    far = (first - second) / (1 - ratio)
    near = first - far
    weights = [growth * far / ratio, growth * (1 - near) - growth * far / ratio, growth * near]
    return _combine(sigma / previous_sigma, previous_latents, weights, [*cleans[-2:], clean])


def _combine(scale: float, x: Tensor, weights: list[float], terms: list[Tensor]) -> Tensor:
    out = x * scale
    for weight, term in zip(weights, terms, strict=True):
        out.add_(term, alpha=weight)
    return out
