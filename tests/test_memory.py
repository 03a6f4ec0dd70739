"""Freed memory is returned to the system."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import psutil
import pytest

from kinema.memory import release_free_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heap")
def test_freed_memory_returns_to_the_system():
    release_free_memory()
    process = psutil.Process()
    # Small enough to be on the heap; every second one is kept, so that the heap can't shrink at its end.
    arrays = [np.ones(4096) for _ in range(6000)]
    full = process.memory_info().rss
    del arrays[::2]
    freed = process.memory_info().rss
    release_free_memory()
    assert process.memory_info().rss < full - 60 * 2**20
    assert process.memory_info().rss < freed - 60 * 2**20


def test_without_malloc_trim_nothing_happens(monkeypatch):
    def none(_):
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", none)
    release_free_memory()
