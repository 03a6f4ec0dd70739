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
from kinema.serve.maker import Made, Progress, needed
from kinema.serve.served import Served
from kinema.serve.wanted import Wanted

_BEFORE, _AFTER = 0.04, 0.88
"""The shares of progress at which the solver begins and ends."""
_SURELY = 4
"""A film of up to so many times the model's own pixels is begun without a measurement of what fits."""


class Films:
    """A model that is kept in memory between films."""

    def __init__(self, model: str, device: str, place: int = 0) -> None:
        self._pipe = load(model, device=gpu_of(device, place))
        self._pipe.preload()

    @property
    def served(self) -> Served:
        """See `Maker.served`."""
        model = self._pipe.model
        recipe = model.recipe
        return Served(
            name=Path(model.name).name,
            width=recipe.size[0],
            height=recipe.size[1],
            unit=model.vae.stride.spatial * model.dit.patch,
            frames=recipe.frames,
            fps=float(recipe.fps),
            temporal=model.vae.stride.temporal,
            steps=recipe.steps,
            guidance=float(recipe.guidance[0]),
            pictures=recipe.pictures != "none",
            verbs=("edit", "extend", "connect") if recipe.pictures == "frames" else (),
        )

    def make(self, wanted: Wanted, folder: Path, *, start: Path | None) -> Iterator[Progress | Made]:
        """See `Maker.make`."""
        request = resolve_request(self._pipe.model, wish_of(wanted, folder))
        recipe = self._pipe.model.recipe
        own = recipe.size[0] * recipe.size[1] * recipe.frames
        if (
            request.video_shape.frames * request.video_shape.height * request.video_shape.width
            > _SURELY * own
        ):
            self._pipe.require_memory(request)
        steps = 0
        for event in self._pipe.iterate(request, resume_from=None if start is None else _read(start)):
            if isinstance(event, GeneratedVideo):
                yield Made(write=event.save, frames=event.frames)
            elif isinstance(event, SamplingStep):
                steps = event.total
                yield Progress(
                    stage="steps",
                    done=_BEFORE + (_AFTER - _BEFORE) * (event.index + 1) / event.total,
                    step=event.index + 1,
                    steps=event.total,
                    preview=event.preview,
                    save=lambda path, event=event: _save(path, event.to_state()),
                )
            else:
                yield Progress(stage=event.name, done=_done(event), step=steps, steps=steps)


def gpu_of(device: str, place: int) -> str:
    """The device of the worker in that place; where there are more workers than GPUs, they share them."""
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return f"cuda:{place % count}" if count > 1 else device


def wish_of(wanted: Wanted, folder: Path) -> VideoRequest:
    """The wish, with paths in place of names.

    Raises:
        UserError: a file it is made from is gone.
    """
    source, second = needed(folder, wanted.source), needed(folder, wanted.second)
    verb: ExtendInput | InterpolateInput | EditInput | None = None
    if wanted.verb == "edit" and source is not None:
        verb = EditInput(video=source, strength=wanted.strength)
    elif wanted.verb == "extend" and source is not None:
        verb = ExtendInput(video=source, backward=wanted.backward)
    elif wanted.verb == "connect" and source is not None and second is not None:
        verb = InterpolateInput(first=source, last=second)
    return VideoRequest(
        prompt="" if wanted.storyboard else wanted.prompt,
        negative_prompt=wanted.negative,
        size=None if wanted.width is None or wanted.height is None else (wanted.width, wanted.height),
        seconds=wanted.seconds,
        fps=wanted.fps,
        num_inference_steps=wanted.steps,
        guidance_scale=wanted.guidance,
        seed=wanted.seed,
        image=needed(folder, wanted.image),
        last_image=needed(folder, wanted.last_image),
        loop=wanted.loop,
        storyboard=tuple(
            Shot(
                prompt=shot.prompt,
                seconds=shot.seconds,
                image=needed(folder, shot.image),
                transition=shot.transition,
            )
            for shot in wanted.storyboard
        ),
        source=verb,
    )


def _done(stage: StageProgress) -> float:
    if stage.name == "decode":
        return _AFTER + (0.99 - _AFTER) * stage.done / stage.total
    return _BEFORE * (0.5 if stage.name == "text" else 1.0)


def _save(path: Path, state: SamplerState) -> None:
    with atomic_write(path) as beside, beside.open("wb") as file:
        np.savez(file, index=state.index, latents=state.latents.numpy())


def _read(path: Path) -> SamplerState:
    """A state; what can't be read was written by another version and is an error of the operator's."""
    try:
        with np.load(path) as kept:
            return SamplerState(index=int(kept["index"]), latents=torch.from_numpy(kept["latents"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise UserError(f"{path.name} is no saved state; ask for the film again") from None
