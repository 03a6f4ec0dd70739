"""Sampling defaults of a checkpoint: the settings that its weights were trained for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Solver = Literal["euler", "heun", "unipc", "lcm"]
ImageConditioning = Literal["none", "channels", "control_channels", "frames", "control"]
StreamingMode = Literal["windows", "cache"]


@dataclass(frozen=True, kw_only=True)
class SamplingDefaults:
    """The settings that apply where a request leaves them open.

    Attributes:
        num_inference_steps: solver steps.
        guidance_scale: scale of classifier-free guidance, 1 is off; one for each expert, high noise first.
        flow_shift: shift of the sigma schedule towards noise.
        solver: see `kinema.sampling`.
        eta: share of fresh noise at each step of a generated video, 0 to 1
            (`kinema.sampling.AncestralNoise`); for the solver `euler` only.
        schedule: `wan` rounds timesteps to integers from 0 to 1000, as Wan was trained; `linear` has even
            steps.
        boundary_ratio: with two experts, the second one denoises where sigma is below this.
        image_conditioning: how images condition the model. `none`: they can't. `channels`: as mask and
            condition channels concatenated with the latents. `frames`: as clean latent frames at sigma 0.
            `control_channels`: a control video and the first frame concatenated with the latents
            (Fun-Control). `control`: as input of a control branch (VACE).
        size: width and height.
        num_frames: frames of a video.
        fps: frames per second.
        negative_prompt: what guidance steers away from.
        streaming_mode: how finished latent frames condition the next ones of a longer video. `windows`: they
            are sampled again in front of the new ones. `cache`: as keys and values, for transformers trained
            with block-causal masks. See `kinema.pipeline.streaming`.
        distilled_steps: steps of a model distilled to few steps, without guidance; None: not distilled.
        recipe: the recipe of step-distilled weights that these defaults follow
            (`kinema.models.sampling_recipes`); None: they are not distilled.
        sigmas: the noise levels of all steps, in place of `schedule` and `flow_shift`; empty: those apply.
        boundary_step: with two experts, the step from which the second one denoises, in place of
            `boundary_ratio`; None: that applies.
        block_frames: latent frames of a block, for block-causal models, which generate every video block by
            block; None: all frames of a video are sampled together.
        context_frames: finished latent frames that a block of a longer video attends to; None: as many as the
            trained length leaves.
        context_sigma: noise level of these frames; None: what suits `streaming_mode`.
        sink_frames: first latent frames of the video that are kept in the cache as well; None: one.
    """

    num_inference_steps: int = 50
    guidance_scale: tuple[float, ...] = (5.0,)
    flow_shift: float = 3.0
    solver: Solver = "unipc"
    eta: float = 0.0
    schedule: Literal["wan", "linear"] = "wan"
    boundary_ratio: float | None = None
    image_conditioning: ImageConditioning = "none"
    size: tuple[int, int] = (832, 480)
    num_frames: int = 81
    fps: float = 16.0
    negative_prompt: str = ""
    streaming_mode: StreamingMode = "windows"
    distilled_steps: int | None = None
    recipe: str | None = None
    sigmas: tuple[float, ...] = ()
    boundary_step: int | None = None
    block_frames: int | None = None
    context_frames: int | None = None
    context_sigma: float | None = None
    sink_frames: int | None = None

    def __post_init__(self) -> None:
        if self.distilled_steps is not None and self.distilled_steps < 1:
            raise ValueError(f"distilled_steps is at least 1, not {self.distilled_steps}")
        if self.num_inference_steps < 1 or self.num_frames < 1 or self.fps <= 0 or self.flow_shift <= 0:
            raise ValueError(f"num_inference_steps, num_frames, fps and flow_shift are positive, not {self}")
        if not 0 <= self.eta <= 1 or (self.eta and self.solver != "euler"):
            raise ValueError(f"eta is 0 to 1, and above 0 only with the solver euler, not {self.eta}")
        if self.sigmas and len(self.sigmas) != self.num_inference_steps:
            raise ValueError(f"{self.num_inference_steps} steps have as many sigmas, not {len(self.sigmas)}")
        if len(self.guidance_scale) != (1 if self.boundary_ratio is None else 2):
            raise ValueError(f"one guidance scale for each expert, not {len(self.guidance_scale)}")

    @property
    def num_experts(self) -> int:
        """How many transformers share the range of sigma."""
        return len(self.guidance_scale)

    @property
    def can_stream(self) -> bool:
        """Whether the model can continue from finished latent frames."""
        knows_frames = self.image_conditioning == "frames" or self.block_frames is not None
        return knows_frames and self.num_experts == 1
