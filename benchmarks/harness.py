"""Timing, memory measurement and the results table, shared by all benchmarks.

Both sides of a comparison run in one process, in alternating order, because the speed of a machine changes
between two runs: clock rates vary, and other processes compete. The result is the median of the ratios of the
rounds.
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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One line of a results table.

    Attributes:
        label: what is measured.
        ours: value of Kinema, in `unit`.
        theirs: value of the peer, in `unit`.
        ratio: ours / theirs.
        at_most: upper bound of `ratio`, or of `ours` without a peer.
        at_least: lower bound of the same value.
        unit: "s", "MiB", or "" for a plain number.
        note: further values, as text.
    """

    label: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "s"
    note: str = ""

    @property
    def value(self) -> float:
        """The value that `at_most` and `at_least` bound."""
        return self.ours if self.ratio is None else self.ratio

    @property
    def within_bound(self) -> bool | None:
        """Whether the value is within its bounds; None without a bound."""
        if self.at_most is None and self.at_least is None:
            return None
        is_low_enough = self.at_most is None or self.value <= self.at_most
        is_high_enough = self.at_least is None or self.value >= self.at_least
        return is_low_enough and is_high_enough

    @property
    def bounds_text(self) -> str:
        """The bounds as a cell of a table; empty without one."""
        bounds = {"<=": self.at_most, ">=": self.at_least}
        return ", ".join(f"{sign} {bound:g}" for sign, bound in bounds.items() if bound is not None)


@dataclass(frozen=True, kw_only=True)
class PairedTiming:
    """Medians over the rounds, in seconds; `ratio` is the median of ours / theirs within a round."""

    ours: float
    theirs: float
    ratio: float
    rounds: int

    def to_row(self, label: str, *, at_most: float | None = None, note: str = "") -> BenchRow:
        """The measurement as a line of a table."""
        return BenchRow(
            label=label, ours=self.ours, theirs=self.theirs, ratio=self.ratio, at_most=at_most, note=note
        )


def time_call(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call by `clock`. Work on a GPU must synchronise before it returns."""
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
        rounds: number of pairs of runs.
        warmup: pairs before the measurement.
        clock: CPU seconds of this process by default, which other processes disturb least; use wall-clock
            seconds for work on a GPU.
    """
    for _ in range(warmup):
        ours()
        theirs()
    our_times: list[float] = []
    their_times: list[float] = []
    for round_index in range(rounds):
        if round_index % 2 == 0:
            our_times.append(time_call(ours, clock))
            their_times.append(time_call(theirs, clock))
        else:
            their_times.append(time_call(theirs, clock))
            our_times.append(time_call(ours, clock))
    return PairedTiming(
        ours=statistics.median(our_times),
        theirs=statistics.median(their_times),
        ratio=statistics.median(a / b for a, b in zip(our_times, their_times, strict=True)),
        rounds=rounds,
    )


def compare_and_time(
    label: str,
    ours: Callable[[], Tensor],
    theirs: Callable[[], Tensor],
    *,
    rounds: int,
    at_most: float | None,
) -> BenchRow:
    """Time two functions with equal results; the note states their largest absolute difference."""
    # The comparison runs both sides once, so the timing needs no warmup.
    error = (ours() - theirs()).abs().max().item()
    timing = time_paired(ours, theirs, rounds=rounds, warmup=0)
    return timing.to_row(label, at_most=at_most, note=f"largest difference {error:.1e}")


@dataclass(frozen=True, kw_only=True)
class ProcessUsage:
    """Resources that a child process used, and its output.

    Attributes:
        wall_seconds: wall-clock seconds.
        cpu_seconds: user and system CPU seconds.
        peak_mib: peak resident memory in MiB.
        stdout: what it printed.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    stdout: str


# Linux keeps the peak memory of a process across exec, so a child of a large parent starts with the peak of
# the parent. An interpreter between the two resets it, and reports the usage of its only child.
_RUSAGE_SCRIPT = """
import json, os, resource, subprocess, sys, time
start = time.perf_counter()
child = subprocess.run([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], capture_output=True, text=True)
wall = time.perf_counter() - start
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([child.returncode, wall, cpu, usage.ru_maxrss, child.stdout, child.stderr]))
"""


def run_subprocess(code: str, *arguments: str) -> ProcessUsage:
    """Run `code` in a fresh interpreter with `arguments` as `sys.argv[1:]`, and measure its resources.

    Raises:
        RuntimeError: the child failed; the message ends with its stderr.
    """
    completed = subprocess.run(
        [sys.executable, "-c", _RUSAGE_SCRIPT, code, *arguments], capture_output=True, text=True, check=True
    )
    status, wall, cpu, peak, stdout, stderr = json.loads(completed.stdout)
    if status:
        raise RuntimeError(f"the measured process failed with status {status}: {stderr[-2000:]}")
    # macOS counts bytes where Linux counts KiB.
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return ProcessUsage(wall_seconds=wall, cpu_seconds=cpu, peak_mib=peak / scale, stdout=stdout)


def describe_machine() -> str:
    """The machine in one line: processor, cores, threads, memory, GPU, versions of torch and Python."""
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
    """Print the rows and a line that describes the machine."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("measurement")
    for column in ("kinema", peer, "value", "asked", "passed"):
        table.add_column(column, justify="right")
    table.add_column("note")
    for row in rows:
        table.add_row(
            row.label,
            _format_value(row.ours, row.unit),
            "" if row.theirs is None else _format_value(row.theirs, row.unit),
            f"{row.value:.3g}" if row.ratio is None else f"{row.ratio:.2f}",
            row.bounds_text,
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
