"""What the routes of a server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from starlette.requests import Request

from kinema.serve import jobs
from kinema.serve.errors import ApiError, missing
from kinema.serve.folder import free_bytes
from kinema.serve.intake import Intake
from kinema.serve.metrics import Metrics
from kinema.serve.served import Served
from kinema.serve.settings import Settings
from kinema.serve.store import Store
from kinema.serve.supervisor import Supervisor
from kinema.serve.uploads import Reading
from kinema.serve.video import Video

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(kw_only=True, eq=False)
class Desk:
    """One for each server.

    Attributes:
        settings: what the operator decided.
        store: of the films.
        supervisor: of the workers.
        intake: of orders.
        reading: of what callers give.
        metrics: of what was answered.
        draining: set when the server is to end: streams stop, and no new films are taken.
        listeners: open event streams.
    """

    settings: Settings
    store: Store
    supervisor: Supervisor
    intake: Intake
    reading: Reading
    metrics: Metrics
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    listeners: int = 0

    async def ask(self, question: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Do something that may block, outside of the event loop."""
        return await asyncio.to_thread(question, *given, **named)

    async def served(self) -> Served:
        """The model.

        Raises:
            ApiError: no worker has said yet what it can make.
        """
        found = await self.ask(jobs.served, self.store)
        if found is None:
            raise ApiError(
                503, "The model is still being loaded; try again in a moment.",
                code="starting", headers={"retry-after-ms": "1000", "retry-after": "1"},
            )  # fmt: skip
        return found

    async def film(self, request: Request, identifier: str) -> Video:
        """The caller's film.

        Raises:
            ApiError: there is none of that name, or it is another's, which looks the same.
        """
        found = None
        if jobs.is_id(identifier):
            found = await self.ask(jobs.find, self.store, owner_of(request), identifier)
        if found is None:
            raise missing(
                f"There is no video {identifier[:100]!r}; it may have been deleted, or its time is over."
            )
        return found

    async def open_for_work(self) -> Served:
        """The model, or a refusal of new films where they could not be kept.

        Raises:
            ApiError: the server starts or ends, or its disk is full.
        """
        if self.draining.is_set():
            raise ApiError(503, "The server is about to stop; try again.", code="draining",
                           headers={"retry-after-ms": "3000"})  # fmt: skip
        if free_bytes(self.settings.data) < self.settings.limits.free:
            raise ApiError(503, "The server's disk is full; try again later.", code="disk_full", retry=False)
        return await self.served()


def owner_of(request: Request) -> str:
    """Who calls."""
    return request.state.owner
