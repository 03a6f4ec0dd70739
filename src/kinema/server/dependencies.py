"""What the routes of a server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from starlette.requests import Request

from kinema.server import queue
from kinema.server.database import Database
from kinema.server.errors import ApiError, not_found
from kinema.server.insert_batcher import InsertBatcher
from kinema.server.job import Job
from kinema.server.metrics import Metrics
from kinema.server.model_info import ModelInfo
from kinema.server.settings import Settings
from kinema.server.storage import free_bytes
from kinema.server.supervisor import Supervisor
from kinema.server.uploads import UploadReader

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(kw_only=True, eq=False)
class AppState:
    """One for each server.

    Attributes:
        settings: what the operator decided.
        database: of the films.
        supervisor: of the workers.
        insert_batcher: of orders.
        upload_reader: of what callers give.
        metrics: of what was answered.
        draining: set when the server is to end: streams stop, and no new films are taken.
        open_event_streams: open event streams.
    """

    settings: Settings
    database: Database
    supervisor: Supervisor
    insert_batcher: InsertBatcher
    upload_reader: UploadReader
    metrics: Metrics
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    open_event_streams: int = 0

    async def run_in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something that may block, outside of the event loop."""
        return await asyncio.to_thread(function, *args, **kwargs)

    async def get_model_info(self) -> ModelInfo:
        """The model.

        Raises:
            ApiError: no worker has said yet what it can make.
        """
        found = await self.run_in_thread(queue.latest_model_info, self.database)
        if found is None:
            raise ApiError(
                503, "The model is still being loaded; try again in a moment.",
                code="starting", headers={"retry-after-ms": "1000", "retry-after": "1"},
            )  # fmt: skip
        return found

    async def get_job_or_404(self, request: Request, job_id: str) -> Job:
        """The caller's film.

        Raises:
            ApiError: there is none of that name, or it is another's, which looks the same.
        """
        found = None
        if queue.is_job_id(job_id):
            found = await self.run_in_thread(queue.get_job, self.database, current_owner(request), job_id)
        if found is None:
            raise not_found(
                f"There is no video {job_id[:100]!r}; it may have been deleted, or its time is over."
            )
        return found

    async def require_capacity(self) -> ModelInfo:
        """The model, or a refusal of new films where they could not be kept.

        Raises:
            ApiError: the server starts or ends, or its disk is full.
        """
        if self.draining.is_set():
            raise ApiError(503, "The server is about to stop; try again.", code="draining",
                           headers={"retry-after-ms": "3000"})  # fmt: skip
        if free_bytes(self.settings.data_dir) < self.settings.limits.min_free_bytes:
            raise ApiError(503, "The server's disk is full; try again later.", code="disk_full", retry=False)
        return await self.get_model_info()


def current_owner(request: Request) -> str:
    """Who calls."""
    return request.state.owner
