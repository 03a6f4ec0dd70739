"""The command `python -m benchmarks`: each subcommand is a dataclass that runs one module of this package."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import subcommand

from benchmarks.harness import print_table
from kinema.errors import UserError
from kinema.simulator.phyworld import SCENARIOS, Attribute, AttributePair, Scenario


@dataclass(frozen=True, kw_only=True)
class BenchSimulator:
    """CPU seconds of a simulated clip, by event."""

    sizes: tuple[str, ...] = ("128x128", "64x64")
    """Frame sizes, width x height."""
    num_frames: int = 33
    """Frames of each clip."""
    clips_per_event: int = 2
    """Clips of each event."""
    event: str = ""
    """Only this event; empty measures all."""
    lab: bool = False
    """Measure the lab."""

    def run(self) -> None:
        """Measure and print one table for each size."""
        from benchmarks.simulator import summarize, time_events

        for size in self.sizes:
            timings = time_events(
                size=size,
                num_frames=self.num_frames,
                clips_per_event=self.clips_per_event,
                lab=self.lab,
                event=self.event,
            )
            rows = summarize(timings, size=size, num_frames=self.num_frames, lab=self.lab)
            print_table(rows, title="Simulator", peer="")


@dataclass(frozen=True, kw_only=True)
class BenchModel:
    """Models and pipeline against another implementation, with equal random weights.

    Times are CPU seconds of pairs of runs in one process. Each row is measured in a fresh process.
    """

    against: Literal["diffusers"] = "diffusers"
    """The other implementation; install it with: pip install 'kinema[dev]'."""
    rows: tuple[str, ...] = ()
    """Names of the rows to measure; empty measures all. An unknown name lists them."""
    rounds: int = 3
    """Pairs of runs for each row."""
    threads: int = 1
    """Threads of each process."""
    results_file: Path | None = None
    """A JSON file that keeps finished rows; rows that it has are not measured again."""

    def run(self) -> None:
        """Measure, print each row when it is finished, then the table."""
        import importlib.util

        if importlib.util.find_spec(self.against) is None:
            raise UserError(f"{self.against} is not installed; run: pip install 'kinema[dev]'")
        if self.rounds < 1 or self.threads < 1:
            raise UserError("rounds and threads must be 1 or more")
        from benchmarks.model import ROW_NAMES, ResultsFile, measure_rows

        unknown = sorted(set(self.rows) - set(ROW_NAMES))
        if unknown:
            raise UserError(f"there is no row {unknown[0]!r}; choose from {', '.join(ROW_NAMES)}")
        names = tuple(name for name in ROW_NAMES if not self.rows or name in self.rows)
        results = ResultsFile(path=self.results_file)
        rows = []
        for row in measure_rows(names, rounds=self.rounds, threads=self.threads, results=results):
            print(f"{row.label}: {row.value:.3g}", flush=True)
            rows.append(row)
        print_table(rows, title=f"Ratios against {self.against}", peer=self.against)


@dataclass(frozen=True, kw_only=True)
class BenchContinuation:
    """Visibility of joins and colour drift of extensions, interpolations and loops."""

    videos_per_event: int = 2
    """Held-out lab videos of each event with motion."""
    model: str = "world"
    """As for `kinema generate`."""
    num_inference_steps: int | None = None
    """Solver steps; by default the model's own."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.continuation import run_benchmark

        rows = run_benchmark(
            model=self.model,
            videos_per_event=self.videos_per_event,
            num_inference_steps=self.num_inference_steps,
        )
        print_table(rows, title="Joins, over the median frame difference", peer="")


