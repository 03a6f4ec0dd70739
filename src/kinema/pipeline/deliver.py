"""Films of any length and size as their frames are made: in one piece or as a stream, then refined."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kinema.pipeline.decoder import FrameChunk
from kinema.pipeline.pipeline import Pipeline
from kinema.pipeline.progress import SamplingStep, StageProgress
from kinema.pipeline.resolve import ResolvedRequest
from kinema.pipeline.streaming import needs_streaming, stream_blocks
from kinema.pipeline.upscale import UpscaleConfig, check_upscale, upscale
from kinema.pipeline.video import GeneratedVideo


def stream_video(
    pipeline: Pipeline,
    resolved: ResolvedRequest,
    *,
    upscale_factor: int = 1,
    upscale_config: UpscaleConfig | None = None,
) -> Iterator[StageProgress | SamplingStep | FrameChunk]:
    """Make a film in the way that suits it, and hand its frames on as they are finished.

    A film longer than the model was trained for is a stream. With a factor, the film is made at the
    request's size first and then refined to 2 or 4 times that; only the refined frames are handed on, and
    steps are counted from 0 again when the refinement begins.

    Raises:
        UserError: the model can't; said before the first step.
    """
    if upscale_factor > 1:
        check_upscale(pipeline.model, upscale_factor)
    made = (
        stream_blocks(pipeline, resolved)
        if needs_streaming(pipeline.model, resolved)
        else _sample_at_once(pipeline, resolved)
    )
    if upscale_factor == 1:
        yield from made
        return
    parts = []
    for event in made:
        if isinstance(event, FrameChunk):
            parts.append(event.frames)
            yield StageProgress(name="decode", done=event.done, total=event.total)
        else:
            yield event
    yield from upscale(pipeline, resolved, np.concatenate(parts), upscale_factor, upscale_config)


def _sample_at_once(
    pipeline: Pipeline, resolved: ResolvedRequest
) -> Iterator[StageProgress | SamplingStep | FrameChunk]:
    for event in pipeline.iterate(resolved):
        if isinstance(event, GeneratedVideo):
            yield FrameChunk(frames=event.frames, done=len(event.frames), total=len(event.frames))
        else:
            yield event
