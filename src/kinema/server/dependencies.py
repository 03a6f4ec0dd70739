"""State that the routes share, and the checks they have in common."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from starlette.requests import Request

from kinema.server.errors import ApiError, disk_full, not_found
from kinema.server.file_store import FileStore
from kinema.server.insert_batcher import InsertBatcher
from kinema.server.job import Job, is_job_id
from kinema.server.job_store import JobStore
from kinema.server.metrics import Metrics
from kinema.server.model_info import ModelInfo
from kinema.server.settings import Settings
from kinema.server.supervisor import Supervisor
from kinema.server.tracing import Tracing
from kinema.server.uploads import UploadReader

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(kw_only=True, eq=False)
class AppState:
    """Shared state, one object for each server.

    Attributes:
        settings: the operator's settings.
        store: jobs and workers.
        files: of the jobs.
        supervisor: of the worker processes.
        insert_batcher: puts jobs into the queue.
        upload_reader: decodes uploaded images and videos.
        metrics: counters for Prometheus.
        tracing: spans of requests and videos.
        draining: set when the server shuts down: event streams end, and new jobs are refused.
        open_event_streams: number of open event streams of each owner.
    """

    settings: Settings
    store: JobStore
    files: FileStore
    supervisor: Supervisor
    insert_batcher: InsertBatcher
    upload_reader: UploadReader
    metrics: Metrics
    tracing: Tracing
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    open_event_streams: Counter[str] = field(default_factory=Counter)

    async def run_in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that may block, outside the event loop."""
        return await asyncio.to_thread(function, *args, **kwargs)

    async def get_model_info(self) -> ModelInfo:
        """The served model.

        Raises:
            ApiError: no worker has loaded the model yet.
        """
        return await self.run_in_thread(self._find_model_info)

    async def get_job_or_404(self, request: Request, job_id: str) -> Job:
        """The caller's job.

        Raises:
            ApiError: there is no such job, or it belongs to someone else; the response is the same.
        """
        job = None
        if is_job_id(job_id):
            job = await self.run_in_thread(self.store.get, job_id, owner=current_owner(request))
        if job is None:
            raise not_found(f"There is no video {job_id[:100]!r}; it may have been deleted or have expired.")
        return job

    def open_event_stream(self, owner: str) -> None:
        """Count an event stream of this owner; the response closes it.

        Raises:
            ApiError: too many are open, of this owner or in all.
        """
        limits, streams = self.settings.limits, self.open_event_streams
        is_own = streams[owner] >= limits.max_event_streams_per_owner
        if is_own or streams.total() >= limits.max_event_streams:
            whose = "your event streams" if is_own else "event streams"
            raise ApiError(429, f"Too many {whose} are open; try again later.", code="too_many_streams",
                           headers={"retry-after-ms": "5000", "retry-after": "5"})  # fmt: skip
        streams[owner] += 1

    def close_event_stream(self, owner: str) -> None:
        """An event stream of this owner has ended."""
        self.open_event_streams[owner] -= 1
        if not self.open_event_streams[owner]:
            del self.open_event_streams[owner]

    def check_capacity(self) -> ModelInfo:
        """The served model, if the server accepts new jobs. This asks the disk: not on the event loop.

        Raises:
            ApiError: the server is starting or stopping, or its disk is full.
        """
        if self.draining.is_set():
            raise ApiError(503, "The server is shutting down; try again.", code="draining",
                           headers={"retry-after-ms": "3000"})  # fmt: skip
        if self.files.free_bytes() < self.settings.limits.min_free_bytes:
            raise disk_full()
        return self._find_model_info()

    def _find_model_info(self) -> ModelInfo:
        model_info = self.store.model_info(self.settings.model)
        if model_info is None:
            raise ApiError(
                503, "The model is still being loaded; try again in a moment.",
                code="starting", headers={"retry-after-ms": "1000", "retry-after": "1"},
            )  # fmt: skip
        return model_info


def current_owner(request: Request) -> str:
    """The owner of the API key of a request."""
    return request.state.owner
