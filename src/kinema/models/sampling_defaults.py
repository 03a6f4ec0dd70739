"""How a model wants to be run: what its weights were trained for, apart from their shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Solver = Literal["euler", "heun", "unipc"]
ImageConditioning = Literal["none", "channels", "frames"]
StreamingMode = Literal["windows", "cache"]


@dataclass(frozen=True, kw_only=True)
class SamplingDefaults:
    """The settings that a film is made with unless the person asks for others.

    Attributes:
        num_inference_steps: of the solver.
        guidance_scale: scale of classifier-free guidance, 1 is off; one for each expert, high noise first.
        flow_shift: of the noise schedule towards noise.
        solver: see `kinema.sampling.solve`.
        eta: how much noise is drawn anew at every step of a film that is made, not changed
            (`kinema.sampling.AncestralNoise`); of the solver `euler` alone.
        schedule: `wan` has whole thousandths of time, as its networks were trained; `linear` has even steps.
        boundary_ratio: with two experts, the second speaks where t is below this.
        image_conditioning: how a given picture enters. `none`: not at all. `channels`: beside the noise, as mask and
            condition channels. `num_frames`: as clean latent frames, at time 0.
        size: width and height.
        num_frames: of a film.
        fps: frames per second.
        negative_prompt: what guidance steers away from.
        streaming_mode: how a film longer than `num_frames` goes on from the finished ones. `windows`: given again in
            front of the new ones. `cache`: as keys and values, for transformers trained under block-causal
            masks; see `kinema.pipeline.streaming`.
        distilled_steps: of a model distilled to few steps, without guidance; None: it is not.
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

    def __post_init__(self) -> None:
        if self.distilled_steps is not None and self.distilled_steps < 1:
            raise ValueError(f"a film takes at least one step, not {self.distilled_steps}")
        if self.num_inference_steps < 1 or self.num_frames < 1 or self.fps <= 0 or self.flow_shift <= 0:
            raise ValueError(f"steps, frames, fps and shift are positive, not {self}")
        if not 0 <= self.eta <= 1 or (self.eta and self.solver != "euler"):
            raise ValueError(f"eta lies between 0 and 1, and above 0 with euler alone, not {self.eta}")
        if len(self.guidance_scale) != (1 if self.boundary_ratio is None else 2):
            raise ValueError(f"one guidance scale for each expert, not {len(self.guidance_scale)}")

    @property
    def num_experts(self) -> int:
        """How many transformers share the noise levels."""
        return len(self.guidance_scale)

    @property
    def can_stream(self) -> bool:
        """Whether the model can continue from finished latent frames."""
        return self.image_conditioning == "frames" and self.num_experts == 1
