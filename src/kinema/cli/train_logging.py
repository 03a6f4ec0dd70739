"""Progress bars, log file and TensorBoard files of a training run, and its stop signal."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from kinema.training.interruption import StopSignal
    from kinema.training.memory_estimate import TrainMemory
    from kinema.training.run_context import Progress

PRINTED_SCORES = (
    "objects_psnr", "moving_psnr", "psnr", "loss", "loss_right", "caption_loss_ratio", "lab_accuracy",
)  # fmt: skip
"""Scores of the averaged weights that are printed during training; the log has all scores."""


class TensorBoardWriter(Protocol):
    """The methods of a TensorBoard writer that are used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """Add a number."""
        ...

    def add_image(self, tag: str, img_tensor: np.ndarray, global_step: int, *, dataformats: str) -> object:
        """Add an image."""
        ...

    def close(self) -> None:
        """Write everything to disk."""
        ...


def run_logged(steps: Iterable[Progress], run_dir: Path, *, is_main: bool = True) -> None:
    """Execute a run with progress bars; write `log.jsonl` and TensorBoard files to its folder.

    Args:
        steps: progress of the run, which is executed by iterating over it.
        run_dir: folder of the run.
        is_main: False in the other processes of a distributed run, which write and print nothing.
    """
    if not is_main:
        for _ in steps:
            pass
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "log.jsonl").open("a") as log, contextlib.ExitStack() as stack:
        tensorboard = open_tensorboard(run_dir / "events")
        if tensorboard is not None:
            stack.callback(tensorboard.close)
        for progress in show_progress(steps):
            if progress.report is None:
                continue
            log.write(json.dumps(log_record(progress)) + "\n")
            log.flush()
            if tensorboard is not None:
                write_tensorboard(tensorboard, progress)


def log_record(progress: Progress) -> dict[str, object]:
    """One line of the log."""
    report = progress.report
    assert report is not None
    record: dict[str, object] = {"stage": progress.stage, "step": report.step, "loss": report.loss}
    record |= {"grad_norm": report.grad_norm, "seconds": round(report.seconds, 2), **report.logs}
    record["samples_per_second"] = round(report.samples_per_second, 3)
    record["flops_per_second"] = round(report.flops_per_second)
    if progress.sheet is not None:
        record["sheet"] = f"{progress.sheet.parent.name}/{progress.sheet.name}"
    return record | ({"scores": dict(report.scores)} if report.scores else {})


def open_tensorboard(folder: Path) -> TensorBoardWriter | None:
    """A TensorBoard writer, or None where `tensorboardX` (extra `kinema[train]`) is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), flush_secs=10)


def write_tensorboard(writer: TensorBoardWriter, progress: Progress) -> None:
    """Write the numbers, scores and contact sheet of a step."""
    report = progress.report
    assert report is not None
    scalars = {"loss": report.loss, "grad_norm": report.grad_norm, **report.logs}
    scalars |= {
        "samples per second": report.samples_per_second,
        "GFLOP per second": report.flops_per_second / 1e9,
    }
    for name, value in (scalars | dict(report.scores or {})).items():
        writer.add_scalar(f"{progress.stage}/{name}", value, report.step)
    if progress.sheet is not None:
        import numpy as np
        from PIL import Image

        with Image.open(progress.sheet) as sheet:
            image = np.asarray(sheet.convert("RGB"))
        writer.add_image(f"{progress.stage}/sheet", image, report.step, dataformats="HWC")


def show_progress(steps: Iterable[Progress]) -> Iterator[Progress]:
    """Pass progress on and show one bar per stage with the remaining time; without a terminal, lines."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        yield from print_progress(steps)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as ProgressBars

    bars = ProgressBars(
        TextColumn("{task.description:12}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )
    tasks = {}
    with bars:
        for progress in steps:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total, note="")
            scores = format_scores(progress)
            if scores:
                bars.console.print(scores)
            bars.update(
                tasks[progress.stage],
                completed=progress.done,
                total=progress.total,
                note=format_rates(progress),
            )
            yield progress


def print_progress(
    steps: Iterable[Progress], *, seconds_per_line: float = 60.0, clock: Callable[[], float] = time.monotonic
) -> Iterator[Progress]:
    """Pass progress on and print a line a minute, and at the start and the end of a stage and validations.

    Args:
        steps: progress of the run.
        seconds_per_line: time between lines.
        clock: seconds.
    """
    stage, stage_start, first_done, last_line = "", 0.0, 0, 0.0
    for progress in steps:
        now = clock()
        is_new = progress.stage != stage
        if is_new:
            stage, stage_start, first_done = progress.stage, now, progress.done
        scores = format_scores(progress)
        if is_new or scores or progress.done >= progress.total or now - last_line >= seconds_per_line:
            last_line = now
            parts = [f"{progress.stage} {progress.done}/{progress.total}", format_rates(progress)]
            if first_done < progress.done < progress.total:
                left = (progress.total - progress.done) * (now - stage_start) / (progress.done - first_done)
                parts.append(f"{left / 60:.0f} min left")
            print(", ".join(part for part in parts if part), flush=True)
            if scores:
                print(scores, flush=True)
        yield progress


def format_rates(progress: Progress) -> str:
    """Loss and rates of a training step."""
    report = progress.report
    if report is None:
        return ""
    return (
        f"loss {report.loss:.4f}, {report.samples_per_second:.1f} videos/s, "
        f"{format_flops(report.flops_per_second)}"
    )


def format_scores(progress: Progress) -> str:
    """The most important scores of a validation, or an empty string."""
    report = progress.report
    scores = {} if report is None else report.scores or {}
    printed = [f"{name} {scores[f'ema/{name}']:.4f}" for name in PRINTED_SCORES if f"ema/{name}" in scores]
    if report is None or not printed:
        return ""
    return f"{progress.stage} step {report.step}: {', '.join(printed)}"


def format_flops(per_second: float) -> str:
    """FLOPs per second with a unit."""
    for size, unit in ((1e12, "TFLOP/s"), (1e9, "GFLOP/s")):
        if per_second >= size:
            return f"{per_second / size:.1f} {unit}"
    return f"{per_second / 1e6:.1f} MFLOP/s"


def install_stop_handler() -> StopSignal:
    """Handle SIGTERM and Ctrl-C: the returned signal stops the run."""
    from kinema.training.interruption import StopSignal

    stop = StopSignal()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda _number, _frame: stop.request())
    return stop


def format_memory(memory: TrainMemory) -> str:
    """The peak memory of a training and its parts, in one line."""
    parts = {
        "weights": memory.weights,
        "optimizer": memory.optimizer,
        "averaged weights": memory.average,
        "activations and gradients": memory.step,
        "process": memory.process,
    }
    listed = ", ".join(f"{name} {value / 2**30:.2f}" for name, value in parts.items())
    line = (
        f"training needs {memory.peak / 2**30:.2f} GiB ({listed}); {memory.num_trained:,} trained parameters"
    )
    if memory.host_weights:
        line += f"; swapped blocks take {memory.host_weights / 2**30:.2f} GiB of the CPU's memory"
    return line
