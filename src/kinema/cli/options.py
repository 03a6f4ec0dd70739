"""What every command that makes a film asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.pipeline.pipeline import Pipeline
    from kinema.pipeline.resolve import VideoRequest


@dataclass(frozen=True, kw_only=True)
class GenerationArgs:
    """What every film needs decided."""

    model: str = "world"
    """`world` (shipped), a folder, or owner/name of a hub model."""
    size: str | None = None
    """Width x height, for example 832x480."""
    seconds: float | None = None
    """Length; rounded to what the model can make. Of what is new, where a film goes on."""
    fps: float | None = None
    """Frames per second."""
    num_inference_steps: int | None = None
    """Of the solver: more is slower and finer."""
    fast: bool = False
    """The few steps without guidance that the model was distilled to, if it was."""
    guidance_scale: tuple[float, ...] | None = None
    """How strongly the prompt steers, 1 is off; one number, or one for each expert."""
    flow_shift: float | None = None
    """Of the noise schedule towards noise."""
    negative_prompt: str | None = None
    """What the film shall not show."""
    seed: int = 0
    """Another seed, another film."""
    device: str = "auto"
    """cpu, cuda, cuda:1 or auto."""
    dtype: str = "auto"
    """float32, bfloat16, int8 (CPU, lossy) or auto."""
    memory: str = "auto"
    """high keeps all parts in memory, low has one at a time."""

    def load_pipeline(self) -> Pipeline:
        """The model."""
        from kinema.pipeline.pipeline import load

        return load(self.model, device=self.device, dtype=self.dtype, memory=self.memory)

    def to_request(self, prompt: str) -> VideoRequest:
        """These settings as a wish."""
        from kinema.pipeline.resolve import VideoRequest
        from kinema.shapes import parse_size

        steps, guidance = self.num_inference_steps, self.guidance_scale
        if self.fast:
            from kinema.models.formats.loader import open_model
            from kinema.pipeline.distilled_settings import distilled_settings

            if steps is not None or guidance is not None:
                raise UserError("fast decides steps and guidance; leave these out, or leave out fast")
            path = distilled_settings(open_model(self.model))
            steps, guidance = path.num_inference_steps, (path.guidance_scale,)
        return VideoRequest(
            prompt=prompt,
            negative_prompt=self.negative_prompt,
            size=None if self.size is None else parse_size(self.size),
            seconds=self.seconds,
            fps=self.fps,
            num_inference_steps=steps,
            guidance_scale=guidance[0] if guidance is not None and len(guidance) == 1 else guidance,
            flow_shift=self.flow_shift,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class OutputArgs:
    """Where a film goes, and how its making is told."""

    out: Path = Path("film.mp4")
    """Where it goes; the ending chooses the format."""
    json: bool = False
    """Tell the progress on standard output as one JSON object a line."""
    open: bool = False
    """Show the film when it is finished."""
