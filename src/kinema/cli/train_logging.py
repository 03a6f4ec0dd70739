"""What a person sees of a training: bars, a log, TensorBoard files; the judge that chooses checkpoints."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from kinema.training.stages import Progress
    from kinema.training.validation_samples import Scorer, ValidationSample

PRINTED_SCORES = ("objects_psnr", "psnr", "loss_right", "right_over_wrong", "facts_right")
"""Scores of the averaged weights that are printed while training; the log has them all."""


class TensorBoardWriter(Protocol):
    """What is used of a TensorBoard writer."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """A number at a step."""
        ...

    def add_image(self, tag: str, img_tensor: np.ndarray, global_step: int, *, dataformats: str) -> object:
        """A picture at a step."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


def run_logged(steps: Iterable[Progress], run_dir: Path, *, is_main: bool = True) -> None:
    """Go through a run: show it, and write `log.jsonl` and TensorBoard files in its folder.

    Args:
        steps: the run.
        run_dir: its folder.
        is_main: False in processes that only help: they go through the run silently.
    """
    if not is_main:
        for _ in steps:
            pass
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "log.jsonl").open("a") as lines, contextlib.ExitStack() as closing:
        events = open_tensorboard(run_dir / "events")
        if events is not None:
            closing.callback(events.close)
        for progress in show_progress(steps):
            if progress.report is None:
                continue
            lines.write(json.dumps(log_record(progress)) + "\n")
            lines.flush()
            if events is not None:
                write_tensorboard(events, progress)


def log_record(progress: Progress) -> dict[str, object]:
    """One line of the log."""
    report = progress.report
    assert report is not None
    line: dict[str, object] = {"stage": progress.stage, "step": report.step, "loss": report.loss}
    line |= {"norm": report.grad_norm, "seconds": round(report.seconds, 2), **report.logs}
    line["samples_per_second"] = round(report.samples_per_second, 3)
    line["operations_per_second"] = round(report.flops_per_second)
    if progress.sheet is not None:
        line["sheet"] = f"{progress.sheet.parent.name}/{progress.sheet.name}"
    return line | ({"scores": dict(report.scores)} if report.scores else {})


def open_tensorboard(folder: Path) -> TensorBoardWriter | None:
    """A TensorBoard writer, or None where `tensorboardX` (the extra `kinema[train]`) is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), flush_secs=10)


def write_tensorboard(writer: TensorBoardWriter, progress: Progress) -> None:
    """A step's numbers, its scores, and its sheet."""
    report = progress.report
    assert report is not None
    numbers = {"loss": report.loss, "norm": report.grad_norm, **report.logs}
    numbers |= {
        "samples per second": report.samples_per_second,
        "GFLOP per second": report.flops_per_second / 1e9,
    }
    for name, value in (numbers | dict(report.scores or {})).items():
        writer.add_scalar(f"{progress.stage}/{name}", value, report.step)
    if progress.sheet is not None:
        import numpy as np
        from PIL import Image

        with Image.open(progress.sheet) as sheet:
            picture = np.asarray(sheet.convert("RGB"))
        writer.add_image(f"{progress.stage}/sheet", picture, report.step, dataformats="HWC")


def show_progress(steps: Iterable[Progress]) -> Iterator[Progress]:
    """Pass progress on, showing it as bars that know what is left."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bars = Bars(*columns)
    tasks = {}
    with bars:
        for progress in steps:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total, note="")
            note, report = "", progress.report
            if report is not None:
                note = (
                    f"loss {report.loss:.4f}, {report.samples_per_second:.1f} films/s, "
                    f"{format_flops(report.flops_per_second)}"
                )
                scores = report.scores or {}
                told = [
                    f"{name} {scores[f'ema/{name}']:.4f}"
                    for name in PRINTED_SCORES
                    if f"ema/{name}" in scores
                ]
                if told:
                    bars.console.print(f"{progress.stage} step {report.step}: {', '.join(told)}")
            bars.update(tasks[progress.stage], completed=progress.done, total=progress.total, note=note)
            yield progress


def format_flops(per_second: float) -> str:
    """A speed as people say it."""
    for size, unit in ((1e12, "TFLOP/s"), (1e9, "GFLOP/s")):
        if per_second >= size:
            return f"{per_second / size:.1f} {unit}"
    return f"{per_second / 1e6:.1f} MFLOP/s"


def install_stop_handler() -> Callable[[], bool]:
    """A question that turns true when the process is asked to end (SIGTERM, Ctrl-C): save, then stop."""
    asked = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _frame: asked.append(number))
    return lambda: bool(asked)


def make_lab_scorer(fps: float) -> Scorer:
    """Scores of films by tracked facts: the share that are right, and the share of each kind of claim.

    Films whose prompts are none of the lab's can't be judged and are left out.
    """

    def score_videos(videos: Sequence[ValidationSample]) -> Mapping[str, float]:
        from kinema.errors import UserError
        from kinema.evaluation import quick_eval

        verdicts = []
        for film in videos:
            try:
                verdicts.append(quick_eval.quick_score(film.prompt, film.frames, fps))
            except UserError:
                continue
        if not verdicts:
            return {}
        asked: dict[str, list[bool]] = {
            "colour": [v.colour for v in verdicts],
            "shape": [v.shape for v in verdicts],
            "binding": [v.binding for v in verdicts],
            "direction": [v.direction for v in verdicts if v.direction is not None],
            "left_right": [v.left_right for v in verdicts if v.left_right is not None],
            "hits": [v.collision for v in verdicts if v.collision is not None],
            "moves": [not v.frozen for v in verdicts if v.frozen is not None],
            "lasts": [not v.births and not v.deaths for v in verdicts],
        }
        scores = {f"facts_{name}": sum(values) / len(values) for name, values in asked.items() if values}
        # All claims together: over a dozen films this is finer than the share of films without a fault.
        claims = [value for values in asked.values() for value in values]
        return scores | {
            "facts_right": sum(claims) / len(claims),
            "facts_faultless": sum(v.is_correct for v in verdicts) / len(verdicts),
        }

    return score_videos