@dataclass(frozen=True, kw_only=True)
class BenchLongVideos:
    """Peak memory and drift of long videos that are sampled as a stream."""

    seconds: float = 60.0
    """Length of the videos."""
    num_prompts: int = 10
    """Videos, each of another prompt; at most ten."""
    model: str = "world"
    """As for `kinema generate`."""
    num_inference_steps: int | None = None
    """Solver steps of each block; by default the model's own."""
    context_mode: Literal["default", "windows", "cache"] = "default"
    """How a block attends to finished frames; `default` is the setting of the model."""
    context_sigma: float | None = None
    """Noise level of the finished frames, 0 to below 1."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.long_videos import PROMPTS, run_benchmark

        if not 1 <= self.num_prompts <= len(PROMPTS):
            raise UserError(f"num-prompts must be 1 to {len(PROMPTS)}")
        rows = run_benchmark(
            seconds=self.seconds,
            prompts=PROMPTS[: self.num_prompts],
            model=self.model,
            num_inference_steps=self.num_inference_steps,
            context_mode=None if self.context_mode == "default" else self.context_mode,
            context_sigma=self.context_sigma,
        )
        print_table(rows, title=f"Videos of {self.seconds:g} s", peer="10 s")


@dataclass(frozen=True, kw_only=True)
class BenchUpscale:
    """Upscaling by 2 and 4 against interpolation, on lab videos that the autoencoder decoded."""

    num_videos: int = 4
    """Held-out lab videos."""
    model: str = "world"
    """As for `kinema generate`."""
    num_inference_steps: int | None = None
    """Solver steps, by default the model's own; those below sigma are done."""
    diffusion: bool = False
    """Also upscale by diffusion, in minutes."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.upscale import run_benchmark

        rows = run_benchmark(
            model=self.model,
            num_videos=self.num_videos,
            num_inference_steps=self.num_inference_steps,
            diffusion=self.diffusion,
        )
        print_table(rows, title="Upscaling", peer="")


@dataclass(frozen=True, kw_only=True)
class BenchTrainStep:
    """A training step of the transformer against the bare matrix products of its shapes."""

    model: str = "world-teacher"
    """Whose transformer is trained, on random latents."""
    batch_size: int = 32
    """Videos in a step."""
    rounds: int = 3
    """Rounds of steps and products."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.train_step import run_benchmark

        if self.rounds < 1 or self.batch_size < 1:
            raise UserError("rounds and batch-size must be 1 or more")
        rows = run_benchmark(model=self.model, batch_size=self.batch_size, rounds=self.rounds)
        print_table(rows, title="Training step", peer="products alone")


@dataclass(frozen=True, kw_only=True)
class BenchVariety:
    """How much varies with the seed where a prompt leaves something open, against the simulator."""

    model: str = "world"
    """As for `kinema generate`."""
    num_seeds: int = 64
    """Videos of each of the 20 prompts."""
    workers: int = 2
    """Processes."""
    rewrites: bool = True
    """Let the prompt rewriter choose what a prompt leaves open; --no-rewrites leaves it to the noise."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.variety import run_benchmark

        if self.num_seeds < 2:
            raise UserError("num-seeds must be 2 or more")
        rows = run_benchmark(
            model=self.model, num_seeds=self.num_seeds, workers=self.workers, rewrites=self.rewrites
        )
        print_table(rows, title="Total variation to the simulator", peer="simulator")


@dataclass(frozen=True, kw_only=True)
class BenchPhyWorld:
    """A model of `kinema train phyworld` in PhyWorld's table, and by which mechanism it generalises."""

    model: str
    """The folder weights of a run."""
    experiment: Literal["errors", "speeds", "attributes"] = "errors"
    """`errors`: velocity errors in m/s. `speeds`: what becomes of balls of each speed. `attributes`: what
    becomes of a body whose attributes never occurred together in training."""
    scenarios: tuple[Scenario, ...] = SCENARIOS
    """Of the experiment `errors`."""
    pair: tuple[Attribute, Attribute] | None = None
    """Of the experiment `attributes`: those of the training, for example colour shape."""
    num_clips: int = 50
    """Videos for each row."""
    num_inference_steps: int = 20
    """Solver steps."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.phyworld import run_benchmark

        rows = run_benchmark(
            model=self.model,
            experiment=self.experiment,
            scenarios=self.scenarios,
            pair=None if self.pair is None else AttributePair(first=self.pair[0], second=self.pair[1]),
            num_clips=self.num_clips,
            num_inference_steps=self.num_inference_steps,
        )
        print_table(rows, title="PhyWorld", peer="truth" if self.experiment == "speeds" else "paper")


@dataclass(frozen=True, kw_only=True)
class BenchMedia:
    """Peak memory of writing and reading a long video against a short one."""

    seconds: float = 60.0
    """Length of the long video."""
    side: int = 512
    """Width and height in pixels."""
    suffixes: tuple[str, ...] = (".mp4",)
    """File formats: .mp4 .webm .gif .webp .zip"""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.media import measure_memory

        results = measure_memory(seconds=self.seconds, side=self.side, suffixes=self.suffixes)
        print_table(
            [result.to_row() for result in results], title="Memory beyond that of a video of 2 s", peer=""
        )


@dataclass(frozen=True, kw_only=True)
class BenchCuration:
    """Rate of the analysis of real videos by stage, in core-seconds, and its peak memory."""

    seconds: float = 60.0
    """Length of the video at 30 frames per second, 854x480."""
    source: str = ""
    """A video that is scaled and repeated; empty renders a pan."""

    def run(self) -> None:
        """Measure and print a table."""
        from benchmarks.curation import measure_curation

        rate = measure_curation(seconds=self.seconds, source=self.source)
        print_table(rate.rows(), title="Curation", peer="")


@dataclass(frozen=True, kw_only=True)
class BenchEvaluator:
    """Errors and speed of the evaluator."""

    clips: int = 24
    """Clips to score."""
    workers: int = 2
    """Processes for the speed measurement."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.evaluator import run_benchmark

        print_table(run_benchmark(clips=self.clips, workers=self.workers), title="Evaluator", peer="")


