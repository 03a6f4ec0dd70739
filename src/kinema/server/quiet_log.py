"""A log that stays small: a message that repeats is written a few times a minute."""

from __future__ import annotations

import logging
import time

MAX_PER_MINUTE = 20
_MAX_MESSAGES = 1000


class RepeatFilter(logging.Filter):
    """Drops what repeats a message, whatever its arguments, and says afterwards how often.

    Without it, clients that send nonsense, or the system without free file descriptors, fill the disk.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[tuple[str, object], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        key = (record.name, record.msg if isinstance(record.msg, str) else type(record.msg))
        now = time.monotonic()
        begin, count = self._counts.get(key, (now, 0))
        if now - begin > 60:
            if count > MAX_PER_MINUTE:
                dropped = count - MAX_PER_MINUTE
                record.msg = f"{record.msg} (and {dropped} such messages that were not written)"
            begin, count = now, 0
        if len(self._counts) >= _MAX_MESSAGES and key not in self._counts:
            self._counts.clear()
        self._counts[key] = begin, count + 1
        return count < MAX_PER_MINUTE
