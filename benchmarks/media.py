"""Memory that films take on their way to disk and back: a long film against a short one.

Each film is written, or read, in a process of its own, and the figure is the difference of their peaks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import BenchRow, run_subprocess

SHORT_SECONDS = 2.0
"""Seconds of the short film."""
MAX_GROWTH_MIB = 50.0
"""MiB that the long film may take beyond the short one."""

# Soft colours that drift, with a little noise: compressible like a film, and no two frames alike.
_WRITE_SCRIPT = """
import sys
import numpy as np
from kinema.media import writer
path, frames, side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
noise = np.random.default_rng(0)
x = np.linspace(0, 6, side, dtype=np.float32)
with writer(path, fps=24, size=(side, side)) as film:
    for f in range(frames):
        soft = 120 + 60 * np.sin(x[None, :, None] + f / 24 + np.arange(3)) * np.cos(x[:, None, None] - f / 40)
        film.write((soft + noise.integers(-4, 5, soft.shape)).astype(np.uint8))
"""

_READ_SCRIPT = """
import sys
from kinema.media import frames
print(sum(1 for _ in frames(sys.argv[1])))
"""


@dataclass(frozen=True, kw_only=True)
class PeakMemory:
    """Peak resident MiB of a process that handles a short film, and of one that handles a long one."""

    label: str
    short_mib: float
    long_mib: float
    long_seconds: float
    """Length of the long film."""
    wall_seconds: float
    """Seconds that the long one took."""

    @property
    def growth_mib(self) -> float:
        """MiB that the long film took beyond the short one."""
        return self.long_mib - self.short_mib

    def to_row(self) -> BenchRow:
        """The growth as a line of a table."""
        return BenchRow(
            label=self.label,
            ours=self.growth_mib,
            at_most=MAX_GROWTH_MIB,
            unit="MiB",
            note=f"peak {self.short_mib:.0f} MiB for {SHORT_SECONDS:g} s, {self.long_mib:.0f} MiB for {self.long_seconds:g} s, "
            f"done in {self.wall_seconds:.0f} s",
        )


def measure_memory(
    *, seconds: float = 60.0, side: int = 512, suffixes: Sequence[str] = (".mp4",)
) -> tuple[PeakMemory, ...]:
    """Write and read a film of `side` x `side` pixels at 24 frames per second in each format.

    Raises:
        RuntimeError: a child process failed, or read another number of frames than was written.
    """
    found: list[PeakMemory] = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in suffixes:
            paths = [str(Path(folder) / f"{name}{suffix}") for name in ("short", "long")]
            counts = [round(SHORT_SECONDS * 24), round(seconds * 24)]
            written = [
                run_subprocess(_WRITE_SCRIPT, path, str(count), str(side))
                for path, count in zip(paths, counts, strict=True)
            ]
            read = [run_subprocess(_READ_SCRIPT, path) for path in paths]
            if [int(usage.stdout) for usage in read] != counts:
                raise RuntimeError(f"{suffix}: wrote {counts} frames, read {[u.stdout for u in read]}")
            for what, (short, long) in (("write", written), ("read", read)):
                found.append(
                    PeakMemory(
                        label=f"{what} {suffix}",
                        short_mib=short.peak_mib,
                        long_mib=long.peak_mib,
                        long_seconds=seconds,
                        wall_seconds=long.wall_seconds,
                    )
                )
    return tuple(found)
