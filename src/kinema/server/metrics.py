"""Metrics for Prometheus."""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_KNOWN_METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS")


class Metrics:
    """Counters of this process, and gauges that are set when metrics are read.

    Attributes:
        submitted: jobs put into the queue, by task.
    """

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "kinema_requests", "HTTP responses.", ["method", "path", "status"], registry=registry
        )
        self._latency = Histogram(
            "kinema_request_seconds",
            "Time of an HTTP request.",
            ["path"],
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.submitted = Counter("kinema_submitted", "Jobs submitted.", ["task"], registry=registry)
        self._videos = Gauge(
            "kinema_videos", "Jobs by status, of all servers of the store.", ["status"], registry=registry
        )
        self._gauges = {
            name: Gauge(f"kinema_{name}", description, registry=registry)
            for name, description in (
                ("store_up", "Whether the job store answers."),
                ("store_seconds", "Time of a query of the job store."),
                ("store_workers", "Registered workers of all servers of the store."),
                ("store_running", "Videos that workers of the store are making."),
                ("workers", "Running worker processes of this server."),
                ("worker_restarts", "Workers that died and were started again."),
                ("event_streams", "Open event streams."),
                ("disk_free_bytes", "Free space on the disk of the data folder."),
                ("disk_used_bytes", "Size of the files of all jobs."),
            )
        }

    def observe(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a response. `path` is that of the route: clients can't create new labels."""
        known_method = method if method in _KNOWN_METHODS else "other"
        self._requests.labels(known_method, path, str(status)).inc()
        self._latency.labels(path).observe(seconds)

    def render(self, *, videos: dict[str, int], **gauges: float) -> str:
        """All metrics in Prometheus' text format.

        Args:
            videos: number of jobs by status.
            gauges: store_up, store_seconds, store_workers, store_running, workers, worker_restarts,
                event_streams, disk_free_bytes, disk_used_bytes.
        """
        for status, number in videos.items():
            self._videos.labels(status).set(number)
        for name, value in gauges.items():
            self._gauges[name].set(value)
        return prometheus_client.generate_latest(self._registry).decode()
