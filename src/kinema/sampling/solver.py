"""From noise to data along the velocity, as a loop that yields."""

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
from kinema.sampling.step_cache import CachedStep, StepCache, StepCacheConfig

SolverName = Literal["euler", "heun", "unipc"]


@runtime_checkable
class Denoiser(Protocol):
    """A network, with its prompts and guidance, as a function of latents and time."""

    def __call__(
        self, latents: Float[Tensor, "b c f h w"], sigma: Float[Tensor, "b f"]
    ) -> Float[Tensor, "b c f h w"]:
        """noise − data, where `sigma` (float64, on the CPU) tells how noisy each latent frame is."""
        ...


@dataclass(frozen=True, kw_only=True)
class FrameClamp:
    """Latent frames that are given: they stay as they are while the others are made.

    Attributes:
        frames: which.
        latents: theirs, at their noise level; what stands in the other frames is not read.
        sigmas: the noise level at which each is held, 0 where it is clean.
        release_sigmas: the level at which each is let go: noised to that, it is made again with the others, so that
            what is near to the given film passes into what is made without a step. 0 never lets go, and only
            frames that are held clean are let go. None: all are held to the end.
        noise: with which it is noised then.
    """

    frames: Bool[Tensor, " f"]
    latents: Float[Tensor, "b c f h w"]
    sigmas: Float[Tensor, " f"]
    release_sigmas: Float[Tensor, " f"] | None = None
    noise: Float[Tensor, "b c f h w"] | None = None

    def active(self, sigma: float) -> Bool[Tensor, " f"]:
        """The frames that are held yet when the others are at `sigma`."""
        if self.release_sigmas is None:
            return self.frames
        return self.frames & ((self.release_sigmas == 0) | (self.release_sigmas < sigma))

    def apply(
        self, latents: Float[Tensor, "b c f h w"], sigma: float, previous_sigma: float = math.inf
    ) -> Float[Tensor, "b c f h w"]:
        """The latents at `sigma` with the given frames in their places; `previous_sigma` is the level before that."""
        still = self.active(sigma)
        latents = torch.where(_frame_mask(still, latents), self.latents.to(latents), latents)
        gone = self.active(previous_sigma) & ~still
        if self.noise is None or not gone.any():
            return latents
        again = add_noise(self.latents, self.noise.to(self.latents), sigma).to(latents)
        return torch.where(_frame_mask(gone, latents), again, latents)

    def per_frame_sigmas(self, model_sigma: float, batch: int, sigma: float) -> Float[Tensor, "b f"]:
        """One time per latent frame, where the frames to be made are at `model_sigma`, which is that of `sigma`."""
        frames = torch.where(self.active(sigma).cpu(), self.sigmas.double().cpu(), model_sigma)
        return frames.expand(batch, -1)


def _frame_mask(frames: Bool[Tensor, " f"], latents: Float[Tensor, "b c f h w"]) -> Bool[Tensor, "1 1 f 1 1"]:
    return frames.to(latents.device)[None, None, :, None, None]


@dataclass(frozen=True, kw_only=True)
class InpaintMask:
    """A region that stays what it was (blended diffusion, arXiv 2111.14818; RePaint, arXiv 2201.09865).

    At every noise level the region is replaced by the given latents, noised to that level with the noise the
    solve began with. It needs nothing of the network, so any model can do it.

    Attributes:
        clean: the given latents.
        noise: of the whole solve.
        mask: 1 where the solver is free, 0 where the region stays, between them a mixture.
    """

    clean: Float[Tensor, "b c f h w"]
    noise: Float[Tensor, "b c f h w"]
    mask: Float[Tensor, "1 1 f h w"]

    def apply(self, latents: Float[Tensor, "b c f h w"], sigma: float) -> Float[Tensor, "b c f h w"]:
        """The latents, at `sigma`, with the region in its place."""
        kept = add_noise(self.clean.to(latents), self.noise.to(latents), sigma)
        return torch.lerp(kept, latents, self.mask.to(latents))


