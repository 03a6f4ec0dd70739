"""`kinema evaluate`: the scorecard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, subcommand


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare two evaluations of the same prompts, measure by measure (paired bootstrap)."""

    a: Positional[Path]
    """Folder that `kinema evaluate` has written."""
    b: Positional[Path]
    """The other one."""

    def run(self) -> None:
        """Print a table: B minus A."""
        from rich.console import Console
        from rich.table import Table

        from kinema.errors import UserError
        from kinema.evaluate.run import records_in
        from kinema.evaluate.scorecard import differences

        for folder in (self.a, self.b):
            if not (folder / "judged").is_dir():
                raise UserError(
                    f"{folder} holds no judged films; give a folder that `kinema evaluate` has written"
                )
        table = Table(title=f"{self.b.name} against {self.a.name}", title_justify="left")
        for column in ("measure", "n", self.a.name, self.b.name, "difference", "95% interval", ""):
            table.add_column(column)
        for d in differences(records_in(self.a / "judged"), records_in(self.b / "judged")):
            table.add_row(
                d.measure,
                str(d.n),
                f"{100 * d.a:.1f}%",
                f"{100 * d.b:.1f}%",
                f"{100 * (d.b - d.a):+.1f}",
                f"{100 * d.low:+.1f} to {100 * d.high:+.1f}",
                "sure" if d.sure else "",
            )
        Console().print(table)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Judge a model, a folder of films, or (anchors) the judge itself; or compare two evaluations."""

    out: Path | None = None
    """Folder for the results; run it again to go on after a stop."""
    model: str = ""
    """A model to generate with: a folder or a name."""
    films: Path | None = None
    """Or a folder of films made elsewhere, in the order of their names ..."""
    prompts: Path | None = None
    """... and a text file with one prompt a line."""
    anchors: bool = False
    """Or the simulator's own films, what is made of them, and planted faults."""
    list: str = "smoke"
    """Prompts: smoke (40), dev (200) or test (1,000 for every measure)."""
    size: str = "128x128"
    """Width x height of the films, in pixels."""
    frames: int = 33
    """Frames of each film."""
    fps: float = 12.0
    """Frames per second."""
    beside: Path | None = None
    """Folder of an earlier --anchors run, whose rows stand beside the films in the table."""
    faults: int = 100
    """Clips with each planted fault."""
    seed: int = 0
    """Of the scenes that --anchors films: another one gives clips that nobody has tuned a threshold on."""
    batch: int = 8
    """Films to generate at a time."""
    workers: int = 1
    """Processes to judge in; the result is the same."""
    command: Annotated[Compare, subcommand("compare")] | Annotated[None, subcommand("score")] = None

    def run(self) -> None:
        """Judge and write, or compare."""
        if self.command is not None:
            self.command.run()
            return
        from rich.console import Console

        from kinema.errors import UserError
        from kinema.evaluate import evaluation
        from kinema.evaluate.makers import Format
        from kinema.shapes import parse_size

        if (bool(self.model) + (self.films is not None) + self.anchors) != 1:
            raise UserError("say what to judge: one of --model, --films with --prompts, or --anchors")
        if self.out is None:
            raise UserError("say where the results go: --out FOLDER")
        width, height = parse_size(self.size)
        form = Format(height=height, width=width, frames=self.frames, fps=self.fps)
        if self.anchors:
            lines = evaluation.evaluate_anchors(
                self.list, form, self.out, faults=self.faults, seed=self.seed, workers=self.workers
            )
        elif self.films is not None:
            if self.prompts is None:
                raise UserError("--films needs --prompts: a text file with one prompt a line")
            lines = evaluation.evaluate_films(
                self.films, self.prompts, self.out, anchors=self.beside, workers=self.workers
            )
        else:
            from kinema.evaluate.model import generator_of

            lines = evaluation.evaluate_model(
                self.model, generator_of(self.model, self.fps), self.list, form, self.out,
                anchors=self.beside, batch=self.batch, workers=self.workers,
            )  # fmt: skip
        console = Console()
        with console.status("") as status:
            for line in lines:
                status.update(line)
        console.print((self.out / "scorecard.md").read_text(), markup=False, soft_wrap=True)
        print(self.out / "scorecard.html")
