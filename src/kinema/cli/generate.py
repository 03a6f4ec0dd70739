"""`kinema generate` and `kinema plan`: a film from words, and what it would cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from kinema.generate.film import Film
    from kinema.generate.pipeline import Pipeline
    from kinema.generate.plan import Plan
    from kinema.generate.request import Request


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What both commands ask about a film."""

    model: str = "world"
    """`world` (shipped), a folder, or owner/name of a hub model."""
    size: str | None = None
    """Width x height, for example 832x480."""
    seconds: float | None = None
    """Length; rounded to what the model can make."""
    fps: float | None = None
    """Frames per second."""
    steps: int | None = None
    """Of the solver: more is slower and finer."""
    guidance: tuple[float, ...] | None = None
    """How strongly the prompt steers, 1 is off; one number, or one for each expert."""
    shift: float | None = None
    """Of the noise schedule towards noise."""
    negative: str | None = None
    """What the film shall not show."""
    seed: int = 0
    """Another seed, another film."""
    image: Path | None = None
    """The first frame."""
    last_image: Path | None = None
    """The last frame."""
    device: str = "auto"
    """cpu, cuda, cuda:1 or auto."""
    dtype: str = "auto"
    """float32, bfloat16, int8 (CPU, lossy) or auto."""
    memory: str = "auto"
    """high keeps all parts in memory, low has one at a time."""

    def opened(self, prompt: str) -> tuple[Pipeline, Request]:
        """The model, and the film decided."""
        from kinema.generate.pipeline import load
        from kinema.generate.request import Wish, decide
        from kinema.shapes import parse_size

        pipe = load(self.model, device=self.device, dtype=self.dtype, memory=self.memory)
        guidance = self.guidance
        wish = Wish(
            prompt=prompt,
            negative=self.negative,
            size=None if self.size is None else parse_size(self.size),
            seconds=self.seconds,
            fps=self.fps,
            steps=self.steps,
            guidance=guidance[0] if guidance is not None and len(guidance) == 1 else guidance,
            shift=self.shift,
            seed=self.seed,
            image=self.image,
            last_image=self.last_image,
        )
        return pipe, decide(pipe.model, wish)


@dataclass(frozen=True, kw_only=True)
class Generate(Settings):
    """Make a film from words."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What the film shows."""
    out: Path = Path("film.mp4")
    """Where it goes; the ending chooses the format."""

    def run(self) -> None:
        """Make it, with a bar that knows what is left."""
        import time

        from kinema.media.formats import format_of

        format_of(self.out, None, "good")  # A name that can't be written is told before the work, not after.
        pipe, request = self.opened(self.prompt)
        expected = pipe.afford(request)
        start = time.monotonic()
        film = _watched(pipe, request, expected)
        film.save(self.out)
        height, width = film.frames.shape[1:3]
        print(
            f"{self.out}: {len(film.frames)} frames at {width}x{height}, {film.seconds:.2f} s at "
            f"{film.fps:g} fps, seed {self.seed}, made in {time.monotonic() - start:.1f} s"
        )


@dataclass(frozen=True, kw_only=True)
class PlanFilm(Settings):
    """Say what a film would cost here."""

    def run(self) -> None:
        """Count, measure, and print; refuse what does not fit."""
        pipe, request = self.opened("")
        expected = pipe.plan(request)
        _print_plan(pipe, request, expected)
        pipe.afford(request)


def _watched(pipe: Pipeline, request: Request, expected: Plan) -> Film:
    """Run with a progress bar whose unit is the planned second, so that all stages count as they should."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from kinema.generate.pipeline import Film, Stage

    seconds = {cost.name: cost.seconds for cost in expected.costs}
    order = [cost.name for cost in expected.costs]
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
        task = progress.add_task(said["text"], total=expected.seconds)
        for event in pipe.run(request):
            if isinstance(event, Film):
                return event
            if isinstance(event, Stage):
                name, part, words = event.name, event.done / event.of, said[event.name]
            else:
                name, part = "steps", (event.index + 1) / event.of
                words = f"step {event.index + 1} of {event.of}"
            if name not in seconds:
                continue
            before = sum(seconds[earlier] for earlier in order[: order.index(name)])
            progress.update(task, completed=before + part * seconds[name], description=words)
    raise RuntimeError("a run ended without a film")


def _print_plan(pipe: Pipeline, request: Request, expected: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    film = expected.film
    kind = str(pipe.choice.dtype).removeprefix("torch.") + (" and int8" if pipe.choice.int8 else "")
    table = Table(
        title=f"{film.frames} frames at {film.width}x{film.height}, {film.frames / request.fps:.2f} s, "
        f"{expected.steps} steps, {kind} on {pipe.device}",
        title_justify="left",
    )
    table.add_column("stage")
    for column in ("operations", "time", "peak memory"):
        table.add_column(column, justify="right")
    for cost in expected.costs:
        table.add_row(
            cost.name, f"{cost.operations:.2e}", _duration(cost.seconds), f"{cost.peak / 2**30:.2f} GiB"
        )
    table.add_row(
        "all",
        f"{sum(cost.operations for cost in expected.costs):.2e}",
        _duration(expected.seconds),
        f"{expected.peak / 2**30:.2f} GiB",
    )
    console = Console()
    console.print(table)
    console.print(
        f"free: {expected.room / 2**30:.2f} GiB. Times leave out reading the weights from disk.",
        highlight=False,
    )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
