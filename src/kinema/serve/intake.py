"""Orders that come at the same time go into the store together: one wait for the disk for all of them."""

from __future__ import annotations

import asyncio

from kinema.serve import jobs
from kinema.serve.settings import Limits
from kinema.serve.store import Store
from kinema.serve.video import Video


class Intake:
    """While one transaction is written, those who come gather for the next."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._waiting: list[tuple[jobs.Order, asyncio.Future[jobs.Taken]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def take(self, order: jobs.Order) -> tuple[Video, bool]:
        """See `jobs.take`; the order is on the disk when this returns."""
        answer: asyncio.Future[jobs.Taken] = asyncio.get_running_loop().create_future()
        self._waiting.append((order, answer))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        taken = await answer
        if isinstance(taken, Exception):
            raise taken
        return taken

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                orders = [order for order, _ in batch]
                try:
                    answers = await asyncio.to_thread(jobs.take_all, self._store, orders, self._limits)
                except Exception as error:
                    answers = [error] * len(batch)
                for (_, future), answer in zip(batch, answers, strict=True):
                    # A caller who went away has a cancelled future; the order stands all the same.
                    if not future.done():
                        future.set_result(answer)
        finally:
            self._writer = None
