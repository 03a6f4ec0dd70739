"""`kinema bench`: figures and ratios against peers, measured in one run.

Each kind of measurement is one dataclass here and one module of `kinema.bench`; a new one is added to
the union in `Bench.what`: `Annotated[BenchMedia, subcommand("media")] | Annotated[...]`.
"""

from __future__ import annotations

from dataclasses import dataclass
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
        from kinema.bench.measure import print_table
        from kinema.bench.media import memory

        found = memory(seconds=self.seconds, side=self.side, suffixes=self.suffixes)
        print_table([one.row() for one in found], title="Memory beyond a film of 2 s", peer="")


@dataclass(frozen=True, kw_only=True)
class BenchWorld:
    """Core-seconds that a clip of the film set takes, event by event."""

    sizes: tuple[str, ...] = ("128x128", "64x64")
    """Sizes to film, width x height."""
    frames: int = 33
    """Frames in each clip."""
    clips: int = 2
    """Clips of each event."""
    event: str = ""
    """Only this event; empty takes them all."""
    lab: bool = False
    """Film in the lab."""

    def run(self) -> None:
        """Measure and print."""
        from kinema.bench.measure import print_table
        from kinema.bench.world import cost, rows

        for size in self.sizes:
            spent = cost(size=size, frames=self.frames, clips=self.clips, lab=self.lab, event=self.event)
            print_table(rows(spent, size=size, frames=self.frames, lab=self.lab), title="Film set", peer="")


@dataclass(frozen=True, kw_only=True)
class BenchModel:
    """The model against another implementation, on the same random weights."""

    against: Literal["diffusers"] = "diffusers"
    """A development extra: pip install kinema[dev]."""
    parts: tuple[Literal["vae", "dit", "pipeline"], ...] = ("vae", "dit", "pipeline")
    """Which measurements."""
    rounds: int = 5
    """Of each paired measurement."""

    def run(self) -> None:
        """Measure and print."""
        import importlib.util

        from kinema.bench.measure import print_table
        from kinema.errors import UserError

        if importlib.util.find_spec(self.against) is None:
            raise UserError(f"{self.against} is not installed; run: pip install kinema[dev]")
        modules = {"vae": "model_vae", "dit": "model_dit", "pipeline": "model"}
        found = []
        for part in self.parts:
            found += importlib.import_module(f"kinema.bench.{modules[part]}").rows(rounds=self.rounds)
        print_table(found, title=f"Ratios against {self.against}", peer=self.against)


@dataclass(frozen=True, kw_only=True)
class BenchEvaluate:
    """The judge's own errors and its speed."""

    clips: int = 24
    """Clips to judge."""
    workers: int = 2
    """Processes for the speed."""

    def run(self) -> None:
        """Measure and print."""
        from kinema.bench.evaluate import rows
        from kinema.bench.measure import print_table

        print_table(rows(clips=self.clips, workers=self.workers), title="The judge", peer="")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Which measurement to make."""

    what: (
        Annotated[BenchEvaluate, subcommand("evaluate")]
        | Annotated[BenchMedia, subcommand("media")]
        | Annotated[BenchWorld, subcommand("world")]
        | Annotated[BenchModel, subcommand("model")]
    )

    def run(self) -> None:
        """Make it."""
        self.what.run()
