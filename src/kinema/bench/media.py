"""Memory that films take on their way to disk and back: a long film against a short one.

Each film is written, or read, in a process of its own, and the figure is the difference of their peaks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.bench.measure import Row, child

SHORT = 2.0
"""Seconds of the short film."""
BOUND = 50.0
"""MiB that the long film may take beyond the short one."""

# Soft colours that drift, with a little noise: compressible like a film, and no two frames alike.
_WRITE = """
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

_READ = """
import sys
from kinema.media import frames
print(sum(1 for _ in frames(sys.argv[1])))
"""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peak resident MiB of a process that handles a short film, and of one that handles a long one."""

    what: str
    short: float
    long: float
    seconds: float
    """Length of the long film."""
    wall: float
    """Seconds that the long one took."""

    @property
    def growth(self) -> float:
        """MiB that the long film took beyond the short one."""
        return self.long - self.short

    def row(self) -> Row:
        """The growth as a line of a table."""
        return Row(
            what=self.what,
            ours=self.growth,
            at_most=BOUND,
            unit="MiB",
            note=f"peak {self.short:.0f} MiB for {SHORT:g} s, {self.long:.0f} MiB for {self.seconds:g} s, "
            f"done in {self.wall:.0f} s",
        )


def memory(
    *, seconds: float = 60.0, side: int = 512, suffixes: Sequence[str] = (".mp4",)
) -> tuple[Memory, ...]:
    """Write and read a film of `side` x `side` pixels at 24 frames per second in each format.

    Raises:
        RuntimeError: a child process failed, or read another number of frames than was written.
    """
    found: list[Memory] = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in suffixes:
            paths = [str(Path(folder) / f"{name}{suffix}") for name in ("short", "long")]
            counts = [round(SHORT * 24), round(seconds * 24)]
            written = [
                child(_WRITE, path, str(count), str(side)) for path, count in zip(paths, counts, strict=True)
            ]
            read = [child(_READ, path) for path in paths]
            if [int(usage.printed) for usage in read] != counts:
                raise RuntimeError(f"{suffix}: wrote {counts} frames, read {[u.printed for u in read]}")
            for what, (short, long) in (("write", written), ("read", read)):
                found.append(
                    Memory(
                        what=f"{what} {suffix}",
                        short=short.peak,
                        long=long.peak,
                        seconds=seconds,
                        wall=long.wall,
                    )
                )
    return tuple(found)
