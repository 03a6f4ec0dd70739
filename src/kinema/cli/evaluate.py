"""`kinema evaluate`: the scorecard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, subcommand

if TYPE_CHECKING:
    from kinema.evaluation.model_source import PipelineGeneratorFactory
    from kinema.evaluation.video_sources import VideoFormat


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
        from kinema.evaluation.runner import load_records
        from kinema.evaluation.scorecard import compare_records

        for folder in (self.a, self.b):
            if not (folder / "judged").is_dir():
                raise UserError(
                    f"{folder} holds no judged films; give a folder that `kinema evaluate` has written"
                )
        table = Table(title=f"{self.b.name} against {self.a.name}", title_justify="left")
        for column in ("measure", "n", self.a.name, self.b.name, "difference", "95% interval", ""):
            table.add_column(column)
        for d in compare_records(load_records(self.a / "judged"), load_records(self.b / "judged")):
            table.add_row(
                d.measure,
                str(d.n),
                f"{100 * d.a:.1f}%",
                f"{100 * d.b:.1f}%",
                f"{100 * (d.b - d.a):+.1f}",
                f"{100 * d.low:+.1f} to {100 * d.high:+.1f}",
                "sure" if d.is_significant else "",
            )
        Console().print(table)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Judge a model, a folder of films, or (anchors) the judge itself; or compare two evaluations."""

    out: Path | None = None
    """Folder for the results; run it again to go on after a stop."""
    model: str = ""
    """A model to generate with: a folder or a name. With --anchors: whose autoencoder reconstructs."""
    videos: Path | None = None
    """Or a folder of films made elsewhere, in the order of their names ..."""
    prompts: Path | None = None
    """... and a text file with one prompt a line."""
    baselines: bool = False
    """Or the simulator's own films, what is made of them, and planted faults."""
    prompt_set: str = "smoke"
    """Prompts: smoke (40), dev (200) or test (1,000 for every measure)."""
    size: str = ""
    """Width x height of the films, in pixels; the model's own, or 128x128."""
    num_frames: int | None = None
    """Frames of each film; the model's own, or 33."""
    fps: float | None = None
    """Frames per second; the model's own, or 12."""
    baselines_dir: Path | None = None
    """Folder of an earlier --anchors run, whose rows stand beside the films in the table."""
    faults: int = 100
    """Clips with each planted fault."""
    seed: int = 0
    """Of the scenes that --anchors films: another one gives clips that nobody has tuned a threshold on."""
    workers: int = 1
    """Processes to film and judge in, best one for each core; the result is the same."""
    batch_size: int | None = None
    """Films of --model made at once; by itself 16 on a GPU, and 1 on a processor, where more gain nothing."""
    command: Annotated[Compare, subcommand("compare")] | Annotated[None, subcommand("score")] = None

    def run(self) -> None:
        """Judge and write, or compare."""
        if self.command is not None:
            self.command.run()
            return
        from rich.console import Console

        from kinema.errors import UserError
        from kinema.evaluation import evaluate
        from kinema.evaluation.model_source import PipelineGeneratorFactory

        if (self.videos is not None) + (self.baselines or bool(self.model)) != 1:
            raise UserError("say what to judge: one of --model, --films with --prompts, or --anchors")
        if self.out is None:
            raise UserError("say where the results go: --out FOLDER")
        if self.videos is not None:
            if self.prompts is None:
                raise UserError("--films needs --prompts: a text file with one prompt a line")
            lines = evaluate.evaluate_videos(
                self.videos, self.prompts, self.out, baselines=self.baselines_dir, workers=self.workers
            )
        else:
            if self.batch_size is not None and self.batch_size < 1:
                raise UserError(f"--batch {self.batch_size} makes no films; give 1 or more")
            source = (
                PipelineGeneratorFactory(model=self.model, requested_batch_size=self.batch_size)
                if self.model
                else None
            )
            form = self._video_format(source)
            if self.baselines or source is None:
                lines = evaluate.evaluate_baselines(
                    self.prompt_set, form, self.out,
                    clips_per_fault=self.faults, seed=self.seed, vae=source, workers=self.workers,
                )  # fmt: skip
            else:
                lines = evaluate.evaluate_model(
                    self.model,
                    source,
                    self.prompt_set,
                    form,
                    self.out,
                    baselines=self.baselines_dir,
                    workers=self.workers,
                )
        console = Console()
        line = ""
        with console.status("") as status:
            for line in lines:
                status.update(line)
        if line:
            console.print(line, markup=False, soft_wrap=True)
        console.print((self.out / "scorecard.md").read_text(), markup=False, soft_wrap=True)
        print(self.out / "scorecard.html")

    def _video_format(self, source: PipelineGeneratorFactory | None) -> VideoFormat:
        from kinema.evaluation.video_sources import VideoFormat
        from kinema.shapes import parse_size

        size = parse_size(self.size) if self.size else None
        if source is not None:
            return source.resolve_video_format(size=size, num_frames=self.num_frames, fps=self.fps)
        width, height = size or (128, 128)
        return VideoFormat(height=height, width=width, num_frames=self.num_frames or 33, fps=self.fps or 12.0)
