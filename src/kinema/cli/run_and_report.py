"""Run a request: progress, cancellation with a saved state, the output file, and the final report."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.cli.options import OutputArgs, ReportArgs
from kinema.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from kinema.pipeline.cost import CostEstimate
    from kinema.pipeline.pipeline import Pipeline
    from kinema.pipeline.progress import Event, SamplerState
    from kinema.pipeline.resolved_request import ResolvedRequest

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""
_STAGE_LABELS = {
    "text": "encoding the prompt", "images": "encoding images", "sample": "sampling", "decode": "decoding",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class CompletedRun:
    """The result of `run_request`.

    Attributes:
        num_frames: of the video.
        elapsed: seconds.
        frames: all frames, uint8 f h w 3, where the pipeline yielded them at once; None for a stream.
        tail_latents: see `kinema.pipeline.progress.Finished`.
    """

    num_frames: int
    elapsed: float
    frames: np.ndarray | None
    tail_latents: Tensor | None


def emit_event(args: ReportArgs, event: str, **values: object) -> None:
    """Print one line of JSON if `--json` was given."""
    if args.json:
        print(json.dumps({"event": event} | values), flush=True)


@contextlib.contextmanager
def report_errors(args: ReportArgs) -> Iterator[None]:
    """Emit a UserError of the block as an event, and raise it again."""
    try:
        yield
    except UserError as error:
        emit_event(args, "error", message=str(error))
        raise


def check_output_format(path: Path) -> None:
    """Check the suffix of an output file before the work instead of after it.

    Raises:
        UserError: no format has this suffix.
    """
    from kinema.media.formats import resolve_format

    resolve_format(path, None, "good")


def run_request(
    pipe: Pipeline,
    resolved: ResolvedRequest,
    output: OutputArgs,
    *,
    write: bool = True,
    preview: Path | None = None,
    state: SamplerState | None = None,
    state_path: Path | None = None,
) -> CompletedRun:
    """Generate a video with progress, and write frames to the file as they arrive.

    Ctrl-C ends the program within one solver step. Where the run can continue, its state is saved.

    Args:
        pipe: the model.
        resolved: the request.
        output: the file, and how progress is reported.
        write: False generates without writing; `CompletedRun.frames` has the result.
        preview: a second file, which can be played while it grows.
        state: continue after this step.
        state_path: the file for the state of an interrupted run; None is `output.out` with `.state` appended.

    Raises:
        UserError: the video does not fit into memory, or a file can't be written.
        SystemExit: the run was interrupted.
    """
    from kinema.pipeline.progress import Finished, FrameChunk, SamplingStep
    from kinema.pipeline.reproduce import snapshot
    from kinema.pipeline.video import write_events

    write = write and pipe.is_main
    estimate = pipe.require_memory(resolved)
    width, height = resolved.output_size
    emit_event(
        output, "start", width=width, height=height, fps=resolved.fps, segments=len(resolved.segments),
        expected_seconds=round(estimate.seconds, 1),
    )  # fmt: skip
    start = time.monotonic()
    events = pipe.stream(resolved, state=state)
    if write:
        events = write_events(
            events,
            output.out,
            resolved=resolved,
            metadata=lambda frames: pipe.metadata(resolved, frames),
            preview=preview,
        )
    last_step: SamplingStep | None = None
    frames: np.ndarray | None = None
    finished: Finished | None = None
    try:
        if not pipe.is_main:
            progress = contextlib.nullcontext(_report_nothing)
        else:
            progress = _json_progress(output) if output.json else _progress_bar(estimate, resolved.fps)
        with progress as report:
            for event in events:
                match event:
                    case SamplingStep():
                        last_step = event
                    case FrameChunk() if len(event.frames) == event.total:
                        frames = event.frames
                    case Finished():
                        finished = event
                report(event)
    except KeyboardInterrupt:
        if not pipe.is_main:
            raise SystemExit(EXIT_INTERRUPTED) from None
        sampler_state = state if last_step is None else last_step.to_state()
        if sampler_state is None:
            emit_event(output, "stopped", state=None)
            reason = "before the first step" if last_step is None else "a run that can't be resumed"
            print(f"kinema: stopped {reason}; nothing is saved", file=sys.stderr)
        else:
            path = state_path or output.out.with_name(f"{output.out.name}.state")
            snapshot(pipe, resolved, sampler_state).save(path)
            emit_event(output, "stopped", state=str(path), index=sampler_state.index)
            command = _resume_command(path, output.out, pipe, resolved)
            print(f"kinema: stopped; continue with: {command}", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    if finished is None:
        raise RuntimeError("the pipeline ended without a Finished event")
    return CompletedRun(
        num_frames=finished.num_frames,
        elapsed=time.monotonic() - start,
        frames=frames,
        tail_latents=finished.tail_latents,
    )


def _resume_command(state: Path, out: Path, pipe: Pipeline, resolved: ResolvedRequest) -> str:
    """The command names all that `kinema resume` does not open because a state's file says so."""
    from kinema.models.formats.loader import SHIPPED

    words = ["kinema", "resume", str(state), "--out", str(out)]
    if pipe.model.name not in SHIPPED:
        words += ["--model", pipe.model.name]
    for path in resolved.request.files():
        words += ["--input", path]
    for lora in resolved.loras:
        words += ["--lora", os.fspath(lora.lora.file)]
    return shlex.join(words)


