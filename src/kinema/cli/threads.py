"""The number of CPU threads of a command, chosen by what else runs on the machine.

Two threads that wait for each other in a loop, beside a neighbour that also computes, take three times as
long as one thread: whoever waits uses up the time that the others need. So a command takes only the cores
that are free at its start, and on a busy machine its threads sleep while they wait. Variables that are set
already are left as they are.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import MutableMapping
from pathlib import Path

_LOADAVG = Path("/proc/loadavg")
_NUM_SAMPLES = 5
_SAMPLE_INTERVAL = 0.004
"""Seconds between two samples of the number of running threads."""


def configure_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables of OpenMP. Must run before torch is imported, which reads them once."""
    if "OMP_NUM_THREADS" in environment:
        return
    busy = count_busy_threads()
    if busy < 1:
        return
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    environment["OMP_NUM_THREADS"] = str(max(1, min(usable, total - busy)))
    environment.setdefault("OMP_WAIT_POLICY", "passive")


def count_busy_threads() -> int:
    """The number of threads of other processes that run or wait for a core; 0 where it is not known."""
    samples = []
    for number in range(_NUM_SAMPLES):
        if number:
            time.sleep(_SAMPLE_INTERVAL)
        try:
            running = int(_LOADAVG.read_text().split()[3].partition("/")[0])
        except (OSError, ValueError, IndexError):
            return 0
        samples.append(max(0, running - 1))
    # The median: a process that runs for a moment is no neighbour.
    return int(statistics.median(samples))
