"""`kinema evaluate`: score a model, a folder of videos, or the evaluator itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, subcommand

from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.evaluation.model_source import PipelineGeneratorFactory
    from kinema.evaluation.video_sources import VideoFormat


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare two evaluations of the same prompts, measure by measure (paired bootstrap)."""

    a: Positional[Path]
    """Folder that `kinema evaluate` has written."""
    b: Positional[Path]
    """The folder of the other evaluation."""

    def run(self) -> None:
        """Print a table of the differences, B minus A."""
        from rich.console import Console
        from rich.table import Table

        from kinema.evaluation.evaluate import compare_evaluations

        table = Table(title=f"{self.b.name} against {self.a.name}", title_justify="left")
        for column in ("measure", "n", self.a.name, self.b.name, "difference", "95% interval", ""):
            table.add_column(column)
        for difference in compare_evaluations(self.a, self.b):
            table.add_row(
                difference.measure,
                str(difference.n),
                f"{100 * difference.a:.1f}%",
                f"{100 * difference.b:.1f}%",
                f"{100 * (difference.b - difference.a):+.1f}",
                f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}",
                "significant" if difference.is_significant else "",
            )
        Console().print(table)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a model, a folder of videos, or (baselines) the evaluator; or compare two evaluations."""

    out: Path | None = None
    """Folder of the results; an interrupted evaluation continues."""
    model: str = ""
    """A model to generate with: a folder or a name. With --baselines: whose autoencoder reconstructs."""
    lora: UseAppendAction[tuple[str, ...]] = ()
    """A LoRA for --model: FILE or FILE:strength; repeatable."""
    videos: Path | None = None
    """A folder of videos from elsewhere, in the order of their names; needs --prompts."""
    prompts: Path | None = None
    """A text file with one prompt per line, for --videos."""
    baselines: bool = False
    """Score simulated videos, corrupted copies of them, and synthetic faults."""
    prompt_set: str = "smoke"
    """Prompts in the wording of the simulator's captions: smoke (40), dev (200) or test (1,000 for every
    measure); prompts in everyday English: everyday (200); captions of the whole simulator: whole (212)."""
    size: str = ""
    """Width x height in pixels; that of the model, or 128x128."""
    num_frames: int | None = None
    """Frames of each video; that of the model, or 33."""
    fps: float | None = None
    """Frames per second; that of the model, or 12."""
    baselines_dir: Path | None = None
    """Folder of an earlier --baselines run, whose rows are added to the table."""
    faults: int = 100
    """Clips with each synthetic fault."""
    seed: int = 0
    """Seed of the simulated clips of --baselines; thresholds were tuned on other seeds."""
    workers: int = 1
    """Processes, best one per core; results do not depend on it."""
    ray: str = ""
    """Use a Ray cluster instead of `workers`: HOST:PORT of its head node, or auto."""
    batch_size: int | None = None
    """Videos that --model generates at once; by default 16 on a GPU and 1 on a CPU."""
    command: Annotated[Compare, subcommand("compare")] | Annotated[None, subcommand("score")] = None

    def run(self) -> None:
        """Score and write the results, or compare two evaluations."""
        if self.command is not None:
            self.command.run()
            return
        from rich.console import Console

        if (self.videos is not None) + (self.baselines or bool(self.model)) != 1:
            raise UserError("give one of --model, --videos with --prompts, or --baselines")
        if self.out is None:
            raise UserError("the results need a folder; give --out FOLDER")
        console = Console()
        line = ""
        with console.status("") as status:
            for line in self._run_evaluation(self.out):
                status.update(line)
        if line:
            console.print(line, markup=False, soft_wrap=True)
        console.print((self.out / "scorecard.md").read_text(), markup=False, soft_wrap=True)
        print(self.out / "scorecard.html")

    def _run_evaluation(self, out: Path) -> Iterator[str]:
        """Run the requested evaluation; yields its state as one line."""
        from kinema.evaluation import evaluate
        from kinema.evaluation.model_source import PipelineGeneratorFactory
        from kinema.pipeline.loras import parse_lora
        from kinema.ray_tasks import RayTasks

        if self.lora and not self.model:
            raise UserError("--lora changes a model; give --model")
        workers = self.workers
        if self.ray:
            # Tasks run in other folders.
            out, workers = out.absolute(), RayTasks(address=self.ray, uses_gpu=bool(self.model))
        if self.videos is not None:
            if self.prompts is None:
                raise UserError("--videos needs --prompts: a text file with one prompt per line")
            return evaluate.evaluate_videos(
                self.videos.absolute(), self.prompts, out, baselines=self.baselines_dir, workers=workers
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise UserError(f"--batch-size is {self.batch_size} and must be 1 or more")
        factory = None
        if self.model:
            factory = PipelineGeneratorFactory(
                model=self.model,
                requested_batch_size=self.batch_size,
                loras=tuple(parse_lora(text) for text in self.lora),
            )
        video_format = self._video_format(factory)
        if self.baselines or factory is None:
            return evaluate.evaluate_baselines(
                self.prompt_set,
                video_format,
                out,
                clips_per_fault=self.faults,
                seed=self.seed,
                vae=factory,
                workers=workers,
            )
        return evaluate.evaluate_model(
            self.model,
            factory,
            self.prompt_set,
            video_format,
            out,
            baselines=self.baselines_dir,
            workers=workers,
        )

    def _video_format(self, factory: PipelineGeneratorFactory | None) -> VideoFormat:
        from kinema.evaluation.video_sources import VideoFormat
        from kinema.shapes import parse_size

        size = parse_size(self.size) if self.size else None
        if factory is not None:
            return factory.resolve_video_format(size=size, num_frames=self.num_frames, fps=self.fps)
        width, height = size or (128, 128)
        return VideoFormat(height=height, width=width, num_frames=self.num_frames or 33, fps=self.fps or 12.0)
