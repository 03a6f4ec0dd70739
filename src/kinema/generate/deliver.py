"""Films of any length and size as their frames are made: in one piece or as a stream, then refined."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kinema.generate.film import Film
from kinema.generate.frames import Frames
from kinema.generate.pipeline import Pipeline
from kinema.generate.progress import Stage, Step
from kinema.generate.refine import Refinement, check_refine, refine
from kinema.generate.request import Request
from kinema.generate.stream import is_long, stream


def deliver(
    pipeline: Pipeline, request: Request, *, factor: int = 1, refinement: Refinement | None = None
) -> Iterator[Stage | Step | Frames]:
    """Make a film in the way that suits it, and hand its frames on as they are finished.

    A film longer than the model was trained for is a stream. With a factor, the film is made at the
    request's size first and then refined to 2 or 4 times that; only the refined frames are handed on, and
    steps are counted from 0 again when the refinement begins.

    Raises:
        UserError: the model can't; said before the first step.
    """
    if factor > 1:
        check_refine(pipeline.model, factor)
    made = stream(pipeline, request) if is_long(pipeline.model, request) else _whole(pipeline, request)
    if factor == 1:
        yield from made
        return
    parts = []
    for event in made:
        if isinstance(event, Frames):
            parts.append(event.images)
            yield Stage(name="decode", done=event.done, of=event.of)
        else:
            yield event
    yield from refine(pipeline, request, np.concatenate(parts), factor, refinement)


def _whole(pipeline: Pipeline, request: Request) -> Iterator[Stage | Step | Frames]:
    for event in pipeline.run(request):
        if isinstance(event, Film):
            yield Frames(images=event.frames, done=len(event.frames), of=len(event.frames))
        else:
            yield event
