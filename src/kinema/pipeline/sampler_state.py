"""What the solver is told of a take, and where a run that was stopped goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from kinema.errors import UserError
from kinema.pipeline.conditioning import EncodedEdit, LatentConditioning
from kinema.pipeline.denoiser import PromptEmbeddings
from kinema.pipeline.progress import SamplerState, SamplingStep
from kinema.pipeline.segments import Segment, split_latents
from kinema.shapes import LatentShape, Stride


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentInputs:
    """What the solver is told of a take.

    Attributes:
        prompt_embeddings: the prompts.
        latent_conditioning: latent frames.
        concat_channels: beside the noise, for models that read pictures there.
        edit: the film that is changed.
    """

    prompt_embeddings: PromptEmbeddings
    latent_conditioning: LatentConditioning
    concat_channels: Float[Tensor, "1 k f h w"] | None = None
    edit: EncodedEdit | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ResumePoint:
    """The first step of a take that is to be done, and what the solver remembers of those before."""

    first_step: int = 0
    history: tuple[Float[Tensor, "1 c f h w"], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ResumeState:
    """A saved state, taken apart.

    Attributes:
        steps_per_segment: of each take.
        num_finished: takes that are finished.
        segment_latents: latents of the finished takes, then of the one under way.
        resume_point: where the take after the finished ones goes on.
    """

    steps_per_segment: tuple[int, ...]
    num_finished: int = 0
    segment_latents: tuple[Float[Tensor, "1 c _ h w"], ...] = ()
    resume_point: ResumePoint = dataclasses.field(default_factory=ResumePoint)

    @classmethod
    def from_state(
        cls,
        state: SamplerState | None,
        steps_per_segment: Sequence[int],
        segments: tuple[Segment, ...],
        stride: Stride,
    ) -> ResumeState:
        """A state of these takes, or a fresh start.

        Raises:
            UserError: the state is not of these takes.
        """
        if state is None:
            return cls(steps_per_segment=tuple(steps_per_segment))
        number, index = 0, state.index
        while number < len(steps_per_segment) and index >= steps_per_segment[number]:
            index -= steps_per_segment[number]
            number += 1
        done = index + 1
        expected = 0
        shapes = [LatentShape.of(take.video_shape, stride) for take in segments[: number + 1]]
        expected = sum(shape.frames for shape in shapes)
        size = (shapes[0].height, shapes[0].width)
        if (
            state.index < 0
            or number == len(steps_per_segment)
            or state.latents.shape[2:] != (expected, *size)
        ):
            raise UserError(
                f"the saved state (step {state.index}, latents {tuple(state.latents.shape)}) is of another "
                "film than this one; start it anew"
            )
        parts = split_latents(state.latents[:1], segments, stride)
        past = expected - parts[-1].shape[2]
        history = tuple(row[:, :, past:] for row in state.latents[1:].split(1) if len(row))
        if done == steps_per_segment[number]:
            return cls(
                steps_per_segment=tuple(steps_per_segment), num_finished=number + 1, segment_latents=parts
            )
        start = ResumePoint(first_step=done, history=history)
        return cls(
            steps_per_segment=tuple(steps_per_segment),
            num_finished=number,
            segment_latents=parts,
            resume_point=start,
        )

    def initial_latents(self, number: int, noise: Float[Tensor, "1 c f h w"]) -> Float[Tensor, "1 c f h w"]:
        """Where the solver stands in a take: at its noise, if it has not begun."""
        return self.segment_latents[number].to(noise.device) if number < len(self.segment_latents) else noise

    def resume_point_for(self, number: int) -> ResumePoint:
        """Where a take goes on."""
        return self.resume_point if number == self.num_finished else ResumePoint()

    def offset_step(
        self, step: SamplingStep, number: int, finished_latents: Sequence[Tensor]
    ) -> SamplingStep:
        """A take's step, counted through all takes."""
        return dataclasses.replace(
            step,
            index=sum(self.steps_per_segment[:number]) + step.index,
            total=sum(self.steps_per_segment),
            finished_latents=tuple(finished_latents),
        )
