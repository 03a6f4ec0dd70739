"""The models as makers: what a caller wants becomes a wish, and the pipeline's events become progress."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from kinema.atomic_io import atomic_write
from kinema.errors import UserError
from kinema.pipeline.pipeline import load
from kinema.pipeline.progress import SamplerState, SamplingStep, StageProgress
from kinema.pipeline.resolve import (
    EditInput,
    ExtendInput,
    InterpolateInput,
    Shot,
    VideoRequest,
    resolve_request,
)
from kinema.pipeline.video import GeneratedVideo
from kinema.server.backends.base import JobProgress, JobResult, require_file
from kinema.server.job_spec import JobSpec
from kinema.server.model_info import ModelInfo

_SAMPLING_START, _SAMPLING_END = 0.04, 0.88
"""The shares of progress at which the solver begins and ends."""
_UNCHECKED_PIXEL_RATIO = 4
"""A film of up to so many times the model's own pixels is begun without a measurement of what fits."""


class PipelineBackend:
    """A model that is kept in memory between films."""

    def __init__(self, model: str, device: str, worker_index: int = 0) -> None:
        self._pipeline = load(model, device=worker_device(device, worker_index))
        self._pipeline.preload()

    @property
    def model_info(self) -> ModelInfo:
        """See `Maker.model_info`."""
        model = self._pipeline.model
        recipe = model.sampling_defaults
        return ModelInfo(
            name=Path(model.name).name,
            width=recipe.size[0],
            height=recipe.size[1],
            size_multiple=model.vae.stride.spatial * model.dit.patch_size,
            num_frames=recipe.num_frames,
            fps=float(recipe.fps),
            temporal_stride=model.vae.stride.temporal,
            num_inference_steps=recipe.num_inference_steps,
            guidance_scale=float(recipe.guidance_scale[0]),
            supports_images=recipe.image_conditioning != "none",
            tasks=("edit", "extend", "connect") if recipe.image_conditioning == "frames" else (),
        )

    def generate(
        self, spec: JobSpec, job_dir: Path, *, resume_from: Path | None
    ) -> Iterator[JobProgress | JobResult]:
        """See `Maker.generate`."""
        request = resolve_request(self._pipeline.model, to_video_request(spec, job_dir))
        recipe = self._pipeline.model.sampling_defaults
        own = recipe.size[0] * recipe.size[1] * recipe.num_frames
        if (
            request.video_shape.frames * request.video_shape.height * request.video_shape.width
            > _UNCHECKED_PIXEL_RATIO * own
        ):
            self._pipeline.require_memory(request)
        steps = 0
        for event in self._pipeline.iterate(
            request, resume_from=None if resume_from is None else _load_sampler_state(resume_from)
        ):
            if isinstance(event, GeneratedVideo):
                yield JobResult(write_video=event.save, frames=event.frames)
            elif isinstance(event, SamplingStep):
                steps = event.total
                yield JobProgress(
                    stage="steps",
                    fraction=_SAMPLING_START
                    + (_SAMPLING_END - _SAMPLING_START) * (event.index + 1) / event.total,
                    step=event.index + 1,
                    total_steps=event.total,
                    preview=event.preview,
                    save_checkpoint=lambda path, event=event: _save_sampler_state(path, event.to_state()),
                )
            else:
                yield JobProgress(
                    stage=event.name, fraction=_progress_fraction(event), step=steps, total_steps=steps
                )


def worker_device(device: str, worker_index: int) -> str:
    """The device of the worker in that place; where there are more workers than GPUs, they share them."""
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return f"cuda:{worker_index % count}" if count > 1 else device


def to_video_request(spec: JobSpec, job_dir: Path) -> VideoRequest:
    """The wish, with paths in place of names.

    Raises:
        UserError: a file it is made from is gone.
    """
    source, second = require_file(job_dir, spec.source_video), require_file(job_dir, spec.next_video)
    verb: ExtendInput | InterpolateInput | EditInput | None = None
    if spec.task == "edit" and source is not None:
        verb = EditInput(video=source, strength=spec.strength)
    elif spec.task == "extend" and source is not None:
        verb = ExtendInput(video=source, backward=spec.backward)
    elif spec.task == "connect" and source is not None and second is not None:
        verb = InterpolateInput(first=source, last=second)
    return VideoRequest(
        prompt="" if spec.storyboard else spec.prompt,
        negative_prompt=spec.negative_prompt,
        size=None if spec.width is None or spec.height is None else (spec.width, spec.height),
        seconds=spec.seconds,
        fps=spec.fps,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        seed=spec.seed,
        image=require_file(job_dir, spec.image),
        last_image=require_file(job_dir, spec.last_image),
        loop=spec.loop,
        storyboard=tuple(
            Shot(
                prompt=shot.prompt,
                seconds=shot.seconds,
                image=require_file(job_dir, shot.image),
                transition=shot.transition,
            )
            for shot in spec.storyboard
        ),
        source=verb,
    )


def _progress_fraction(stage: StageProgress) -> float:
    if stage.name == "decode":
        return _SAMPLING_END + (0.99 - _SAMPLING_END) * stage.done / stage.total
    return _SAMPLING_START * (0.5 if stage.name == "text" else 1.0)


def _save_sampler_state(path: Path, state: SamplerState) -> None:
    with atomic_write(path) as beside, beside.open("wb") as file:
        np.savez(file, index=state.index, latents=state.latents.numpy())


def _load_sampler_state(path: Path) -> SamplerState:
    """A state; what can't be read was written by another version and is an error of the operator's."""
    try:
        with np.load(path) as kept:
            return SamplerState(index=int(kept["index"]), latents=torch.from_numpy(kept["latents"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise UserError(f"{path.name} is no saved state; ask for the film again") from None
