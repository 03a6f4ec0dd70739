"""Slots for work of many owners: whoever sends much waits behind their own work, not others behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator


class TooManyWaitingError(Exception):
    """An owner has as many tasks waiting as one may have."""


class FairSlots:
    """A semaphore that gives free slots to the waiting owners in turn.

    With two or more slots one owner never holds all of them, so that another one finds a free slot at once.

    Args:
        num_slots: how many tasks run at the same time.
        max_waiting_per_owner: tasks of one owner that may wait.
    """

    def __init__(self, num_slots: int, *, max_waiting_per_owner: int) -> None:
        self._free = num_slots
        self._max_per_owner = max(1, num_slots - 1)
        self._max_waiting = max_waiting_per_owner
        self._running: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def acquire(self, owner: str) -> AsyncIterator[None]:
        """Hold a slot while the block runs.

        Raises:
            TooManyWaitingError: the owner has too many tasks that wait.
        """
        queue = self._waiting.get(owner, ())
        if len(queue) >= self._max_waiting:
            raise TooManyWaitingError
        if self._free and self._running[owner] < self._max_per_owner:
            self._take(owner)
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._give_back(owner)

    async def _wait(self, owner: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(owner)
            elif owner in self._waiting:
                self._waiting[owner].remove(turn)
                if not self._waiting[owner]:
                    del self._waiting[owner]
            raise

    def _take(self, owner: str) -> None:
        self._free -= 1
        self._running[owner] += 1

    def _give_back(self, owner: str) -> None:
        self._free += 1
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        if owner in self._waiting:
            self._waiting.move_to_end(owner)
        while self._free:
            # The first owner who may run another task; afterwards it is the last in the line.
            following = next((one for one in self._waiting if self._running[one] < self._max_per_owner), None)
            if following is None:
                return
            queue = self._waiting[following]
            turn = queue.popleft()
            if queue:
                self._waiting.move_to_end(following)
            else:
                del self._waiting[following]
            self._take(following)
            turn.set_result(None)
