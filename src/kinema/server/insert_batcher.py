"""Orders that come at the same time go into the store together: one wait for the disk for all of them."""

from __future__ import annotations

import asyncio

from kinema.server import queue
from kinema.server.database import Database
from kinema.server.job import Job
from kinema.server.settings import Limits


class InsertBatcher:
    """While one transaction is written, those who come gather for the next."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database, self._limits = database, limits
        self._pending: list[tuple[queue.JobCreate, asyncio.Future[queue.EnqueueResult]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def enqueue(self, job: queue.JobCreate) -> tuple[Job, bool]:
        """See `jobs.enqueue`; the order is on the disk when this returns."""
        answer: asyncio.Future[queue.EnqueueResult] = asyncio.get_running_loop().create_future()
        self._pending.append((job, answer))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_batches())
        taken = await answer
        if isinstance(taken, Exception):
            raise taken
        return taken

    async def _write_batches(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending, []
                orders = [order for order, _ in batch]
                try:
                    answers = await asyncio.to_thread(
                        queue.enqueue_many, self._database, orders, self._limits
                    )
                except Exception as error:
                    answers = [error] * len(batch)
                for (_, future), answer in zip(batch, answers, strict=True):
                    # A caller who went away has a cancelled future; the order stands all the same.
                    if not future.done():
                        future.set_result(answer)
        finally:
            self._writer = None
