"""The heap of this process."""

from __future__ import annotations

import ctypes


def release_free_memory() -> None:
    """Return freed memory to the system, which glibc otherwise keeps for later allocations.

    With another C library this has no effect.
    """
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):
        return
    malloc_trim(0)