def print_summary(
    output: OutputArgs, run: CompletedRun, resolved: ResolvedRequest, *, note: str = ""
) -> None:
    """Report a written video, and open it if `--open` was given.

    Raises:
        UserError: there is no player.
    """
    (width, height), fps, seconds = resolved.output_size, resolved.fps, run.num_frames / resolved.fps
    if output.json:
        emit_event(
            output, "video", path=str(output.out), frames=run.num_frames, width=width, height=height, fps=fps,
            seconds=seconds, seed=resolved.seed, elapsed=round(run.elapsed, 2), note=note,
        )  # fmt: skip
    else:
        print(
            f"{output.out}: {run.num_frames} frames at {width}x{height}, {seconds:.2f} s at {fps:g} fps, "
            f"seed {resolved.seed}, generated in {run.elapsed:.1f} s{f'; {note}' if note else ''}"
        )
    if output.open:
        open_player(output.out)


def open_player(path: Path) -> None:
    """Open a video in the default player of this computer.

    Raises:
        UserError: there is no player.
    """
    if sys.platform == "win32":
        os.startfile(path)
        return
    command = "open" if sys.platform == "darwin" else "xdg-open"
    try:
        subprocess.Popen([command, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        raise UserError(
            f"{path} is written, but there is no {command} here to open it; leave out --open"
        ) from None


def print_warnings(pipe: Pipeline, resolved: ResolvedRequest, args: ReportArgs) -> None:
    """Say which kind of model a file or folder is, and warn about words and images that it does not know."""
    from kinema.models.formats.loader import SHIPPED

    if pipe.model.name not in SHIPPED and not args.json:
        # On standard error: standard output is for results.
        print(f"{pipe.model.name}: {pipe.model.description}", file=sys.stderr)
    for message in pipe.warnings(resolved):
        emit_event(args, "note", message=message)
        if not args.json:
            print(f"kinema: {message}", file=sys.stderr)


def warn_unused_lora_modules(resolved: ResolvedRequest, args: ReportArgs) -> None:
    """Warn about modules of LoRAs that the model does not have, once for each file."""
    for note in dict.fromkeys(note for lora in resolved.loras for note in lora.notes):
        emit_event(args, "note", message=note)
        if not args.json:
            print(f"kinema: {note}", file=sys.stderr)


def _report_nothing(event: Event) -> None:
    """The progress of a process that another one reports for."""
    del event


@contextlib.contextmanager
def _json_progress(args: ReportArgs) -> Iterator[Callable[[Event], None]]:
    from kinema.pipeline.progress import FrameChunk, SamplingStep, StageProgress

    start = time.monotonic()

    def report(event: Event) -> None:
        elapsed = round(time.monotonic() - start, 2)
        match event:
            case StageProgress():
                emit_event(
                    args, "stage", name=event.name, done=event.done, total=event.total, elapsed=elapsed
                )
            case SamplingStep():
                emit_event(
                    args, "step", index=event.index, total=event.total, sigma=event.sigma, elapsed=elapsed
                )
            case FrameChunk():
                emit_event(args, "frames", done=event.done, total=event.total, elapsed=elapsed)

    yield report


@contextlib.contextmanager
def _progress_bar(estimate: CostEstimate, fps: float) -> Iterator[Callable[[Event], None]]:
    """A progress bar in units of estimated seconds, so that each stage has its share of the bar."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from kinema.pipeline.progress import FrameChunk, SamplingStep, StageProgress

    # Upscaling has no bar of its own: it repeats the other stages.
    seconds: dict[str, float] = {cost.name: cost.seconds for cost in estimate.costs if cost.name != "upscale"}
    done = dict.fromkeys(_STAGE_LABELS, 0.0)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(_STAGE_LABELS["text"], total=sum(seconds.values()))
        written = ""

        def report(event: Event) -> None:
            nonlocal written
            match event:
                case StageProgress():
                    stage, fraction, label = event.name, event.done / event.total, _STAGE_LABELS[event.name]
                case SamplingStep():
                    stage, fraction = "sample", (event.index + 1) / event.total
                    label = f"step {event.index + 1} of {event.total}{written}"
                case FrameChunk():
                    written = f", {event.done / fps:.1f} s written"
                    stage, fraction, label = "decode", event.done / event.total, _STAGE_LABELS["decode"]
                case _:
                    return
            # Upscaling repeats stages that are complete: the bar must not go back.
            done[stage] = max(done[stage], fraction)
            completed = sum(share * seconds.get(name, 0.0) for name, share in done.items())
            progress.update(task, completed=completed, description=label)

        yield report
