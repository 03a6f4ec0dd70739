"""The one sampling loop: schedule, starting latents, clamped frames, masks, fresh noise, and the solver.

Every solver run of the project goes through `sample`: single segments, batches, blocks of a stream,
upscaling, and validation samples of training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinema import sampling
from kinema.frames import require_finite
from kinema.models.sampling_defaults import SamplingDefaults
from kinema.pipeline.conditioning import EncodedEdit, LatentConditioning
from kinema.pipeline.latent_preview import LatentPreviewer
from kinema.pipeline.progress import SamplingStep


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """Settings of a solver run.

    Attributes:
        solver: euler, heun, unipc or lcm.
        schedule: the family of sigma schedules, `wan` or `linear`.
        num_inference_steps: steps from sigma 1 to 0.
        flow_shift: shift of the schedule towards noise.
        eta: share of fresh noise at every step (arXiv 2010.02502, section 4.1); 0 is deterministic.
        fixed_sigmas: the noise levels of all steps, for models that were trained for them; empty: those of
            the schedule.
    """

    solver: sampling.SolverName = "euler"
    schedule: str = "linear"
    num_inference_steps: int
    flow_shift: float = 1.0
    eta: float = 0.0
    fixed_sigmas: tuple[float, ...] = ()

    @classmethod
    def from_defaults(
        cls, defaults: SamplingDefaults, *, num_inference_steps: int, flow_shift: float
    ) -> SamplerConfig:
        """A checkpoint's solver with a request's steps and shift."""
        return cls(
            solver=defaults.solver,
            schedule=defaults.schedule,
            num_inference_steps=num_inference_steps,
            flow_shift=flow_shift,
            eta=defaults.eta,
            fixed_sigmas=defaults.sigmas,
        )

    def sigmas(self, max_sigma: float | None = None) -> sampling.Schedule:
        """The noise levels; with `max_sigma` those from there down, for edits and upscaling."""
        if self.fixed_sigmas:
            schedule = sampling.fixed_schedule(self.fixed_sigmas)
        else:
            build = sampling.wan_schedule if self.schedule == "wan" else sampling.linear_schedule
            schedule = build(self.num_inference_steps, self.flow_shift)
        return schedule if max_sigma is None else schedule.truncate(max_sigma)


@dataclass(frozen=True, kw_only=True, eq=False)
class ContextFrames:
    """Finished latent frames in front of those to sample, which attend to them.

    Attributes:
        latents: at noise level `sigma`.
        sigma: 0 to below 1.
    """

    latents: Float[Tensor, "b c f h w"]
    sigma: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ResumePoint:
    """Where an interrupted run continues.

    Attributes:
        first_step: index of the first step to do.
        latents: after the step before; None: the run has not begun.
        history: what a multi-step solver keeps.
    """

    first_step: int = 0
    latents: Float[Tensor, "b c f h w"] | None = None
    history: tuple[Float[Tensor, "b c f h w"], ...] = ()


def sample(
    denoiser: sampling.Denoiser,
    noise: Float[Tensor, "b c f h w"],
    config: SamplerConfig,
    *,
    seeds: Sequence[tuple[int, ...]],
    conditioning: LatentConditioning | None = None,
    edit: EncodedEdit | None = None,
    context: ContextFrames | None = None,
    previewer: LatentPreviewer | None = None,
    resume: ResumePoint | None = None,
) -> Iterator[SamplingStep]:
    """Sample latents from noise, one event per step. Stop reading to cancel.

    Args:
        denoiser: the transformer under its prompts and guidance; it sees context frames and new frames.
        noise: standard normal, of the new frames.
        config: solver, schedule and steps.
        seeds: of the fresh noise of each sample of the batch; any tuple of whole numbers from 0.
        conditioning: latent frames that are known, and the sigma at which each is clamped.
        edit: latents to start from instead of noise, and the region that may change. Edits use no fresh
            noise, so that they stay close to their source.
        context: finished frames in front of the new ones.
        previewer: for `SamplingStep.preview`.
        resume: continue an interrupted run, bit for bit.

    Yields:
        Steps whose latents are those of the new frames; in the last step known frames are clean.

    Raises:
        ModelOutputError: latents are not numbers.
    """
    resume = resume or ResumePoint()
    schedule = config.sigmas(None if edit is None else edit.sigma)
    eta = config.eta if edit is None else 0.0
    clamp = None if conditioning is None else conditioning.to_clamp(noise)
    latents = noise
    if resume.latents is not None:
        latents = resume.latents
    elif edit is None and config.fixed_sigmas:
        # Trained from a first noise level below 1. Others begin there too, by rounding alone.
        latents = noise * schedule.sigmas[0]
    elif edit is not None:
        latents = edit.noised_latents(noise, schedule.sigmas[0])
    num_new = noise.shape[2]
    if context is not None:
        clamp = _clamp_context(context, clamp, num_new)
        latents = torch.cat([context.latents, latents], dim=2)
    for step in sampling.sample(
        denoiser,
        latents,
        schedule,
        solver=config.solver,
        ancestral=sampling.AncestralNoise(eta=eta, seeds=tuple(seeds)),
        clamp=clamp,
        mask=None if edit is None else edit.inpaint_mask(noise),
        first_step=resume.first_step,
        history=tuple(row.to(noise.device) for row in resume.history),
    ):
        new, clean = step.latents[:, :, -num_new:], step.clean[:, :, -num_new:]
        require_finite(new, f"latents after step {step.index + 1} of {step.total}")
        if conditioning is not None:
            clean = conditioning.restore_conditioning(clean)
            if step.index == step.total - 1:
                new = conditioning.restore_conditioning(new)
        yield SamplingStep(
            index=step.index,
            total=step.total,
            sigma=step.sigma,
            latents=new,
            clean=clean,
            # With context frames the solver's history is of other shapes; such runs do not continue.
            history=step.history if context is None else (),
            previewer=previewer,
        )


def _clamp_context(
    context: ContextFrames, clamp: sampling.FrameClamp | None, num_new: int
) -> sampling.FrameClamp:
    """Context frames clamped to their noise level, and what is known of the new frames behind them."""
    front = context.latents.shape[2]
    known = torch.zeros(num_new, dtype=torch.bool) if clamp is None else clamp.frames
    sigmas = torch.ones(num_new) if clamp is None else clamp.sigmas
    latents = context.latents.new_zeros((*context.latents.shape[:2], num_new, *context.latents.shape[3:]))
    if clamp is not None:
        latents = clamp.latents.to(context.latents)
    return sampling.FrameClamp(
        frames=torch.cat([torch.ones(front, dtype=torch.bool), known]),
        latents=torch.cat([context.latents, latents], dim=2),
        sigmas=torch.cat([torch.full((front,), context.sigma), sigmas]),
    )


def seeded_noise(shape: Sequence[int], seed: int, device: torch.device) -> Float[Tensor, "..."]:
    """Standard normal noise from the CPU's generator, so that a seed means the same on every machine."""
    return torch.randn(*shape, generator=torch.Generator("cpu").manual_seed(seed)).to(device)
