"""Bytes of the request bodies that are open now: a bound for one owner, and one for all together."""

from __future__ import annotations

from collections import Counter

from kinema.server.errors import ApiError
from kinema.server.settings import Limits


class OpenBodies:
    """Counts bytes as they arrive, and refuses those beyond the limits. A body is open until its response."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_owner: Counter[str] = Counter()
        self.total = 0
        """Bytes of all open bodies."""

    def add(self, owner: str, num_bytes: int) -> None:
        """Count bytes that have arrived.

        Raises:
            ApiError: the open bodies of this owner or of all are too large; nothing is counted then.
        """
        limits = self._limits
        if self._by_owner[owner] + num_bytes > limits.max_open_body_bytes_per_owner:
            raise _too_many_error("Your open requests", limits.max_open_body_bytes_per_owner)
        if self.total + num_bytes > limits.max_open_body_bytes:
            raise _too_many_error("All open requests", limits.max_open_body_bytes)
        self._by_owner[owner] += num_bytes
        self.total += num_bytes

    def remove(self, owner: str, num_bytes: int) -> None:
        """A body of this many bytes is no longer open."""
        self.total -= num_bytes
        self._by_owner[owner] -= num_bytes
        if not self._by_owner[owner]:
            del self._by_owner[owner]


def _too_many_error(whose: str, max_bytes: int) -> ApiError:
    return ApiError(
        429, f"{whose} together are larger than the {max_bytes >> 20} MiB allowed; send fewer at a time.",
        code="too_many_bytes", param="body",
        headers={"connection": "close", "retry-after-ms": "2000", "retry-after": "2"},
    )  # fmt: skip
