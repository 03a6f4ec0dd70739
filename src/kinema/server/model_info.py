"""What the served model can generate, known without the model: sizes, lengths, tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kinema.shapes import Stride, VideoShape


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The model that the workers serve.

    Attributes:
        name: the model's own name.
        width: of its default size, in pixels.
        height: of its default size.
        size_multiple: sides are multiples of this.
        num_frames: its default length in frames.
        fps: its default frames per second.
        temporal_stride: lengths are a multiple of this, plus 1 frame.
        num_inference_steps: its default solver steps.
        guidance_scale: its default scale of classifier-free guidance; of the first expert, if it has several.
        supports_images: whether it takes images.
        tasks: what it can do with videos: edit, extend, interpolate.
        upscale_factors: possible values of `upscale`.
        num_experts: transformers that share the range of sigma, high noise first; each has a guidance scale.
        loras: names of LoRAs that requests may use.
        vocabulary: the words of the model's training captions; empty: it knows more than can be listed.
        rewrites_prompts: whether it has a prompt rewriter.
        boundary_ratio: the sigma at which the second expert takes over; None: there is one expert.
        can_stream: whether it makes videos without end.
        control_inputs: what steers it besides prompts and frames: control, references, expand.
    """

    name: str
    width: int
    height: int
    size_multiple: int
    num_frames: int
    fps: float
    temporal_stride: int
    num_inference_steps: int
    guidance_scale: float
    supports_images: bool
    tasks: tuple[str, ...] = ()
    upscale_factors: tuple[int, ...] = (1,)
    num_experts: int = 1
    boundary_ratio: float | None = None
    loras: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    rewrites_prompts: bool = False
    can_stream: bool = False
    control_inputs: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Its default length at its default frame rate."""
        return self.num_frames / self.fps

    def nearest_num_frames(self, num_frames: int) -> int:
        """The number of frames that is generated where `num_frames` are requested."""
        shape = VideoShape(frames=max(1, num_frames), height=1, width=1)
        return shape.rounded(Stride(temporal=self.temporal_stride, spatial=1)).frames


def size_for_aspect(model_info: ModelInfo, aspect_ratio: float) -> tuple[int, int]:
    """Width and height of an aspect ratio with about as many pixels as the model's default size."""
    area = model_info.width * model_info.height
    sides = math.sqrt(area * aspect_ratio), math.sqrt(area / aspect_ratio)
    width, height = (
        max(1, round(side / model_info.size_multiple)) * model_info.size_multiple for side in sides
    )
    return width, height


def format_seconds(seconds: float) -> str:
    """Seconds as the API writes them: `4`, `2.125`."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") if abs(seconds) < 1e9 else f"{seconds:g}"
