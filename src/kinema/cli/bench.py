"""`kinema bench`: figures and ratios against peers, measured in one run.

Each kind of measurement is one dataclass here and one module of `kinema.bench`; a new one is added to
the union in `Bench.what`: `Annotated[BenchMedia, subcommand("media")] | Annotated[...]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

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
class Bench:
    """Which measurement to make."""

    what: Annotated[BenchMedia, subcommand("media")]

    def run(self) -> None:
        """Make it."""
        self.what.run()
