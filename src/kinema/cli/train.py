"""`kinema train`: the release recipe, its parts, and going on after a stop."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, subcommand

from kinema.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kinema.train.release import Progress, ReleaseConfig

CONFIG = "release.json"
SHOWN = ("ema/objects_psnr", "ema/psnr", "ema/loss_right", "ema/right_over_wrong")
"""Scores that are printed while training; the log has them all."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """Film the set, train the autoencoder and the transformer, export the weights: everything, offline."""

    out: Path
    """Folder of the run; a run that is there goes on."""
    budget: str = "2h"
    """Time for everything: 90s, 25m, 2h."""
    scale: Literal["auto", "lab", "whole", "tiny"] = "auto"
    """`lab` for two cores, `whole` for a GPU, `tiny` to rehearse; auto takes what the machine is for."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    set: tuple[str, ...] = ()
    """Settings to change, as name.of.setting=value: dit.batch=16 filming.count=2000"""

    def run(self) -> None:
        """Run the recipe."""
        from kinema.files import write_text
        from kinema.models.config_json import from_values, to_json
        from kinema.train import release
        from kinema.train.settings import override, plain

        device = chosen_device(self.device)
        scale = self.scale
        if scale == "auto":
            scale = "whole" if device == "cuda" else "lab"
        presets = {"lab": release.lab, "whole": release.whole, "tiny": release.tiny}
        config = override(presets[scale](budget=seconds_of(self.budget)), self.set)
        note = self.out / CONFIG
        if note.is_file():
            saved = from_values(release.ReleaseConfig, json.loads(note.read_text()), what=str(note))
            if plain(saved) != plain(config):
                raise UserError(
                    f"{self.out} holds a run with other settings; "
                    f"go on with `kinema train resume {self.out}`, or choose another folder"
                )
        else:
            self.out.mkdir(parents=True, exist_ok=True)
            write_text(note, to_json(config))
        run_release(config, self.out, device)


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with a run that was stopped or killed, exactly where its last checkpoint was."""

    run_folder: Positional[Path]
    """The run's folder."""
    device: str = "auto"
    """cpu, cuda, or auto."""

    def run(self) -> None:
        """Go on."""
        from kinema.models.config_json import from_json
        from kinema.train.release import ReleaseConfig

        note = self.run_folder / CONFIG
        if not note.is_file():
            raise UserError(
                f"{self.run_folder} holds no run ({CONFIG} is missing); name the folder given as --out"
            )
        config = from_json(ReleaseConfig, note.read_text(), what=str(note))
        run_release(config, self.run_folder, chosen_device(self.device))


@dataclass(frozen=True, kw_only=True)
class Train:
    """What to train."""

    what: Annotated[Release, subcommand("release")] | Annotated[Resume, subcommand("resume")]

    def run(self) -> None:
        """Train it."""
        self.what.run()


def run_release(config: ReleaseConfig, run: Path, device: str) -> None:
    """Run the recipe with a progress bar and a log, save on SIGTERM and Ctrl-C, and export at the end."""
    import torch

    from kinema.models.text_minilm import MiniLm
    from kinema.train.export import export
    from kinema.train.release import release, trained

    stopping = until_stopped()
    log = run / "log.jsonl"
    with log.open("a") as lines:
        for progress in shown(release(config, run, MiniLm.load, torch.device(device), stop=stopping)):
            if progress.report is not None:
                lines.write(json.dumps(logged(progress)) + "\n")
                lines.flush()
    if stopping():
        print(f"stopped; go on with: kinema train resume {run}")
        return
    folder = export(trained(config, run, torch.device(device)), run / "weights")
    print(folder)


def logged(progress: Progress) -> dict[str, object]:
    """One line of the log."""
    report = progress.report
    assert report is not None
    line: dict[str, object] = {"stage": progress.stage, "step": report.step, "loss": report.loss}
    line |= {"norm": report.norm, "seconds": round(report.seconds, 2), **report.logs}
    return line | ({"scores": dict(report.scores)} if report.scores else {})


def shown(steps):
    """Pass progress on, showing it as bars that know what is left."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bars = Bars(*columns)
    tasks = {}
    with bars:
        for progress in steps:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.of, note="")
            note = ""
            if progress.report is not None:
                note = f"loss {progress.report.loss:.4f}, {progress.report.steps_per_second:.2f} steps/s"
                for name, value in (progress.report.scores or {}).items():
                    if name in ("ema/objects_psnr", "ema/psnr", "ema/loss_right", "ema/right_over_wrong"):
                        bars.console.print(
                            f"{progress.stage} step {progress.report.step}: {name} {value:.4f}"
                        )
            bars.update(tasks[progress.stage], completed=progress.done, total=progress.of, note=note)
            yield progress


def until_stopped() -> Callable[[], bool]:
    """A question that turns true when the process is asked to end (SIGTERM, Ctrl-C): save, then stop."""
    asked = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _frame: asked.append(number))
    return lambda: bool(asked)


def chosen_device(wish: str) -> str:
    """`cpu` or `cuda`.

    Raises:
        UserError: cuda is wished for and there is none, or the name is neither.
    """
    import torch

    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wish not in ("cpu", "cuda"):
        raise UserError(f"{wish!r} is no device; choose cpu, cuda or auto")
    if wish == "cuda" and not torch.cuda.is_available():
        raise UserError("this machine has no usable GPU; leave --device out, or say --device cpu")
    return wish


def seconds_of(text: str) -> float:
    """Seconds of `90s`, `25m`, `2h` or a plain number.

    Raises:
        UserError: the text is none of these.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text and text[-1] in units else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"{text!r} is no length of time; write 90s, 25m or 2h")
    return seconds
