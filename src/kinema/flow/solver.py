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

from kinema.flow.path import noised
from kinema.flow.reuse import Reuse, Reused, ReuseRun
from kinema.flow.schedule import Schedule

SolverName = Literal["euler", "heun", "unipc"]


@runtime_checkable
class Velocity(Protocol):
    """A network, with its prompts and guidance, as a function of latents and time."""

    def __call__(
        self, latents: Float[Tensor, "b c f h w"], time: Float[Tensor, "b f"]
    ) -> Float[Tensor, "b c f h w"]:
        """noise − data, where `time` (float64, on the CPU) tells how noisy each latent frame is."""
        ...


@dataclass(frozen=True, kw_only=True)
class Held:
    """Latent frames that are given: they stay as they are while the others are made.

    Attributes:
        frames: which.
        latents: theirs, at their noise level; what stands in the other frames is not read.
        time: the noise level at which each is held, 0 where it is clean.
        until: the level at which each is let go: noised to that, it is made again with the others, so that
            what is near to the given film passes into what is made without a step. 0 never lets go, and only
            frames that are held clean are let go. None: all are held to the end.
        noise: with which it is noised then.
    """

    frames: Bool[Tensor, " f"]
    latents: Float[Tensor, "b c f h w"]
    time: Float[Tensor, " f"]
    until: Float[Tensor, " f"] | None = None
    noise: Float[Tensor, "b c f h w"] | None = None

    def still(self, level: float) -> Bool[Tensor, " f"]:
        """The frames that are held yet when the others are at `level`."""
        if self.until is None:
            return self.frames
        return self.frames & ((self.until == 0) | (self.until < level))

    def put(
        self, latents: Float[Tensor, "b c f h w"], level: float, before: float = math.inf
    ) -> Float[Tensor, "b c f h w"]:
        """The latents at `level` with the given frames in their places; `before` is the level before that."""
        still = self.still(level)
        latents = torch.where(_over(still, latents), self.latents.to(latents), latents)
        gone = self.still(before) & ~still
        if self.noise is None or not gone.any():
            return latents
        again = noised(self.latents, self.noise.to(self.latents), level).to(latents)
        return torch.where(_over(gone, latents), again, latents)

    def times(self, time: float, batch: int, level: float) -> Float[Tensor, "b f"]:
        """One time per latent frame, where the frames to be made are at `time`, which is that of `level`."""
        frames = torch.where(self.still(level).cpu(), self.time.double().cpu(), time)
        return frames.expand(batch, -1)


def _over(frames: Bool[Tensor, " f"], latents: Float[Tensor, "b c f h w"]) -> Bool[Tensor, "1 1 f 1 1"]:
    return frames.to(latents.device)[None, None, :, None, None]


@dataclass(frozen=True, kw_only=True)
class Blend:
    """A region that stays what it was (blended diffusion, arXiv 2111.14818; RePaint, arXiv 2201.09865).

    At every noise level the region is replaced by the given latents, noised to that level with the noise the
    solve began with. It needs nothing of the network, so any model can do it.

    Attributes:
        clean: the given latents.
        noise: of the whole solve.
        free: 1 where the solver is free, 0 where the region stays, between them a mixture.
    """

    clean: Float[Tensor, "b c f h w"]
    noise: Float[Tensor, "b c f h w"]
    free: Float[Tensor, "1 1 f h w"]

    def put(self, latents: Float[Tensor, "b c f h w"], level: float) -> Float[Tensor, "b c f h w"]:
        """The latents, at `level`, with the region in its place."""
        kept = noised(self.clean.to(latents), self.noise.to(latents), level)
        return torch.lerp(kept, latents, self.free.to(latents))


