"""The process's heap."""

from __future__ import annotations

import ctypes


def release_free_memory() -> None:
    """Give memory that was freed back to the system; the C library keeps it otherwise, for the next time.

    Only glibc knows how; elsewhere nothing happens.
    """
    try:
        give_back = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):
        return
    give_back(0)
