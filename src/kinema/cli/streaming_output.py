"""Films written while they are made: long ones, refined ones, and those that are watched meanwhile."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinema.pipeline.pipeline import Pipeline
    from kinema.pipeline.resolve import ResolvedRequest


def write_stream(
    pipe: Pipeline,
    request: ResolvedRequest,
    out: Path,
    *,
    upscale: int,
    preview: Path | None,
    comment: str = "",
) -> int:
    """Make a film, frames going to the file as they are finished, under a bar; how many there are.

    The file appears under its name when the film is whole, or not at all. A preview is there from the first
    frames on, and stays with what it has when the work is broken off.

    Args:
        pipe: of the model.
        request: the film.
        out: its file.
        upscale: 1, or 2 or 4 to refine it.
        preview: a second file that can be watched while it grows.
        comment: kept in the file.

    Raises:
        UserError: the film can't be made or written.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from kinema.media import open_writer
    from kinema.media.fragmented_mp4 import open_fragmented
    from kinema.pipeline.decoder import FrameChunk
    from kinema.pipeline.deliver import stream_video
    from kinema.pipeline.progress import SamplingStep

    size = (request.video_shape.width * upscale, request.video_shape.height * upscale)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with contextlib.ExitStack() as stack:
        live = (
            None
            if preview is None
            else stack.enter_context(open_fragmented(preview, fps=request.fps, size=size))
        )
        film = stack.enter_context(open_writer(out, fps=request.fps, size=size, comment=comment))
        console = Console(stderr=True)
        progress = stack.enter_context(Progress(*columns, console=console, transient=True))
        task = progress.add_task("reading the prompt", total=None)
        for event in stream_video(pipe, request, upscale_factor=upscale):
            if isinstance(event, FrameChunk):
                film.write(event.frames)
                if live is not None:
                    live.write(event.frames)
            elif isinstance(event, SamplingStep):
                words = (
                    f"step {event.index + 1} of {event.total}, {film.num_frames / request.fps:.1f} s written"
                )
                progress.update(task, total=event.total, completed=event.index + 1, description=words)
    return film.num_frames