@dataclass(frozen=True, kw_only=True)
class Ancestral:
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
        level: float,
        following: float,
        index: int,
    ) -> Float[Tensor, "b c f h w"]:
        """The latents at the `following` level, from what a step at `level` takes for data and for noise."""
        below = following * (1 - self.eta * (1 - following / level))
        # Both together leave (1 − following) of the data and a deviation of `following` of noise.
        share = (1 - following) / (1 - below)
        deviation = math.sqrt(max(0.0, following**2 - (share * below) ** 2))
        fresh = torch.stack([self._drawn(clean[0].shape, seed, index) for seed in self.seeds])
        return share * noised(clean, noise, below) + deviation * fresh.to(clean)

    @staticmethod
    def _drawn(shape: Sequence[int], seed: tuple[int, ...], index: int) -> Tensor:
        mixed = np.random.SeedSequence([*seed, index]).generate_state(1, np.uint64)[0]
        return torch.randn(*shape, generator=torch.Generator("cpu").manual_seed(int(mixed >> 1)))


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is known after a step.

    Attributes:
        index: of the step, from 0.
        of: how many steps there are.
        time: the noise level now reached.
        latents: at that level. Do not write into them: the solver goes on from them.
        clean: the network's guess at the finished latents, for previews.
        reused: whether a velocity was taken from an earlier step, and the error expected of that; None where
            the network ran.
        history: what the solver remembers beside the latents; with them and the index another solve goes on
            from here as this one does.
    """

    index: int
    of: int
    time: float
    latents: Float[Tensor, "b c f h w"]
    clean: Float[Tensor, "b c f h w"]
    reused: Reused | None = None
    history: tuple[Float[Tensor, "b c f h w"], ...] = ()


def solve(
    velocity: Velocity,
    latents: Float[Tensor, "b c f h w"],
    schedule: Schedule,
    *,
    solver: SolverName = "unipc",
    held: Held | None = None,
    blend: Blend | None = None,
    ancestral: Ancestral | None = None,
    reuse: Reuse | None = None,
    first: int = 0,
    history: tuple[Float[Tensor, "b c f h w"], ...] = (),
) -> Iterator[Step]:
    """Carry latents from the first noise level of the schedule to its last, one yield per step.

    A solve that was stopped goes on, bit for bit, from the latents and the history of its last step, with
    `first` one more than that step's index (without `reuse`, whose measurements are not kept).

    Args:
        velocity: the network.
        latents: at level `schedule.sigmas[0]` (pure noise where that is 1), float32; not written into.
        schedule: the levels.
        solver: `euler` (order 1), `heun` (order 2, two evaluations a step) or `unipc` (order 2, one).
        held: latent frames that are given.
        blend: a region that stays what it was.
        ancestral: noise that is drawn anew; of `euler` alone.
        reuse: skip evaluations whose result can be guessed; loses quality, see `Reuse`.
        first: index of the first step to be done.
        history: of the step before that.
    """
    if not 0 <= first <= schedule.steps or (first and reuse is not None):
        raise ValueError(f"can't go on with step {first} of {schedule.steps}")
    if ancestral is not None and not ancestral.eta:
        ancestral = None
    if ancestral is not None and solver != "euler":
        raise ValueError(f"noise is drawn anew by the solver euler alone, not by {solver}")
    run = _Run(velocity, schedule, held, blend, None if reuse is None else reuse.start())
    if not first:  # a soft blend is not to be put twice
        latents = run.put(latents, 0)
    match solver:
        case "euler":
            return _euler(run, latents, first, ancestral)
        case "heun":
            return _heun(run, latents, first)
        case "unipc":
            return _unipc(run, latents, first, history)


class _Run:
    """One solve under way: the network behind the given frames and the reuse of velocities."""

    def __init__(
        self,
        velocity: Velocity,
        schedule: Schedule,
        held: Held | None,
        blend: Blend | None,
        guess: ReuseRun | None,
    ) -> None:
        self.velocity, self.schedule, self.held, self.guess = velocity, schedule, held, guess
        self.blend = blend

    def put(self, latents: Tensor, index: int) -> Tensor:
        """The latents, at level `index`, with everything that is given in its place."""
        level = self.schedule.sigmas[index]
        if self.blend is not None:
            latents = self.blend.put(latents, level)
        if self.held is None:
            return latents
        return self.held.put(latents, level, self.schedule.sigmas[index - 1] if index else math.inf)

    def known(self, clean: Tensor, index: int) -> Tensor:
        """A guess at the clean latents, made at level `index`, with the frames that are held there."""
        if self.held is None:
            return clean
        level = self.schedule.sigmas[index]
        return self.held.put(clean, level, level)

    def __call__(self, latents: Tensor, index: int, *, exact: bool = False) -> tuple[Tensor, Reused | None]:
        time = self.schedule.times[index]
        batch, _, frames = latents.shape[:3]
        if self.held is None:
            times = torch.full((batch, frames), time, dtype=torch.float64)
        else:
            times = self.held.times(time, batch, self.schedule.sigmas[index])
        if self.guess is None or exact:
            return self.velocity(latents, times), None
        schedule = self.schedule
        return self.guess(
            lambda: self.velocity(latents, times), latents, schedule.sigmas[index], index, schedule.steps
        )

    def step(
        self,
        index: int,
        latents: Tensor,
        clean: Tensor,
        reused: Reused | None,
        history: tuple[Tensor, ...] = (),
    ) -> Step:
        if self.blend is not None:
            clean = self.blend.put(clean, 0.0)
        return Step(
            index=index,
            of=self.schedule.steps,
            time=self.schedule.sigmas[index + 1],
            latents=self.put(latents, index + 1),
            clean=self.known(clean, index),
            reused=reused,
            history=history,
        )


def _euler(run: _Run, x: Tensor, first: int, ancestral: Ancestral | None) -> Iterator[Step]:
    sigmas = run.schedule.sigmas
    for index in range(first, run.schedule.steps):
        velocity, reused = run(x, index)
        level, following = sigmas[index], sigmas[index + 1]
        clean = torch.add(x, velocity, alpha=-level)
        if ancestral is None:
            ahead = torch.add(x, velocity, alpha=following - level)
        else:
            noise = torch.add(x, velocity, alpha=1 - level)
            ahead = ancestral.step(clean, noise, level, following, index)
        step = run.step(index, ahead, clean, reused)
        x = step.latents
        yield step


def _heun(run: _Run, x: Tensor, first: int) -> Iterator[Step]:
    sigmas, last = run.schedule.sigmas, run.schedule.steps - 1
    for index in range(first, last + 1):
        velocity, reused = run(x, index)
        clean = torch.add(x, velocity, alpha=-sigmas[index])
        size = sigmas[index + 1] - sigmas[index]
        ahead = run.step(index, torch.add(x, velocity, alpha=size), clean, reused)
        if index < last:
            # The last step stays an Euler step: networks are not trained at exactly 0.
            second, _ = run(ahead.latents, index + 1, exact=True)
            ahead = run.step(index, x + (0.5 * size) * (velocity + second), clean, reused)
        x = ahead.latents
        yield ahead


def _log_snr(sigma: float) -> float:
    return math.log(1 - sigma) - math.log(sigma) if sigma > 0 else math.inf


def _unipc(run: _Run, x: Tensor, first: int, history: tuple[Tensor, ...]) -> Iterator[Step]:
    """UniPC (arXiv 2302.04867): order 2, B(h) = e^h − 1, on predictions of the data, lower order at the ends.

    All coefficients are scalars in float64, so that a step is a few multiply-adds on the latents.
    """
    schedule = run.schedule
    steps = schedule.steps
    # At level 1 the data has no part and the logarithm of its share is infinite.
    sigmas = tuple(min(sigma, 1 - 1e-6) for sigma in schedule.sigmas)
    logs = [_log_snr(sigma) for sigma in sigmas]
    # The latents from which the last step was taken, and the last two predictions of the data, oldest first.
    before: Tensor | None = history[0] if history else None
    cleans = list(history[1:])
    order = min(2, steps - first + 1, len(cleans))
    for index in range(first, steps):
        velocity, reused = run(x, index)
        clean = run.known(torch.add(x, velocity, alpha=-sigmas[index]), index)
        if before is not None:
            x = run.put(_correct(before, cleans, clean, sigmas, logs, index, order), index)
        cleans = [*cleans[-1:], clean]
        order = min(2, steps - index, len(cleans))
        before = x
        x = _predict(x, cleans, sigmas, logs, index, order)
        step = run.step(index, x, clean, reused, (before, *cleans))
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
    before: Tensor,
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
        return _combine(now / last, before, [0.5 * grown, 0.5 * grown], [cleans[-1], clean])
    # Match the first two terms of the exponential integrator: a 2 x 2 system, solved by hand.
    ratio = (logs[index - 2] - logs[index - 1]) / h
    phi = math.expm1(-h) / -h - 1
    first = phi / math.expm1(-h)
    second = (phi / -h - 0.5) * 2 / math.expm1(-h)
    far = (first - second) / (1 - ratio)
    near = first - far
    weights = [grown * far / ratio, grown * (1 - near) - grown * far / ratio, grown * near]
    return _combine(now / last, before, weights, [*cleans[-2:], clean])


def _combine(scale: float, x: Tensor, weights: list[float], terms: list[Tensor]) -> Tensor:
    out = x * scale
    for weight, term in zip(weights, terms, strict=True):
        out.add_(term, alpha=weight)
    return out
