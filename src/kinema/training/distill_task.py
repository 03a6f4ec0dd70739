"""Step distillation: a student that takes one step where its teacher takes several, and needs no guidance.

The student's sigma schedule divides the way from noise to data into windows, one for each step. A training
video is noised to the start of a window, and the teacher's guided solver continues from there to the
window's end. The student learns the straight velocity between the two points (piecewise rectified flow,
arXiv 2405.07510; guidance is learned as in arXiv 2210.03142). The teacher's solver is deterministic, so there
is one right answer for each start, and the regression does not average over several.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kinema.data import rng
from kinema.data.latent_cache import LatentDataset
from kinema.errors import UserError
from kinema.models.precision import autocast, compile_modules
from kinema.models.transformer.attention import ShardTokens
from kinema.models.transformer.dit import Dit
from kinema.sampling.schedule import linear_schedule
from kinema.sampling.solver import Denoiser
from kinema.training.caption_denoiser import caption_denoiser
from kinema.training.dit_task import DitTask, DitTrainConfig, noise_frames
from kinema.training.loop import Loss, StepCost

TEACHER_DISTANCE = "teacher_distance"
"""Squared difference of the student's and the teacher's videos from the same noise, over the teacher's mean
square."""
NUM_VALIDATION_VIDEOS = 16


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Settings of step distillation.

    Attributes:
        num_steps: solver steps of the student.
        teacher_steps: solver steps of the teacher in each of them.
        guidance_scale: of the teacher; the student needs none.
        flow_shift: of the student's sigma schedule.
        within_p: share of the samples that train the velocity inside a window, in place of its start. They
            let the student take more steps than `num_steps`.
    """

    num_steps: int = 4
    teacher_steps: int = 5
    guidance_scale: float = 1.8
    flow_shift: float = 1.0
    within_p: float = 0.1

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.teacher_steps < 1:
            raise UserError(
                f"{self.num_steps} steps of the student and {self.teacher_steps} of its teacher are not "
                "possible; give 1 or more"
            )
        if not 0 <= self.within_p <= 1:
            raise UserError(f"within_p is a share from 0 to 1, not {self.within_p}")

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Starts of the windows, and 0."""
        return linear_schedule(self.num_steps, self.flow_shift).sigmas


class DistillTask(DitTask):
    """Distillation as a `kinema.training.loop.Task`; the student starts from the teacher's weights.

    Args:
        config: settings of the training; its model is the teacher's.
        distill: settings of the distillation.
        teacher: the transformer that the student learns from.
        datasets: see `DitTask`.
        held_out: see `DitTask`.
        device: of training.
        shard_tokens: divides the tokens of each video among processes.
    """

    selection_score = TEACHER_DISTANCE

    def __init__(
        self,
        config: DitTrainConfig,
        distill: DistillConfig,
        teacher: Dit,
        datasets: Sequence[LatentDataset],
        held_out: Sequence[LatentDataset],
        device: torch.device,
        *,
        shard_tokens: ShardTokens | None = None,
    ) -> None:
        super().__init__(
            config,
            datasets,
            held_out,
            device,
            init_weights=teacher.state_dict(),
            shard_tokens=shard_tokens,
        )
        self.distill = distill
        self.teacher = teacher.to(device).eval().requires_grad_(False)
        if config.compile_blocks:
            compile_modules(self.teacher.blocks, device, dynamic_shapes=device.type != "cpu")

    def step_cost(self, step: int) -> StepCost:
        """Return the cost of a step's batch and shape, with that of the teacher."""
        student = super().step_cost(step)
        # Forward and backward of the student take three evaluations, each guided step of the teacher two.
        return StepCost(
            samples=student.samples, flops=student.flops * (3 + 2 * self.distill.teacher_steps) / 3
        )

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Return the mean squared error of the student's velocity over the noisy latent frames."""
        config, part = self.config, self._load_microbatch(step, microbatch, num_microbatches)
        is_noisy, num_scored = part.samples.sigmas > 0, part.samples.num_scored_frames
        is_scored = is_noisy
        num_frames = part.clean.shape[2]
        if part.block_frames:
            # As in a stream: finished frames in front of the one that is sampled. It sees no later ones.
            frame = int(rng.uniform(config.seed, "causal frame", step) * num_frames)
            frames = torch.arange(num_frames).expand(len(part.indices), -1)
            is_noisy, is_scored, num_scored = frames >= frame, frames == frame, float(part.step_size)
        sigmas = torch.tensor(self.distill.sigmas)
        windows, shares = self._draw_windows(step, part.indices)
        start, end = sigmas[windows], sigmas[windows + 1]
        first = noise_frames(part.clean, part.samples.noise, _frame_sigmas(start, is_noisy))
        rows, num_steps = part.samples.caption_rows, self.distill.teacher_steps
        last = self._run_teacher(first, start, end, num_steps, is_noisy, rows, part.block_frames)
        target = (last - first) / _per_sample(end - start, first)
        at = start + shares * (end - start)
        noisy = first + _per_sample(at - start, first) * target
        velocity = self._predict_velocity(
            noisy, _frame_sigmas(at, is_noisy), self._embed(rows), part.block_frames
        )
        error = (velocity - target).square().mean(dim=(1, 3, 4))
        return Loss(value=(error * is_scored.to(error)).sum() / num_scored)

    def _draw_windows(
        self, step: int, indices: Sequence[int]
    ) -> tuple[Int[Tensor, " b"], Float[Tensor, " b"]]:
        """The window of each sample, and where in the window it is trained, 0 at the start."""
        seed, distill = self.config.seed, self.distill
        windows, shares = [], []
        for index in indices:
            windows.append(int(rng.uniform(seed, "window", step, index) * distill.num_steps))
            is_within = rng.uniform(seed, "within", step, index) < distill.within_p
            shares.append(rng.uniform(seed, "share", step, index) if is_within else 0.0)
        return torch.tensor(windows), torch.tensor(shares)

    @torch.no_grad()
    def _run_teacher(
        self,
        latents: Float[Tensor, "b c f h w"],
        start: Float[Tensor, " b"],
        end: Float[Tensor, " b"],
        num_steps: int,
        is_noisy: Bool[Tensor, "b f"],
        caption_rows: Sequence[int],
        block_frames: tuple[int, ...] = (),
    ) -> Float[Tensor, "b c f h w"]:
        """Where the teacher's guided solver goes from `start` to `end`."""
        with autocast(self.config.precision, self.device):
            denoiser = self._denoiser(self.teacher, caption_rows, self.distill.guidance_scale, block_frames)
            step_size = _per_sample((end - start) / num_steps, latents)
            mask = is_noisy.to(latents)[:, None, :, None, None]
            for step in range(num_steps):
                sigma = start + (end - start) * step / num_steps
                velocity = denoiser(latents, _frame_sigmas(sigma, is_noisy)).float()
                latents = latents + step_size * velocity * mask
        return latents

    def _denoiser(
        self, dit: Dit, caption_rows: Sequence[int], guidance_scale: float, block_frames: tuple[int, ...] = ()
    ) -> Denoiser:
        return caption_denoiser(
            dit,
            self.text_table,
            caption_rows,
            guidance_scale=guidance_scale,
            pad_to_multiple=self._text_multiple,
            block_frames=block_frames,
            shard_tokens=self.shard_tokens,
        )

    @torch.no_grad()
    def validate(self) -> Mapping[str, float]:
        """Return `TEACHER_DISTANCE` over held-out captions, with fixed noise."""
        dataset = self.held_out[0]
        count = min(NUM_VALIDATION_VIDEOS, len(dataset))
        shape = tuple(dataset.latents.shape[1:])
        noise = torch.stack([rng.normal(shape, 0, "held out", index) for index in range(count)])
        noise = noise.to(self.device)
        rows = [dataset.captions[index][0] for index in range(count)]
        is_noisy = torch.ones(count, shape[1], dtype=torch.bool)
        sigmas = self.distill.sigmas
        student = teacher = noise
        with autocast(self.config.precision, self.device):
            denoiser = self._denoiser(self.dit, rows, 1.0)
        for start, end in itertools.pairwise(sigmas):
            level, following = torch.full((count,), start), torch.full((count,), end)
            teacher = self._run_teacher(teacher, level, following, self.distill.teacher_steps, is_noisy, rows)
            with autocast(self.config.precision, self.device):
                velocity = denoiser(student, _frame_sigmas(level, is_noisy))
            student = student + (end - start) * velocity.float()
        distance = (student - teacher).square().mean() / teacher.square().mean()
        return {TEACHER_DISTANCE: distance.item()}


def _per_sample(values: Float[Tensor, " b"], latents: Float[Tensor, "b c f h w"]) -> Tensor:
    return values.to(latents)[:, None, None, None, None]


def _frame_sigmas(sigma: Float[Tensor, " b"], is_noisy: Bool[Tensor, "b f"]) -> Float[Tensor, "b f"]:
    """The sigma of every latent frame: 0 where it is clean."""
    return sigma[:, None] * is_noisy
