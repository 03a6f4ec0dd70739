"""How every benchmark measures: the same work on both sides, in turns, in one run, medians of ratios.

Two programs measured one after the other meet different machines: clocks change, neighbours come and
go. So each round runs both sides, the first of the two alternating, and the figure that counts is the
median of the rounds' ratios.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a benchmark's table.

    `at_most` bounds the ratio ours / theirs, or `ours` itself where there is no peer. `unit` is that of
    `ours` and `theirs`: "s", "MiB" or "" for a plain number such as a largest difference.
    """

    what: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    at_most: float | None = None
    unit: str = "s"
    note: str = ""

    @property
    def figure(self) -> float:
        """What `at_most` bounds."""
        return self.ours if self.ratio is None else self.ratio

    @property
    def holds(self) -> bool | None:
        """Whether the figure is within its bound; None where none is asked."""
        return None if self.at_most is None else self.figure <= self.at_most


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Medians over the rounds, in seconds; `ratio` is the median of ours / theirs within a round."""

    ours: float
    theirs: float
    ratio: float
    rounds: int

    def row(self, what: str, *, at_most: float | None = None, note: str = "") -> Row:
        """This measurement as a line of a table."""
        return Row(
            what=what, ours=self.ours, theirs=self.theirs, ratio=self.ratio, at_most=at_most, note=note
        )


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """How long one call takes by `clock`. Work on a GPU must synchronise before it returns."""
    gc.collect()
    start = clock()
    work()
    return clock() - start


def paired(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    rounds: int = 5,
    warmup: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> Paired:
    """Time `ours` against `theirs` in alternating order.

    Args:
        ours: one run.
        theirs: one run of the same work.
        rounds: each of one run of both.
        warmup: rounds before, not counted.
        clock: seconds of this process's processors, which neighbours disturb least; on a GPU, of the wall.
    """
    for _ in range(warmup):
        ours()
        theirs()
    mine: list[float] = []
    peers: list[float] = []
    for round_index in range(rounds):
        if round_index % 2 == 0:
            mine.append(seconds(ours, clock))
            peers.append(seconds(theirs, clock))
        else:
            peers.append(seconds(theirs, clock))
            mine.append(seconds(ours, clock))
    return Paired(
        ours=statistics.median(mine),
        theirs=statistics.median(peers),
        ratio=statistics.median(a / b for a, b in zip(mine, peers, strict=True)),
        rounds=rounds,
    )


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a child process used: seconds of wall clock and of CPU, peak resident MiB, and what it printed."""

    wall: float
    cpu: float
    peak: float
    printed: str


# Linux keeps a process's peak across exec, so a child of a large parent starts with the parent's
# peak; an interpreter between the two resets that, and reports what its only child used.
_WATCH = """
import json, os, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], capture_output=True, text=True)
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = used.ru_utime + used.ru_stime
print(json.dumps([done.returncode, wall, cpu, used.ru_maxrss, done.stdout, done.stderr]))
"""


def child(code: str, *arguments: str) -> Usage:
    """Run `code` in a fresh interpreter, with `arguments` as its `sys.argv[1:]`, and say what it used.

    Raises:
        RuntimeError: the child failed; the message ends with what it wrote to stderr.
    """
    answer = subprocess.run(
        [sys.executable, "-c", _WATCH, code, *arguments], capture_output=True, text=True, check=True
    )
    status, wall, cpu, peak, printed, complaint = json.loads(answer.stdout)
    if status:
        raise RuntimeError(f"the measured child ended with {status}: {complaint[-2000:]}")
    # macOS counts bytes where Linux counts KiB.
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return Usage(wall=wall, cpu=cpu, peak=peak / scale, printed=printed)


def machine() -> str:
    """The machine in one line: processor, cores and threads in use, memory, GPU, torch and Python."""
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {memory:.0f} GiB{gpu}; "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def print_table(rows: Sequence[Row], *, title: str, peer: str) -> None:
    """Print the rows, the machine below them."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("what")
    for column in ("kinema", peer, "figure", "at most", "holds"):
        table.add_column(column, justify="right")
    table.add_column("note")
    for row in rows:
        table.add_row(
            row.what,
            _amount(row.ours, row.unit),
            "" if row.theirs is None else _amount(row.theirs, row.unit),
            f"{row.figure:.3g}" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.at_most is None else f"{row.at_most:g}",
            {True: "yes", False: "NO", None: ""}[row.holds],
            row.note,
        )
    console = Console()
    console.print(table)
    console.print(machine(), soft_wrap=True)


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"
    return f"{value:.4g} {unit}".rstrip()
