"""`kinema bench`: figures and ratios against peers, measured in one run.

Each kind of measurement is one dataclass here and one module of `benchmarks`; a new one is added to
the union in `Bench.command`: `Annotated[BenchMedia, subcommand("media")] | Annotated[...]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import subcommand


@dataclass(frozen=True, kw_only=True)
class BenchMedia:
    """Memory that writing a film takes: a long one against a short one."""

    seconds: float = 60.0
    """Length of the long film, in seconds."""
    side: int = 512
    """Width and height, in pixels."""
    suffixes: tuple[str, ...] = (".mp4",)
    """Formats to measure, by their suffixes: .mp4 .webm .gif .webp .zip"""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.harness import print_table
        from benchmarks.media import measure_memory

        found = measure_memory(seconds=self.seconds, side=self.side, suffixes=self.suffixes)
        print_table([one.to_row() for one in found], title="Memory beyond a film of 2 s", peer="")


@dataclass(frozen=True, kw_only=True)
class BenchSimulator:
    """Core-seconds that a clip of the film set takes, event by event."""

    sizes: tuple[str, ...] = ("128x128", "64x64")
    """Sizes to film, width x height."""
    num_frames: int = 33
    """Frames in each clip."""
    clips_per_event: int = 2
    """Clips of each event."""
    event: str = ""
    """Only this event; empty takes them all."""
    lab: bool = False
    """Film in the lab."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.harness import print_table
        from benchmarks.simulator import summarize, time_events

        for size in self.sizes:
            spent = time_events(
                size=size,
                num_frames=self.num_frames,
                clips_per_event=self.clips_per_event,
                lab=self.lab,
                event=self.event,
            )
            print_table(
                summarize(spent, size=size, num_frames=self.num_frames, lab=self.lab),
                title="Film set",
                peer="",
            )


@dataclass(frozen=True, kw_only=True)
class BenchModel:
    """The model against another implementation, on the same random weights.

    Times are processor seconds of pairs of runs in one process. Each row is measured in a process of its own.
    """

    against: Literal["diffusers"] = "diffusers"
    """A development extra: pip install kinema[dev]."""
    rows: tuple[str, ...] = ()
    """Which rows, by name; none takes them all. An unknown name lists them."""
    rounds: int = 3
    """Pairs of runs for each row."""
    threads: int = 1
    """Of each process."""
    results_file: Path | None = None
    """A JSON file that keeps each row as it comes; rows that it has are not measured again."""

    def run(self) -> None:
        """Measure and print each row as it comes, then the table."""
        import importlib.util

        from benchmarks.harness import print_table
        from kinema.errors import UserError

        if importlib.util.find_spec(self.against) is None:
            raise UserError(f"{self.against} is not installed; run: pip install kinema[dev]")
        if self.rounds < 1 or self.threads < 1:
            raise UserError("rounds and threads are whole numbers from 1 on")
        from benchmarks.model import ROW_NAMES, ResultsFile, measure_rows

        unknown = sorted(set(self.rows) - set(ROW_NAMES))
        if unknown:
            raise UserError(f"there is no row {unknown[0]!r}; choose from {', '.join(ROW_NAMES)}")
        names = tuple(name for name in ROW_NAMES if not self.rows or name in self.rows)
        found = []
        for row in measure_rows(
            names, rounds=self.rounds, threads=self.threads, results=ResultsFile(path=self.results_file)
        ):
            print(f"{row.label}: {row.value:.3g}", flush=True)
            found.append(row)
        print_table(found, title=f"Ratios against {self.against}", peer=self.against)


@dataclass(frozen=True, kw_only=True)
class BenchEvaluator:
    """The judge's own errors and its speed."""

    clips: int = 24
    """Clips to judge."""
    workers: int = 2
    """Processes for the speed."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.evaluator import run_benchmark
        from benchmarks.harness import print_table

        print_table(run_benchmark(clips=self.clips, workers=self.workers), title="The judge", peer="")


@dataclass(frozen=True, kw_only=True)
class BenchLongVideos:
    """Memory and drift of films that are made as a stream."""

    seconds: float = 60.0
    """Length of the films."""
    model: str = "world"
    """As for `kinema generate`."""
    num_inference_steps: int = 20
    """Of the solver."""
    context_mode: Literal["recipe", "windows", "cache"] = "recipe"
    """How a film goes on from its finished frames; `recipe` is as the model says."""
    context_noise: float | None = None
    """On the finished frames as they are seen, 0 to below 1."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.harness import print_table
        from benchmarks.long_videos import run_benchmark

        way = None if self.context_mode == "recipe" else self.context_mode
        found = run_benchmark(
            seconds=self.seconds,
            model=self.model,
            num_inference_steps=self.num_inference_steps,
            context_mode=way,
            context_noise=self.context_noise,
        )
        print_table(found, title=f"Films of {self.seconds:g} s", peer="10 s")


@dataclass(frozen=True, kw_only=True)
class BenchUpscale:
    """Refinement to twice the size against interpolation, on the simulator's films."""

    num_videos: int = 4
    """Held-out lab films."""
    model: str = "world"
    """As for `kinema generate`."""
    num_inference_steps: int = 20
    """Of the solver; those below the level are done."""
    sigma: float = 0.4
    """How far a film is noised."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.harness import print_table
        from benchmarks.upscale import run_benchmark

        found = run_benchmark(
            model=self.model,
            num_videos=self.num_videos,
            num_inference_steps=self.num_inference_steps,
            sigma=self.sigma,
        )
        print_table(found, title="Films at twice their size", peer="")


@dataclass(frozen=True, kw_only=True)
class BenchContinuation:
    """Joins and colours of films of the set that are cut, and then extended, connected and looped."""

    videos_per_event: int = 2
    """Held-out lab films of each moving event."""
    model: str = "world"
    """As for `kinema generate`."""
    num_inference_steps: int = 20
    """Of the solver."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.continuation import run_benchmark
        from benchmarks.harness import print_table

        found = run_benchmark(
            model=self.model,
            videos_per_event=self.videos_per_event,
            num_inference_steps=self.num_inference_steps,
        )
        print_table(found, title="Joins, over the usual step", peer="")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Which measurement to make."""

    command: (
        Annotated[BenchEvaluator, subcommand("evaluate")]
        | Annotated[BenchLongVideos, subcommand("long")]
        | Annotated[BenchMedia, subcommand("media")]
        | Annotated[BenchUpscale, subcommand("refine")]
        | Annotated[BenchContinuation, subcommand("verbs")]
        | Annotated[BenchSimulator, subcommand("world")]
        | Annotated[BenchModel, subcommand("model")]
    )

    def run(self) -> None:
        """Make it."""
        self.command.run()
