"""A request with every setting decided: what the pipeline runs, estimates and records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.models.sampling_defaults import SamplingDefaults
from kinema.pipeline.conditioning import Conditioning
from kinema.pipeline.loras import ResolvedLora
from kinema.pipeline.request import VideoRequest
from kinema.pipeline.sampler import SamplerConfig
from kinema.pipeline.segments import Segment, VideoTimeline
from kinema.shapes import VideoShape


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedRequest:
    """A request with every setting decided and its segments planned.

    Attributes:
        request: what the user set, with the model's defaults filled in.
        segments: solver runs in the order in which they are done, one for most videos. In a stream each is
            sampled block by block.
        is_streamed: whether the video is longer than the model was trained for, and is sampled as a stream.
        timeline: the video before the first segment: empty, or the source of an extension.
        target_video: the video that an interpolation leads up to.
        num_frames: of the finished video.
        size: width and height of the segments, before upscaling.
        fps: frames per second.
        num_inference_steps: solver steps of each segment or block.
        guidance_scale: of each expert.
        flow_shift: shift of the sigma schedule.
        seed: of the noise.
        noise: in place of the seed's noise; for a single segment or a stream.
        loras: changes of the model's weights.
        defaults: the model's defaults under the recipe of the request.
        rewritten_prompts: prompts of the request, each with the one that the segments have in its place, see
            `kinema.pipeline.prompt_rewriter`.
    """

    request: VideoRequest
    segments: tuple[Segment, ...]
    is_streamed: bool
    timeline: VideoTimeline
    target_video: UInt8[np.ndarray, "f h w 3"] | None = None
    num_frames: int
    size: tuple[int, int]
    fps: float
    num_inference_steps: int
    guidance_scale: tuple[float, ...]
    flow_shift: float
    seed: int
    noise: Float[Tensor, "1 c f h w"] | None = None
    loras: tuple[ResolvedLora, ...] = ()
    defaults: SamplingDefaults
    rewritten_prompts: Mapping[str, str] = field(default_factory=dict)

    @property
    def rewriting_notes(self) -> tuple[str, ...]:
        """A line for each prompt that was rewritten."""
        return tuple(
            f"the prompt {before!r} is read as {after!r}" for before, after in self.rewritten_prompts.items()
        )

    @property
    def conditioning(self) -> Conditioning:
        """Of the first segment."""
        return self.segments[0].conditioning

    @property
    def video_shape(self) -> VideoShape:
        """Of the first segment."""
        return self.segments[0].video_shape

    @property
    def largest_shape(self) -> VideoShape:
        """Of the longest segment."""
        return max((segment.video_shape for segment in self.segments), key=lambda shape: shape.frames)

    @property
    def output_size(self) -> tuple[int, int]:
        """Width and height of the finished video."""
        return self.size[0] * self.request.upscale, self.size[1] * self.request.upscale

    @property
    def num_encodes(self) -> int:
        """The most images and clips that the autoencoder encodes for one segment."""
        return max(
            segment.conditioning.num_encodes + (segment.join_mode != "cut") for segment in self.segments
        )

    def sampler_config(self) -> SamplerConfig:
        """Solver and schedule of the model with the steps and shift of the request."""
        return SamplerConfig.from_defaults(
            self.defaults, num_inference_steps=self.num_inference_steps, flow_shift=self.flow_shift
        )

    @property
    def boundary_ratio(self) -> float | None:
        """The sigma below which the second expert denoises; None with one transformer."""
        step = self.defaults.boundary_step
        if step is None:
            return self.defaults.boundary_ratio
        sigmas = self.sampler_config().sigmas().model_sigmas
        # The last step of the first expert, at whose sigma it still denoises. All steps if there are fewer.
        return sigmas[min(step, len(sigmas)) - 1]
