"""The backend that runs a model: events of `Pipeline.stream` become progress and a file."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from kinema.errors import UserError
from kinema.media.contact_sheet import evenly_spaced
from kinema.models.formats.native import KinemaCheckpoint
from kinema.pipeline.pipeline import load
from kinema.pipeline.progress import FrameChunk, SamplerState, SamplingStep, StageProgress
from kinema.pipeline.prompt_vocabulary import model_vocabulary
from kinema.pipeline.request import VideoRequest
from kinema.pipeline.request_checks import UPSCALE_FACTORS
from kinema.pipeline.resolved_request import ResolvedRequest
from kinema.pipeline.upscale import check_upscale
from kinema.pipeline.video import write_events
from kinema.server.backends.base import JobProgress, JobResult, load_checkpoint, save_checkpoint
from kinema.server.backends.live import PipelineLiveSource
from kinema.server.model_info import ModelInfo

_SAMPLING_START, _SAMPLING_END = 0.04, 0.88
"""The progress at which sampling starts and ends."""
_UNCHECKED_PIXEL_RATIO = 4
"""Videos of up to this many times the model's default pixels start without a check of memory."""
_NUM_SAMPLE_FRAMES = 49
_CONTROL_INPUTS: dict[str, tuple[str, ...]] = {
    "control": ("control", "references", "expand"),
    "control_channels": ("control",),
}
"""By the model's image conditioning."""


class PipelineBackend:
    """A model that stays in memory between jobs.

    Args:
        model: as `kinema.load` takes it.
        device: auto, cpu, cuda, or cuda:1.
        worker_index: number of this worker.
        loras: LoRAs that requests may use, by their names.

    Raises:
        UserError: there is no such model or device, or a LoRA does not fit the model.
    """

    def __init__(
        self, model: str, device: str, worker_index: int = 0, *, loras: Mapping[str, Path] | None = None
    ) -> None:
        self._pipeline = load(model, device=worker_device(device, worker_index))
        self._loras = tuple(loras or ())
        for name, path in (loras or {}).items():
            self._pipeline.load_lora(path, name=name)
        self._pipeline.preload()

    @property
    def model_info(self) -> ModelInfo:
        """See `Backend.model_info`."""
        model = self._pipeline.model
        defaults = model.sampling_defaults
        continues_videos = defaults.image_conditioning in ("frames", "control")
        return ModelInfo(
            name=Path(model.name).name,
            width=defaults.size[0],
            height=defaults.size[1],
            size_multiple=model.vae.stride.spatial * model.dit.patch_size,
            num_frames=defaults.num_frames,
            fps=float(defaults.fps),
            temporal_stride=model.vae.stride.temporal,
            num_inference_steps=defaults.num_inference_steps,
            guidance_scale=float(defaults.guidance_scale[0]),
            supports_images=defaults.image_conditioning != "none",
            control_inputs=_CONTROL_INPUTS.get(defaults.image_conditioning, ()),
            tasks=("edit", "extend", "interpolate") if continues_videos else (),
            upscale_factors=self._upscale_factors(),
            num_experts=defaults.num_experts,
            boundary_ratio=defaults.boundary_ratio,
            loras=self._loras,
            vocabulary=tuple(sorted(model_vocabulary(model))),
            rewrites_prompts=isinstance(model, KinemaCheckpoint) and model.has_prompt_rewriter,
            can_stream=defaults.can_stream,
        )

    def _upscale_factors(self) -> tuple[int, ...]:
        try:
            check_upscale(self._pipeline.model, max(UPSCALE_FACTORS))
        except UserError:
            return (1,)
        return UPSCALE_FACTORS

    def generate(
        self, request: VideoRequest, output: Path, *, resume_from: Path | None
    ) -> Generator[JobProgress | JobResult]:
        """See `Backend.generate`. Streamed and upscaled videos have no checkpoints."""
        pipeline = self._pipeline
        for lora in request.loras:
            # A request names a LoRA, and never a path. The settings may have changed since it was checked.
            if lora.file not in self._loras:
                raise UserError(
                    f"the LoRA {lora.file} is no longer offered here; submit the request without it"
                )
        resolved = pipeline.resolve(request)
        self._require_memory(resolved)
        is_resumable = not resolved.is_streamed and resolved.request.upscale == 1
        events = write_events(
            pipeline.stream(
                resolved, state=None if resume_from is None else _load_sampler_state(resume_from)
            ),
            output,
            resolved=resolved,
            metadata=lambda frames: pipeline.metadata(resolved, frames).relative_to(output.parent),
        )
        sample_frames = _SampleFrames(resolved.num_frames)
        fraction, step, total_steps = 0.0, 0, 0
        for event in events:
            match event:
                case StageProgress(name=name):
                    # A stream decodes between its steps, which alone measure its progress.
                    fraction = fraction if resolved.is_streamed else _progress_fraction(event)
                    yield JobProgress(stage=name, fraction=fraction, step=step, total_steps=total_steps)
                case SamplingStep():
                    step, total_steps = event.index + 1, event.total
                    fraction = _SAMPLING_START + (_SAMPLING_END - _SAMPLING_START) * step / total_steps
                    yield JobProgress(
                        stage="sample",
                        fraction=fraction,
                        step=step,
                        total_steps=total_steps,
                        preview=event.preview,
                        save_checkpoint=_checkpoint_writer(event) if is_resumable else None,
                    )
                case FrameChunk():
                    sample_frames.add(event)
                    yield JobProgress(stage="decode", fraction=fraction, step=step, total_steps=total_steps)
        yield JobResult(sample_frames=sample_frames.stack(), warnings=resolved.rewriting_notes)

    def live(self, request: VideoRequest) -> PipelineLiveSource:
        """See `Backend.live`."""
        return PipelineLiveSource(self._pipeline, request)

    def _require_memory(self, resolved: ResolvedRequest) -> None:
        defaults, shape = self._pipeline.model.sampling_defaults, resolved.largest_shape
        pixels = shape.frames * shape.height * shape.width
        default_pixels = defaults.num_frames * defaults.size[0] * defaults.size[1]
        if pixels > _UNCHECKED_PIXEL_RATIO * default_pixels:
            self._pipeline.require_memory(resolved)


