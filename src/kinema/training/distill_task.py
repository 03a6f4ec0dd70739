"""Step distillation: a student that takes one step where its teacher takes several, and needs no guidance.

The student's sigma schedule divides the way from noise to data into windows, one for each step. The teacher's
guided solver goes this way once for every sample, and the student learns the straight velocity between the
two ends of each window (piecewise rectified flow, arXiv 2405.07510; guidance is learned as in arXiv
2210.03142). The teacher's solver is deterministic, so there is one right answer for each start, and the
regression does not average over several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kinema import sampling
from kinema.data import rng
from kinema.data.latent_cache import LatentDataset
from kinema.errors import UserError
from kinema.models.precision import autocast, compile_modules
from kinema.models.transformer.attention import ShardTokens
from kinema.models.transformer.dit import Dit
from kinema.sampling.schedule import Schedule, linear_schedule
from kinema.sampling.solver import Denoiser
from kinema.training.caption_denoiser import caption_denoiser
from kinema.training.dit_task import DitTask, DitTrainConfig, noise_frames, require_part
from kinema.training.loop import Loss, StepCost
from kinema.training.teacher_trajectories import Trajectories, sample_states

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
        teacher_solver: of the teacher (`kinema.sampling.sample`).
        num_batches: batches of teacher trajectories; the student's steps take them in turn, and each time
            every trajectory trains another window.
        guidance_scale: of the teacher; the student needs none.
        flow_shift: of the student's sigma schedule.
        within_p: share of the samples that train the velocity inside a window, in place of its start. They
            let the student take more steps than `num_steps`.
        init_from: a distilled model from whose weights the student starts, with the shape of the teacher: to
            distil a teacher again that was trained further. Empty: the teacher's weights.
    """

    num_steps: int = 4
    teacher_steps: int = 3
    teacher_solver: Literal["euler", "heun", "unipc"] = "unipc"
    num_batches: int = 128
    guidance_scale: float = 1.8
    flow_shift: float = 1.0
    within_p: float = 0.1
    init_from: str = ""

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.teacher_steps < 1:
            raise UserError(
                f"{self.num_steps} steps of the student and {self.teacher_steps} of its teacher are not "
                "possible; give 1 or more"
            )
        if self.num_batches < 1:
            raise UserError(f"num_batches is 1 or more, not {self.num_batches}")
        if not 0 <= self.within_p <= 1:
            raise UserError(f"within_p is a share from 0 to 1, not {self.within_p}")

    @property
    def schedule(self) -> Schedule:
        """The steps of the student, one for each window."""
        return linear_schedule(self.num_steps, self.flow_shift)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Starts of the windows, and 0."""
        return self.schedule.sigmas

    @property
    def teacher_schedule(self) -> Schedule:
        """All steps of the teacher; every `teacher_steps`-th one ends a window."""
        return linear_schedule(self.num_steps * self.teacher_steps, self.flow_shift)


class DistillTask(DitTask):
    """Distillation as a `kinema.training.loop.Task`.

    Args:
        config: settings of the training; its model is the teacher's.
        distill: settings of the distillation.
        teacher: the transformer that the student learns from.
        datasets: see `DitTask`.
        held_out: see `DitTask`.
        device: of training.
        init_weights: from which the student starts; None: the teacher's.
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
        init_weights: Mapping[str, Tensor] | None = None,
        shard_tokens: ShardTokens | None = None,
    ) -> None:
        super().__init__(
            config,
            datasets,
            held_out,
            device,
            init_weights=teacher.state_dict() if init_weights is None else init_weights,
            shard_tokens=shard_tokens,
        )
        self.distill = distill
        self.teacher = teacher.to(device).eval().requires_grad_(False)
        if config.compile_blocks:
            compile_modules(self.teacher.blocks, device, dynamic_shapes=device.type != "cpu")
        self.trajectories: Sequence[Trajectories] = ()
        """What the student learns; set before the first step."""

    @torch.no_grad()
    def sample_trajectories(self, index: int) -> Trajectories:
        """Run the teacher for a batch of videos; the batches are those of the steps of a training.

        Captions, known latent frames and noise are drawn as in training (`DitTask`).
        """
        part = self._load_microbatch(index, 0, 1)
        is_noisy = is_scored = part.samples.sigmas > 0
        if part.block_frames:
            # As in a stream: finished frames in front of the one that is sampled. It sees no later ones.
            num_frames = part.clean.shape[2]
            frame = int(rng.uniform(self.config.seed, "causal frame", index) * num_frames)
            frames = torch.arange(num_frames).expand(len(part.indices), -1)
            is_noisy, is_scored = frames >= frame, frames == frame
        noise = noise_frames(part.clean, part.samples.noise, is_noisy.float())
        rows = part.samples.caption_rows
        return Trajectories(
            states=self._run_teacher(noise, is_noisy, rows, part.block_frames),
            is_noisy=is_noisy,
            is_scored=is_scored,
            caption_rows=tuple(rows),
            block_frames=part.block_frames,
        )

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Return the mean squared error of the student's velocity over the noisy latent frames."""
        whole = self.trajectories[self._pick_batch(step)]
        part = whole.part(microbatch, num_microbatches)
        count = len(part.caption_rows)
        require_part(count, len(whole.caption_rows), num_microbatches)
        sigmas = torch.tensor(self.distill.sigmas)
        windows, shares = self._draw_windows(
            step, range(len(whole.caption_rows))[microbatch::num_microbatches]
        )
        start, end = sigmas[windows], sigmas[windows + 1]
        own = torch.arange(count)
        first, last = (part.states[index, own].to(self.device) for index in (windows, windows + 1))
        target = (last - first) / _per_sample(end - start, first)
        at = start + shares * (end - start)
        noisy = first + _per_sample(at - start, first) * target
        velocity = self._predict_velocity(
            noisy, at[:, None] * part.is_noisy, self._embed(part.caption_rows), part.block_frames
        )
        error = (velocity - target).square().mean(dim=(1, 3, 4))
        return Loss(value=(error * part.is_scored.to(error)).sum() / float(whole.is_scored.sum()))

    def step_cost(self, step: int) -> StepCost:
        """Return the cost of a step's batch and shape."""
        return super().step_cost(self._pick_batch(step))

    def _pick_batch(self, step: int) -> int:
        epoch, position = divmod(step, self.distill.num_batches)
        return int(rng.epoch_permutation(self.distill.num_batches, self.config.seed, epoch)[position])

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

    def _run_teacher(
        self,
        noise: Float[Tensor, "b c f h w"],
        is_noisy: Bool[Tensor, "b f"],
        caption_rows: Sequence[int],
        block_frames: tuple[int, ...] = (),
    ) -> Float[Tensor, "s b c f h w"]:
        """The latents at the ends of all windows, on the way of the teacher's guided solver."""
        with autocast(self.config.precision, self.device):
            denoiser = self._denoiser(self.teacher, caption_rows, self.distill.guidance_scale, block_frames)
            return sample_states(
                denoiser,
                noise,
                is_noisy,
                self.distill.teacher_schedule,
                solver=self.distill.teacher_solver,
                every=self.distill.teacher_steps,
            )

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
        teacher = self._run_teacher(noise, is_noisy, rows)[-1].to(self.device)
        with autocast(self.config.precision, self.device):
            denoiser = self._denoiser(self.dit, rows, 1.0)
            *_, last = sampling.sample(denoiser, noise, self.distill.schedule, solver="euler")
        student = last.latents
        distance = (student - teacher).square().mean() / teacher.square().mean()
        return {TEACHER_DISTANCE: distance.item()}


def _per_sample(values: Float[Tensor, " b"], latents: Float[Tensor, "b c f h w"]) -> Tensor:
    return values.to(latents)[:, None, None, None, None]
