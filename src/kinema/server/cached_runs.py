"""Work in child processes that runs one at a time, in turn between owners, and whose results are kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from kinema.server.errors import ApiError
from kinema.server.fair_slots import FairSlots, TooManyWaitingError

Result = TypeVar("Result")
MAX_WAITING_PER_OWNER = 4


class CachedRuns(Generic[Result]):
    """Runs of one kind, with their results by key.

    Args:
        plural: what they are called in an error.
        code: of that error.
        param: of that error.
        max_cached: results that are kept.
    """

    def __init__(self, plural: str, *, code: str, param: str, max_cached: int) -> None:
        self._plural, self._code, self._param, self._max_cached = plural, code, param, max_cached
        self._slots = FairSlots(1, max_waiting_per_owner=MAX_WAITING_PER_OWNER)
        self._results: dict[str, Result] = {}

    def get(self, key: str) -> Result | None:
        """The result of an earlier run."""
        return self._results.get(key)

    async def get_or_run(self, key: str, owner: str, run: Callable[[], Awaitable[Result]]) -> Result:
        """The result of an earlier run, or of this one.

        Raises:
            ApiError: too many runs of the owner are waiting.
        """
        result = self.get(key)
        if result is not None:
            return result
        try:
            async with self._slots.acquire(owner):
                # An equal request may have run while this one waited.
                result = self.get(key) or await run()
        except TooManyWaitingError:
            raise ApiError(
                429, f"{MAX_WAITING_PER_OWNER} of your {self._plural} are waiting; ask for fewer at a time.",
                code=self._code, param=self._param,
                headers={"retry-after-ms": "5000", "retry-after": "5"},
            ) from None  # fmt: skip
        if len(self._results) >= self._max_cached:
            self._results.clear()
        self._results[key] = result
        return result
