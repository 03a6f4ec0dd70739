"""Counters for Prometheus, in its text format."""

from __future__ import annotations

from collections import Counter

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What this process has answered."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._latency_counts: dict[str, list[int]] = {}
        self._latency_sums: dict[str, float] = {}
        self.submitted: Counter[str] = Counter()
        """Films put into the queue, by what was asked: create, edit, ..."""

    def observe(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an answer. Paths are routes, not addresses: callers can't make more of them."""
        known = method if method in ("GET", "POST", "DELETE", "HEAD", "OPTIONS") else "other"
        self._requests[known, path, status] += 1
        counts = self._latency_counts.setdefault(path, [0] * (len(LATENCY_BUCKETS_S) + 1))
        for place, bound in enumerate(LATENCY_BUCKETS_S):
            counts[place] += seconds <= bound
        counts[-1] += 1
        self._latency_sums[path] = self._latency_sums.get(path, 0.0) + seconds

    def render(self, gauges: dict[str, float]) -> str:
        """All of it.

        Args:
            gauges: what is true now, by name; a name may carry labels.
        """
        lines = ["# TYPE kinema_requests_total counter"]
        for (method, path, status), number in sorted(self._requests.items()):
            lines.append(
                f'kinema_requests_total{{method="{method}",path="{path}",status="{status}"}} {number}'
            )
        lines.append("# TYPE kinema_request_seconds histogram")
        for path, counts in sorted(self._latency_counts.items()):
            for bound, number in zip([*map(str, LATENCY_BUCKETS_S), "+Inf"], counts, strict=True):
                lines.append(f'kinema_request_seconds_bucket{{path="{path}",le="{bound}"}} {number}')
            lines.append(f'kinema_request_seconds_sum{{path="{path}"}} {self._latency_sums[path]:.6f}')
            lines.append(f'kinema_request_seconds_count{{path="{path}"}} {counts[-1]}')
        lines.append("# TYPE kinema_taken_total counter")
        lines += [
            f'kinema_taken_total{{verb="{verb}"}} {number}' for verb, number in sorted(self.submitted.items())
        ]
        seen = set()
        for name, value in gauges.items():
            family = name.partition("{")[0]
            if family not in seen:
                lines.append(f"# TYPE {family} gauge")
                seen.add(family)
            lines.append(f"{name} {value:g}")
        return "\n".join(lines) + "\n"