def worker_device(device: str, worker_index: int) -> str:
    """The device of a worker; more workers than GPUs share them."""
    num_gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return f"cuda:{worker_index % num_gpus}" if num_gpus > 1 else device


class _SampleFrames:
    """Evenly spaced frames of a video whose frames arrive in chunks."""

    def __init__(self, num_frames: int) -> None:
        self._indices = set(evenly_spaced(num_frames, _NUM_SAMPLE_FRAMES))
        self._frames: list[np.ndarray] = []

    def add(self, chunk: FrameChunk) -> None:
        """Keep the frames that are needed."""
        start = chunk.done - len(chunk.frames)
        for offset, frame in enumerate(chunk.frames):
            if start + offset in self._indices:
                self._frames.append(frame.copy())

    def stack(self) -> UInt8[np.ndarray, "f h w 3"]:
        """All of them."""
        return np.stack(self._frames)


def _progress_fraction(stage: StageProgress) -> float:
    if stage.name == "decode":
        return _SAMPLING_END + (0.99 - _SAMPLING_END) * stage.done / stage.total
    return _SAMPLING_START * (0.5 if stage.name == "text" else 1.0)


def _checkpoint_writer(step: SamplingStep) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        state = step.to_state()
        if state is not None:
            save_checkpoint(path, index=state.index, state=state.latents.numpy())

    return save


def _load_sampler_state(path: Path) -> SamplerState:
    index, latents = load_checkpoint(path)
    return SamplerState(index=index, latents=torch.from_numpy(latents))