@dataclass(frozen=True, kw_only=True)
class AncestralNoise:
    """Noise that is drawn anew in part at every step: an ancestral solver (arXiv 2010.02502, section 4.1).

    An error in what a step takes for noise is carried to the end by a deterministic solver. Here a step goes
    down below its next level, and new noise brings the latents up to it: that noise is right by definition,
    and the later steps mend what they see. The distribution of what is made stays the same. What is drawn
    follows from the seed and the number of the step, so a solve that was stopped goes on as it was.

    Attributes:
        eta: how far below a step goes, in steps: 0 is the deterministic solver.
        seeds: of every sample of the batch; any tuple of whole numbers from 0.
    """

    eta: float
    seeds: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta lies between 0 and 1, not {self.eta}")

    def step(
        self,
        clean: Float[Tensor, "b c f h w"],
        noise: Float[Tensor, "b c f h w"],
        sigma: float,
        next_sigma: float,
        index: int,
    ) -> Float[Tensor, "b c f h w"]:
        """The latents at the `next_sigma` level, from what a step at `sigma` takes for data and for noise."""
        below = next_sigma * (1 - self.eta * (1 - next_sigma / sigma))
        # Both together leave (1 − following) of the data and a deviation of `next_sigma` of noise.
        share = (1 - next_sigma) / (1 - below)
        deviation = math.sqrt(max(0.0, next_sigma**2 - (share * below) ** 2))
        fresh = torch.stack([self._draw_noise(clean[0].shape, seed, index) for seed in self.seeds])
        return share * add_noise(clean, noise, below) + deviation * fresh.to(clean)

    @staticmethod
    def _draw_noise(shape: Sequence[int], seed: tuple[int, ...], index: int) -> Tensor:
        mixed = np.random.SeedSequence([*seed, index]).generate_state(1, np.uint64)[0]
        return torch.randn(*shape, generator=torch.Generator("cpu").manual_seed(int(mixed >> 1)))


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is known after a step.

    Attributes:
        index: of the step, from 0.
        total: how many steps there are.
        sigma: the noise level now reached.
        latents: at that level. Do not write into them: the solver goes on from them.
        clean: the network's guess at the finished latents, for previews.
        cached: whether a velocity was taken from an earlier step, and the error expected of that; None where
            the network ran.
        history: what the solver remembers beside the latents; with them and the index another solve goes on
            from here as this one does.
    """

    index: int
    total: int
    sigma: float
    latents: Float[Tensor, "b c f h w"]
    clean: Float[Tensor, "b c f h w"]
    cached: CachedStep | None = None
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
    step_cache: StepCacheConfig | None = None,
    first_step: int = 0,
    history: tuple[Float[Tensor, "b c f h w"], ...] = (),
) -> Iterator[Step]:
    """Carry latents from the first noise level of the schedule to its last, one yield per step.

    A solve that was stopped goes on, bit for bit, from the latents and the history of its last step, with
    `first_step` one more than that step's index (without `step_cache`, whose measurements are not kept).

    Args:
        denoiser: the network.
        latents: at level `schedule.sigmas[0]` (pure noise where that is 1), float32; not written into.
        schedule: the levels.
        solver: `euler` (order 1), `heun` (order 2, two evaluations a step) or `unipc` (order 2, one).
        clamp: latent frames that are given.
        mask: a region that stays what it was.
        ancestral: noise that is drawn anew; of `euler` alone.
        step_cache: skip evaluations whose result can be guessed; loses quality, see `StepCacheConfig`.
        first_step: index of the first step to be done.
        history: of the step before that.
    """
    if not 0 <= first_step <= schedule.num_steps or (first_step and step_cache is not None):
        raise ValueError(f"can't go on with step {first_step} of {schedule.num_steps}")
    if ancestral is not None and not ancestral.eta:
        ancestral = None
    if ancestral is not None and solver != "euler":
        raise ValueError(f"noise is drawn anew by the solver euler alone, not by {solver}")
    run = _SolverRun(denoiser, schedule, clamp, mask, None if step_cache is None else step_cache.start())
    if not first_step:  # a soft blend is not to be put twice
        latents = run.apply_known(latents, 0)
    match solver:
        case "euler":
            return _euler(run, latents, first_step, ancestral)
        case "heun":
            return _heun(run, latents, first_step)
        case "unipc":
            return _unipc(run, latents, first_step, history)


class _SolverRun:
    """One solve under way: the network behind the given frames and the reuse of velocities."""

    def __init__(
        self,
        denoiser: Denoiser,
        schedule: Schedule,
        clamp: FrameClamp | None,
        mask: InpaintMask | None,
        step_cache: StepCache | None,
    ) -> None:
        self.denoiser, self.schedule, self.clamp, self.step_cache = denoiser, schedule, clamp, step_cache
        self.mask = mask

    def apply_known(self, latents: Tensor, index: int) -> Tensor:
        """The latents, at level `index`, with everything that is given in its place."""
        level = self.schedule.sigmas[index]
        if self.mask is not None:
            latents = self.mask.apply(latents, level)
        if self.clamp is None:
            return latents
        return self.clamp.apply(latents, level, self.schedule.sigmas[index - 1] if index else math.inf)

    def clamp_x0(self, clean: Tensor, index: int) -> Tensor:
        """A guess at the clean latents, made at level `index`, with the frames that are held there."""
        if self.clamp is None:
            return clean
        level = self.schedule.sigmas[index]
        return self.clamp.apply(clean, level, level)

    def __call__(
        self, latents: Tensor, index: int, *, skip_cache: bool = False
    ) -> tuple[Tensor, CachedStep | None]:
        time = self.schedule.model_sigmas[index]
        batch, _, frames = latents.shape[:3]
        if self.clamp is None:
            times = torch.full((batch, frames), time, dtype=torch.float64)
        else:
            times = self.clamp.per_frame_sigmas(time, batch, self.schedule.sigmas[index])
        if self.step_cache is None or skip_cache:
            return self.denoiser(latents, times), None
        schedule = self.schedule
        return self.step_cache(
            lambda: self.denoiser(latents, times), latents, schedule.sigmas[index], index, schedule.num_steps
        )

    def make_step(
        self,
        index: int,
        latents: Tensor,
        clean: Tensor,
        cached: CachedStep | None,
        history: tuple[Tensor, ...] = (),
    ) -> Step:
        if self.mask is not None:
            clean = self.mask.apply(clean, 0.0)
        return Step(
            index=index,
            total=self.schedule.num_steps,
            sigma=self.schedule.sigmas[index + 1],
            latents=self.apply_known(latents, index + 1),
            clean=self.clamp_x0(clean, index),
            cached=cached,
            history=history,
        )


def _euler(run: _SolverRun, x: Tensor, first_step: int, ancestral: AncestralNoise | None) -> Iterator[Step]:
    sigmas = run.schedule.sigmas
    for index in range(first_step, run.schedule.num_steps):
        velocity, reused = run(x, index)
        level, following = sigmas[index], sigmas[index + 1]
        clean = torch.add(x, velocity, alpha=-level)
        if ancestral is None:
            ahead = torch.add(x, velocity, alpha=following - level)
        else:
            noise = torch.add(x, velocity, alpha=1 - level)
            ahead = ancestral.step(clean, noise, level, following, index)
        step = run.make_step(index, ahead, clean, reused)
        x = step.latents
        yield step


def _heun(run: _SolverRun, x: Tensor, first_step: int) -> Iterator[Step]:
    sigmas, last = run.schedule.sigmas, run.schedule.num_steps - 1
    for index in range(first_step, last + 1):
        velocity, reused = run(x, index)
        clean = torch.add(x, velocity, alpha=-sigmas[index])
        size = sigmas[index + 1] - sigmas[index]
        ahead = run.make_step(index, torch.add(x, velocity, alpha=size), clean, reused)
        if index < last:
            # The last step stays an Euler step: networks are not trained at exactly 0.
            second, _ = run(ahead.latents, index + 1, skip_cache=True)
            ahead = run.make_step(index, x + (0.5 * size) * (velocity + second), clean, reused)
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
        velocity, reused = run(x, index)
        clean = run.clamp_x0(torch.add(x, velocity, alpha=-sigmas[index]), index)
        if before is not None:
            x = run.apply_known(_correct(before, cleans, clean, sigmas, logs, index, order), index)
        cleans = [*cleans[-1:], clean]
        order = min(2, steps - index, len(cleans))
        before = x
        x = _predict(x, cleans, sigmas, logs, index, order)
        step = run.make_step(index, x, clean, reused, (before, *cleans))
        x = step.latents
        yield step


def _predict(
    x: Tensor, cleans: list[Tensor], sigmas: tuple[float, ...], logs: list[float], index: int, order: int
) -> Tensor:
    """From level `index` to the next."""
    now, following = sigmas[index], sigmas[index + 1]
    h = logs[index + 1] - logs[index]
    grown = -math.expm1(-h) * (1 - following)
    weights = [0.0, grown]
    if order == 2:
        slope = 0.5 * grown / ((logs[index - 1] - logs[index]) / h)
        weights = [slope, grown - slope]
    return _combine(following / now, x, weights[-order:], cleans[-order:])


def _correct(
    previous_latents: Tensor,
    cleans: list[Tensor],
    clean: Tensor,
    sigmas: tuple[float, ...],
    logs: list[float],
    index: int,
    order: int,
) -> Tensor:
    """The step to level `index` again, now that the prediction there is known."""
    now, last = sigmas[index], sigmas[index - 1]
    h = logs[index] - logs[index - 1]
    grown = -math.expm1(-h) * (1 - now)
    if order == 1:
        return _combine(now / last, previous_latents, [0.5 * grown, 0.5 * grown], [cleans[-1], clean])
    # Match the first two terms of the exponential integrator: a 2 x 2 system, solved by hand.
    ratio = (logs[index - 2] - logs[index - 1]) / h
    phi = math.expm1(-h) / -h - 1
    first = phi / math.expm1(-h)
    second = (phi / -h - 0.5) * 2 / math.expm1(-h)
    far = (first - second) / (1 - ratio)
    near = first - far
    weights = [grown * far / ratio, grown * (1 - near) - grown * far / ratio, grown * near]
    return _combine(now / last, previous_latents, weights, [*cleans[-2:], clean])


def _combine(scale: float, x: Tensor, weights: list[float], terms: list[Tensor]) -> Tensor:
    out = x * scale
    for weight, term in zip(weights, terms, strict=True):
        out.add_(term, alpha=weight)
    return out