@dataclass(frozen=True, kw_only=True)
class BenchGpu:
    """Time and memory of a guidance step against diffusers, for 1.3B, 5B and A14B on random weights."""

    device: str = "auto"
    """cuda, cpu or auto."""
    tiny: bool = False
    """Small models, to rehearse the command."""
    rounds: int = 5
    """Steps of each line; their median counts."""
    compiled: bool = True
    """Measure with torch.compile as well."""

    def run(self) -> None:
        """Measure and print a Markdown table."""
        from benchmarks.gpu import measure, print_markdown
        from kinema.pipeline.device import resolve_device

        if self.rounds < 1:
            raise UserError("rounds must be 1 or more")
        device = resolve_device(self.device)
        if device.type == "cpu" and not self.tiny:
            raise UserError("there is no GPU here; rehearse with --tiny --device cpu")
        print_markdown(measure(device=device, tiny=self.tiny, rounds=self.rounds, compiled=self.compiled))


@dataclass(frozen=True, kw_only=True)
class BenchLive:
    """A live video over HTTP: speed, delay of a changed prompt, memory."""

    model: str = "world"
    """As for `kinema serve`."""
    seconds: float = 300.0
    """Length of the session."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.live import run_benchmark

        print_table(run_benchmark(model=self.model, seconds=self.seconds), title="Live video", peer="")


@dataclass(frozen=True, kw_only=True)
class BenchShardedSave:
    """What asynchronous sharded checkpoints cost the steps of a training in two processes."""

    def run(self) -> None:
        """Measure and print."""
        from benchmarks.sharded_save import measure_save_cost

        print_table(measure_save_cost(), title="Sharded checkpoints", peer="without")


AnyBenchmark = (
    Annotated[BenchSimulator, subcommand("simulator")]
    | Annotated[BenchModel, subcommand("model")]
    | Annotated[BenchContinuation, subcommand("continuation")]
    | Annotated[BenchLongVideos, subcommand("long-videos")]
    | Annotated[BenchUpscale, subcommand("upscale")]
    | Annotated[BenchVariety, subcommand("variety")]
    | Annotated[BenchTrainStep, subcommand("train-step")]
    | Annotated[BenchPhyWorld, subcommand("phyworld")]
    | Annotated[BenchMedia, subcommand("media")]
    | Annotated[BenchEvaluator, subcommand("evaluator")]
    | Annotated[BenchCuration, subcommand("curation")]
    | Annotated[BenchLive, subcommand("live")]
    | Annotated[BenchShardedSave, subcommand("sharded-save")]
    | Annotated[BenchGpu, subcommand("gpu")]
)


def main(arguments: list[str] | None = None) -> None:
    """Run one benchmark. Exits with 2 and one line when the user can correct something."""
    command = tyro.cli(
        AnyBenchmark,
        prog="benchmarks",
        description="Measure Kinema against peers and against its own bounds.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    try:
        command.run()
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(2)
