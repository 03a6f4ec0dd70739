"""Group commit: jobs that arrive at the same time share one transaction and one wait for the disk."""

from __future__ import annotations

import asyncio

from kinema.server.job import Job, JobCreate
from kinema.server.job_store import CreateResult, JobStore
from kinema.server.settings import Limits


class InsertBatcher:
    """Collects jobs while a transaction is written, and writes them in the next one."""

    def __init__(self, store: JobStore, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._pending: list[tuple[JobCreate, asyncio.Future[CreateResult]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def create(self, job: JobCreate) -> tuple[Job, bool]:
        """Add a job as `JobStore.create` does, and raise its errors; the job is then on the disk."""
        future: asyncio.Future[CreateResult] = asyncio.get_running_loop().create_future()
        self._pending.append((job, future))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_batches())
        result = await future
        if isinstance(result, Exception):
            raise result
        return result

    async def _write_batches(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending, []
                jobs = [job for job, _ in batch]
                try:
                    results = await asyncio.to_thread(self._store.create, jobs, self._limits)
                except Exception as error:
                    results = [error] * len(batch)
                for (_, future), result in zip(batch, results, strict=True):
                    # A client that disconnected has a cancelled future; its job is in the queue all the same.
                    if not future.done():
                        future.set_result(result)
        finally:
            self._writer = None
