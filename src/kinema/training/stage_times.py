"""How long a run has worked on each of its stages, over all its processes one after the other.

A budget counts on when a run is resumed: the seconds are kept in the run's folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from kinema.atomic_io import write_text

TIMES_FILE = "stage_times.json"
_SECONDS_PER_WRITE = 5.0


class StageTimes:
    """Seconds of each stage of a run, from its folder.

    Args:
        run_dir: of the run.
        writes: whether this process keeps them; of several only the main one does.
        clock: seconds.
    """

    def __init__(
        self, run_dir: Path, *, writes: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._clock, self._writes = run_dir / TIMES_FILE, clock, writes
        self._seconds: dict[str, float] = {}
        if self._path.is_file():
            stored = json.loads(self._path.read_text())
            self._seconds = {str(name): float(value) for name, value in stored.items()}
        self._last = self._last_write = clock()

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self._seconds.values())

    def of(self, stage: str) -> float:
        """Seconds of a stage, so far."""
        return self._seconds.get(stage, 0.0)

    def add(self, stage: str) -> None:
        """Count the time since the last call for a stage; it is written every few seconds."""
        now = self._clock()
        self._seconds[stage] = self.of(stage) + now - self._last
        self._last = now
        if now - self._last_write >= _SECONDS_PER_WRITE:
            self.save()

    def save(self) -> None:
        """Write the times."""
        self._last_write = self._clock()
        if not self._writes:
            return
        rounded = {name: round(value, 3) for name, value in self._seconds.items()}
        write_text(self._path, json.dumps(rounded, indent=1) + "\n")
