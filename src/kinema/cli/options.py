"""Options that several commands share: device, sampling, output, and the machine of a training run."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from kinema.pipeline.pipeline import Pipeline
    from kinema.pipeline.request import VideoRequest


@dataclass(frozen=True, kw_only=True)
class DeviceArgs:
    """Where a model runs."""

    device: str = "auto"
    """cpu, cuda, cuda:1 or auto."""
    memory: str = "auto"
    """high keeps all modules in memory, low loads one at a time, blocks copies the transformer by blocks,
    sharded divides it among the processes of torchrun; 8GB plans for a card of that size."""


@dataclass(frozen=True, kw_only=True)
class SamplingArgs(DeviceArgs):
    """The model and the settings of a request. An option that is not given leaves the choice to the model."""

    model: str = "world"
    """`world` (shipped), a folder, a file of a Wan transformer, or owner/name of a hub model."""
    vae: str | None = None
    """Another autoencoder for a Wan model: a file, a folder, or owner/name of a hub model."""
    text_encoder: str | None = None
    """Another text encoder for a Wan model: a file, a folder, or owner/name of a hub model."""
    preview_decoder: Path | None = None
    """A tiny decoder for previews, in the layout of TAEHV: taew2_1.safetensors, taew2_2.safetensors."""
    dtype: str = "auto"
    """float32, bfloat16, int8 (lossy), fp8 (lossy, on GPUs that have it) or auto."""
    attention: str = "auto"
    """What computes attention: auto, or a name that `kinema doctor` lists."""
    compile_mode: str = "off"
    """blocks: compile the transformer's blocks for each size, which takes a minute for the first video;
    graphs: and replay them as CUDA graphs."""
    split: str = "auto"
    """Under torchrun, how processes share a video: guidance=2,ulysses=2,ring=1 or auto."""
    size: str | None = None
    """Width x height in pixels, for example 832x480."""
    num_frames: int | None = None
    """Length in frames; or give --seconds."""
    seconds: float | None = None
    """Length, rounded to one that the model can generate. For extend and interpolate: of the new part."""
    fps: float | None = None
    """Frames per second."""
    num_inference_steps: int | None = None
    """Solver steps; more are slower and more exact."""
    guidance_scale: tuple[float, ...] | None = None
    """Scale of classifier-free guidance, 1 is off; one number, or one for each expert."""
    flow_shift: float | None = None
    """Shift of the sigma schedule towards noise."""
    negative_prompt: str | None = None
    """What guidance steers away from."""
    seed: int = 0
    """Seed of the noise."""
    upscale: int = 1
    """2 or 4: upscale the video by this factor with the model."""
    fast: bool = False
    """Few steps without guidance, for step-distilled models and LoRAs."""
    recipe: str | None = None
    """How step-distilled weights are sampled, where the name of their file does not say: lightning-4, ..."""
    step_cache: float | None = None
    """Reuse results of steps while the velocity changes by less than this, for example 0.05; faster, and the
    video changes. The error is printed."""
    keep_prompt: bool = False
    """Do not rewrite a prompt in everyday English into the wording of the model's captions."""
    control: Path | None = None
    """A video to follow in depth, poses or edges; for models with a control branch (VACE)."""
    control_kind: Literal["depth", "pose", "edge", "raw"] = "raw"
    """What the control video shows; edge: its edges are computed first, so give any video."""
    control_scale: float = 1.0
    """How strongly the control video is followed."""
    reference: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """An image of something that the video shows; for models with a control branch. May be repeated."""
    lora: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A LoRA to apply: FILE, FILE:strength, or with two experts FILE:strength:strength of the low-noise
    expert. Repeat for several."""

    def load_pipeline(self) -> Pipeline:
        """Load the model.

        Raises:
            UserError: there is no such model, or an option is invalid.
        """
        with _paused_garbage_collection():
            from kinema.pipeline.pipeline import load
        from kinema.cli.processes import join_processes

        return load(
            self.model,
            device=join_processes(self.device),
            dtype=self.dtype,
            memory=self.memory,
            vae=self.vae,
            text_encoder=self.text_encoder,
            preview_decoder=self.preview_decoder,
            attention=self.attention,
            split=self.split,
            compile_mode=self.compile_mode,
        )

    def to_request(self, prompt: str) -> VideoRequest:
        """These settings as a request.

        Raises:
            UserError: the size or a LoRA can't be parsed, or options contradict each other.
        """
        from kinema.errors import UserError
        from kinema.pipeline.loras import parse_lora
        from kinema.pipeline.request import ControlInput, VideoRequest
        from kinema.shapes import parse_size

        if self.fast and self.recipe is not None:
            raise UserError("--fast takes the model's own recipe and --recipe names one; give one of the two")
        scales = self.guidance_scale
        return VideoRequest(
            prompt=prompt,
            negative_prompt=self.negative_prompt,
            size=None if self.size is None else parse_size(self.size),
            num_frames=self.num_frames,
            seconds=self.seconds,
            fps=self.fps,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=scales[0] if scales is not None and len(scales) == 1 else scales,
            flow_shift=self.flow_shift,
            seed=self.seed,
            upscale=self.upscale,
            loras=tuple(parse_lora(text) for text in self.lora),
            recipe="fast" if self.fast else self.recipe,
            control=None
            if self.control is None
            else ControlInput(video=self.control, kind=self.control_kind, scale=self.control_scale),
            references=self.reference,
            step_cache=self.step_cache,
            rewrite_prompt=not self.keep_prompt,
        )


@dataclass(frozen=True, kw_only=True)
class ReportArgs:
    """How a command reports its progress and its result."""

    json: bool = False
    """Print progress on standard output, one JSON object per line."""
    open: bool = False
    """Open the finished video in the default player."""


@dataclass(frozen=True, kw_only=True)
class OutputArgs(ReportArgs):
    """The file that a command writes."""

    out: Path = Path("video.mp4")
    """File to write; its suffix chooses the format."""


@dataclass(frozen=True, kw_only=True)
class MachineArgs:
    """The machine of a run."""

    device: str = "auto"
    """cpu, cuda or auto."""
    text_encoder: Path | None = None
    """Folder of the text encoder (model.safetensors, tokenizer.json); without it, that of its package."""
    context_parallel: int = 1
    """Under torchrun: processes that share the tokens of each video, for long videos (`dit`, LoRA)."""
    render_device: Literal["cpu", "cuda"] = "cpu"
    """Where simulated videos are rendered; cuda needs the extra kinema[cuda]."""


@contextlib.contextmanager
def _paused_garbage_collection() -> Iterator[None]:
    """Import torch without collections, and leave its objects out of later ones.

    An import creates 180,000 objects that all stay; searching them for garbage takes 0.5 s of a short run.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
