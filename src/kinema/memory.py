"""The heap of this process."""

from __future__ import annotations

import ctypes
from typing import Any


def release_free_memory() -> None:
    """Return freed memory to the system, which glibc otherwise keeps for later allocations.

    With another C library this has no effect.
    """
    malloc_trim = _find_function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK_BYTES = 2**20


def return_large_blocks() -> None:
    """Make glibc return every freed block of 1 MiB and more to the system at once, from now on.

    In training, activations that are kept and temporary values of the same size alternate in the heap, and
    the holes between them stay unused: the process was a quarter larger than the sum of its tensors. A step
    takes up to 4% longer. With another C library this has no effect.
    """
    mallopt = _find_function("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def _find_function(name: str) -> Any:
    """A function of the C library; None where it has none of that name."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return None
