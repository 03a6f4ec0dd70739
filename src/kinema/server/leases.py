"""When a worker counts as dead: its sign of life did not change for a whole lease.

Nothing compares two clocks. A worker increases a counter, and an observer measures with its own monotonic
clock for how long it saw the same value. A clock that is set, and time in which nobody ran, expire nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

from kinema.server.job_store import Lease

_MAX_GAP = 0.25
"""The longest time between two observations that counts, as a share of the lease.

An observer that did not run for longer can't know whether the others were silent or frozen with it.
"""


@dataclass(kw_only=True)
class _Observation:
    value: Hashable
    silent_s: float = 0.0


class SilenceMonitor:
    """Observes values that change while their writers are alive.

    Args:
        lease_s: seconds of silence after which a writer counts as dead.
        monotonic: a clock that is never set.
    """

    def __init__(self, lease_s: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lease_s, self._monotonic = lease_s, monotonic
        self._last = monotonic()
        self._observed: dict[str, _Observation] = {}

    def silent(self, values: Mapping[str, Hashable]) -> set[str]:
        """Names whose value was the same for a whole lease; call it often.

        Args:
            values: all current values by name; names that are missing are forgotten.
        """
        now = self._monotonic()
        elapsed, self._last = min(now - self._last, _MAX_GAP * self._lease_s), now
        observed = {}
        for name, value in values.items():
            last = self._observed.get(name)
            is_same = last is not None and last.value == value
            observed[name] = _Observation(
                value=value, silent_s=last.silent_s + elapsed if last is not None and is_same else 0.0
            )
        self._observed = observed
        return {name for name, seen in observed.items() if seen.silent_s >= self._lease_s}

    def expired(self, leases: Iterable[Lease]) -> list[Lease]:
        """Leases that did not change for a whole lease."""
        by_job = {lease.job_id: lease for lease in leases}
        silent = self.silent({job_id: (lease.attempt, lease.heartbeat) for job_id, lease in by_job.items()})
        return [by_job[job_id] for job_id in sorted(silent)]
