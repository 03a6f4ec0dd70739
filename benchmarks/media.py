"""Peak memory of writing and reading videos: a long video against a short one.

Each video is written and read in a separate process. The result is the difference of the peaks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import BenchRow, run_subprocess

SHORT_SECONDS = 2.0
"""Seconds of the short video."""
MAX_GROWTH_MIB = 50.0
"""MiB that the long video may take beyond the short one."""

# Smooth colour gradients that move, with a little noise: they compress like a video, and all frames differ.
_WRITE_SCRIPT = """
import sys
import numpy as np
from kinema.media import open_writer
path, num_frames, side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
x = np.linspace(0, 6, side, dtype=np.float32)
with open_writer(path, fps=24, size=(side, side)) as video:
    for f in range(num_frames):
        waves = np.sin(x[None, :, None] + f / 24 + np.arange(3)) * np.cos(x[:, None, None] - f / 40)
        smooth = 120 + 60 * waves
        video.write((smooth + rng.integers(-4, 5, smooth.shape)).astype(np.uint8))
"""

_READ_SCRIPT = """
import sys
from kinema.media import frames
print(sum(1 for _ in frames(sys.argv[1])))
"""


@dataclass(frozen=True, kw_only=True)
class PeakMemory:
    """Peak resident memory of a process that handles a short video, and of one that handles a long video.

    Attributes:
        label: operation and file format.
        short_mib: peak for the short video, in MiB.
        long_mib: peak for the long video, in MiB.
        long_seconds: length of the long video.
        wall_seconds: wall-clock time for the long video.
    """

    label: str
    short_mib: float
    long_mib: float
    long_seconds: float
    wall_seconds: float

    @property
    def growth_mib(self) -> float:
        """MiB of the long video beyond the short one."""
        return self.long_mib - self.short_mib

    def to_row(self) -> BenchRow:
        """The growth as a line of a table."""
        return BenchRow(
            label=self.label,
            ours=self.growth_mib,
            at_most=MAX_GROWTH_MIB,
            unit="MiB",
            note=f"peak {self.short_mib:.0f} MiB for {SHORT_SECONDS:g} s, "
            f"{self.long_mib:.0f} MiB for {self.long_seconds:g} s, in {self.wall_seconds:.0f} s",
        )


def measure_memory(
    *, seconds: float = 60.0, side: int = 512, suffixes: Sequence[str] = (".mp4",)
) -> tuple[PeakMemory, ...]:
    """Write and read a video of `side` x `side` pixels at 24 frames per second in each format.

    Raises:
        RuntimeError: a process failed, or read another number of frames than was written.
    """
    results: list[PeakMemory] = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in suffixes:
            paths = [str(Path(folder) / f"{name}{suffix}") for name in ("short", "long")]
            counts = [round(SHORT_SECONDS * 24), round(seconds * 24)]
            write_usage = [
                run_subprocess(_WRITE_SCRIPT, path, str(count), str(side))
                for path, count in zip(paths, counts, strict=True)
            ]
            read_usage = [run_subprocess(_READ_SCRIPT, path) for path in paths]
            if [int(usage.stdout) for usage in read_usage] != counts:
                raise RuntimeError(f"{suffix}: wrote {counts} frames, read {[u.stdout for u in read_usage]}")
            for operation, (short, long) in (("write", write_usage), ("read", read_usage)):
                results.append(
                    PeakMemory(
                        label=f"{operation} {suffix}",
                        short_mib=short.peak_mib,
                        long_mib=long.peak_mib,
                        long_seconds=seconds,
                        wall_seconds=long.wall_seconds,
                    )
                )
    return tuple(results)
