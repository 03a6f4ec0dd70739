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
class BenchRow:
    """One line of a benchmark's table.

    `at_most` bounds the ratio ours / theirs, or `ours` itself where there is no peer. `unit` is that of
    `ours` and `theirs`: "s", "MiB" or "" for a plain number such as a largest difference.
    """

    label: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    at_most: float | None = None
    unit: str = "s"
    note: str = ""

    @property
    def value(self) -> float:
        """What `at_most` bounds."""
        return self.ours if self.ratio is None else self.ratio

    @property
    def within_bound(self) -> bool | None:
        """Whether the figure is within its bound; None where none is asked."""
        return None if self.at_most is None else self.value <= self.at_most


@dataclass(frozen=True, kw_only=True)
class PairedTiming:
    """Medians over the rounds, in seconds; `ratio` is the median of ours / theirs within a round."""

    ours: float
    theirs: float
    ratio: float
    rounds: int

    def to_row(self, label: str, *, at_most: float | None = None, note: str = "") -> BenchRow:
        """This measurement as a line of a table."""
        return BenchRow(
            label=label, ours=self.ours, theirs=self.theirs, ratio=self.ratio, at_most=at_most, note=note
        )


def time_call(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """How long one call takes by `clock`. Work on a GPU must synchronise before it returns."""
    gc.collect()
    start = clock()
    work()
    return clock() - start


def time_paired(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    rounds: int = 5,
    warmup: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> PairedTiming:
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
            mine.append(time_call(ours, clock))
            peers.append(time_call(theirs, clock))
        else:
            peers.append(time_call(theirs, clock))
            mine.append(time_call(ours, clock))
    return PairedTiming(
        ours=statistics.median(mine),
        theirs=statistics.median(peers),
        ratio=statistics.median(a / b for a, b in zip(mine, peers, strict=True)),
        rounds=rounds,
    )


@dataclass(frozen=True, kw_only=True)
class ProcessUsage:
    """What a child process used: seconds of wall clock and of CPU, peak resident MiB, and what it printed."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    stdout: str


# Linux keeps a process's peak across exec, so a child of a large parent starts with the parent's
# peak; an interpreter between the two resets that, and reports what its only child used.
_RUSAGE_SCRIPT = """
import json, os, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], capture_output=True, text=True)
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = used.ru_utime + used.ru_stime
print(json.dumps([done.returncode, wall, cpu, used.ru_maxrss, done.stdout, done.stderr]))
"""


def run_subprocess(code: str, *arguments: str) -> ProcessUsage:
    """Run `code` in a fresh interpreter, with `arguments` as its `sys.argv[1:]`, and say what it used.

    Raises:
        RuntimeError: the child failed; the message ends with what it wrote to stderr.
    """
    answer = subprocess.run(
        [sys.executable, "-c", _RUSAGE_SCRIPT, code, *arguments], capture_output=True, text=True, check=True
    )
    status, wall, cpu, peak, printed, complaint = json.loads(answer.stdout)
    if status:
        raise RuntimeError(f"the measured child ended with {status}: {complaint[-2000:]}")
    # macOS counts bytes where Linux counts KiB.
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return ProcessUsage(wall_seconds=wall, cpu_seconds=cpu, peak_mib=peak / scale, stdout=printed)


def describe_machine() -> str:
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


def print_table(rows: Sequence[BenchRow], *, title: str, peer: str) -> None:
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
            row.label,
            _format_value(row.ours, row.unit),
            "" if row.theirs is None else _format_value(row.theirs, row.unit),
            f"{row.value:.3g}" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.at_most is None else f"{row.at_most:g}",
            {True: "yes", False: "NO", None: ""}[row.within_bound],
            row.note,
        )
    console = Console()
    console.print(table)
    console.print(describe_machine(), soft_wrap=True)


def _format_value(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"
    return f"{value:.4g} {unit}".rstrip()
