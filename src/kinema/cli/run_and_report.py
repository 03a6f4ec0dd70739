"""Making a film under the eyes of a person or a program: progress, stopping, saving, showing."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kinema.cli.options import OutputArgs
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.pipeline.cost import CostEstimate
    from kinema.pipeline.pipeline import Pipeline
    from kinema.pipeline.progress import SamplerState, SamplingStep, StageProgress
    from kinema.pipeline.resolve import ResolvedRequest
    from kinema.pipeline.video import GeneratedVideo

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class ProgressCallback(Protocol):
    """Who is told of the progress."""

    def __call__(self, event: StageProgress | SamplingStep) -> None:
        """The film has come so far."""
        ...


@dataclass(frozen=True, kw_only=True)
class FinishedVideo:
    """A film that is finished."""

    video: GeneratedVideo
    elapsed: float
    """Seconds."""


def emit_event(output: OutputArgs, event: str, **values: object) -> None:
    """One line of JSON for a program, if one asked for it."""
    if output.json:
        print(json.dumps({"event": event} | values), flush=True)


@contextlib.contextmanager
def report_errors(output: OutputArgs) -> Iterator[None]:
    """A mistake inside the block is also told to the program that reads the progress."""
    try:
        yield
    except UserError as error:
        emit_event(output, "error", message=str(error))
        raise


def run_request(
    pipe: Pipeline,
    request: ResolvedRequest,
    output: OutputArgs,
    *,
    state: Path,
    resume_from: SamplerState | None = None,
) -> FinishedVideo:
    """Make a film; Ctrl-C ends the program within a step and leaves the state from which to go on.

    Args:
        pipe: the model.
        request: the film.
        output: who is told.
        state: where the state goes.
        resume_from: where to begin.
    """
    from kinema.pipeline.pipeline import GeneratedVideo, SamplingStep
    from kinema.pipeline.reproduce import snapshot

    expected = pipe.require_memory(request)
    film = request.video_shape
    emit_event(
        output, "start", width=film.width, height=film.height, fps=request.fps, takes=len(request.segments),
        expected_seconds=round(expected.seconds, 1),
    )  # fmt: skip
    began = time.monotonic()
    last: SamplingStep | None = None
    try:
        with _json_progress(output) if output.json else _progress_bar(expected) as report:
            for event in pipe.iterate(request, resume_from=resume_from):
                if isinstance(event, GeneratedVideo):
                    return FinishedVideo(video=event, elapsed=time.monotonic() - began)
                last = event if isinstance(event, SamplingStep) else last
                report(event)
    except KeyboardInterrupt:
        saved = resume_from if last is None else last.to_state()
        if saved is None or request.noise is not None:
            emit_event(output, "stopped", state=None)
            print("kinema: stopped before the first step; nothing is kept", file=sys.stderr)
        else:
            snapshot(pipe, request, saved, output.out.absolute()).save(state)
            emit_event(output, "stopped", state=str(state), index=saved.index)
            print(f"kinema: stopped; go on with: kinema resume {state}", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    raise RuntimeError("a run ended without a film")


def state_path(out: Path) -> Path:
    """Where the state of a film that goes to `out` is kept."""
    return out.with_name(f"{out.name}.state")


def save_and_report(
    result: FinishedVideo, output: OutputArgs, out: Path, *, seed: int, note: str = ""
) -> None:
    """Write the film, say so, and show it if asked to."""
    film = result.video
    film.save(out)
    height, width = film.frames.shape[1:3]
    report_saved(
        output, out, num_frames=len(film.frames), size=(width, height), fps=film.fps, seed=seed, elapsed=result.elapsed,
        note=note,
    )  # fmt: skip


def report_saved(
    output: OutputArgs,
    out: Path,
    *,
    num_frames: int,
    size: tuple[int, int],
    fps: float,
    seed: int,
    elapsed: float,
    note: str = "",
) -> None:
    """Say that a film is written, and show it if asked to."""
    width, height = size
    if output.json:
        emit_event(
            output, "film", path=str(out), frames=num_frames, width=width, height=height, fps=fps,
            seconds=num_frames / fps, seed=seed, took=round(elapsed, 2), note=note,
        )  # fmt: skip
    else:
        print(
            f"{out}: {num_frames} frames at {width}x{height}, {num_frames / fps:.2f} s at {fps:g} fps, seed {seed}, "
            f"made in {elapsed:.1f} s{f'; {note}' if note else ''}"
        )
    if output.open:
        open_player(out)


def open_player(path: Path) -> None:
    """Open a film in whatever this computer shows films with.

    Raises:
        UserError: there is nothing that would.
    """
    if sys.platform == "win32":
        os.startfile(path)
        return
    command = "open" if sys.platform == "darwin" else "xdg-open"
    try:
        subprocess.Popen([command, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        raise UserError(f"{path} is written, but there is no {command} here to show it; open it") from None


def note_unknown_words(pipe: Pipeline, request: ResolvedRequest, output: OutputArgs) -> None:
    """One line on words that the film set's models never saw, and what does know them."""
    from kinema.models.formats.native import KinemaCheckpoint
    from kinema.simulator.captions.vocabulary import known_words, unknown_words

    if not isinstance(pipe.model, KinemaCheckpoint):
        return
    known = known_words()
    lines = [line.prompt for take in request.segments for line in take.conditioning.prompts]
    words = list(dict.fromkeys(word for line in lines for word in unknown_words(line, known)))
    if not words:
        return
    message = (
        f"{pipe.model.name} has never seen {', '.join(words)}; it knows the film set only. Open weights know "
        "more: --model Wan-AI/Wan2.1-T2V-1.3B-Diffusers or Wan-AI/Wan2.2-TI2V-5B-Diffusers"
    )
    emit_event(output, "note", message=message, words=words)
    if not output.json:
        print(f"kinema: {message}", file=sys.stderr)


@contextlib.contextmanager
def _json_progress(output: OutputArgs) -> Iterator[ProgressCallback]:
    from kinema.pipeline.pipeline import StageProgress

    began = time.monotonic()

    def report(event: StageProgress | SamplingStep) -> None:
        elapsed = round(time.monotonic() - began, 2)
        if isinstance(event, StageProgress):
            emit_event(output, "stage", name=event.name, done=event.done, of=event.total, elapsed=elapsed)
        else:
            emit_event(output, "step", index=event.index, of=event.total, time=event.sigma, elapsed=elapsed)

    yield report


@contextlib.contextmanager
def _progress_bar(estimate: CostEstimate) -> Iterator[ProgressCallback]:
    """A progress bar whose unit is the planned second, so that all stages count as they should."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from kinema.pipeline.pipeline import StageProgress

    seconds = {cost.name: cost.seconds for cost in estimate.costs}
    order = [cost.name for cost in estimate.costs]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    said = {"text": "reading the prompt", "pictures": "reading pictures", "decode": "decoding"}
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(said["text"], total=estimate.seconds)

        def report(event: StageProgress | SamplingStep) -> None:
            if isinstance(event, StageProgress):
                name, part, words = event.name, event.done / event.total, said[event.name]
            else:
                name, part = "steps", (event.index + 1) / event.total
                words = f"step {event.index + 1} of {event.total}"
            if name in seconds:
                before = sum(seconds[earlier] for earlier in order[: order.index(name)])
                progress.update(task, completed=before + part * seconds[name], description=words)

        yield report
