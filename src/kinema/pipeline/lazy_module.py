"""Parts of a model that are in memory while they are needed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch

from kinema.memory import release_free_memory

T = TypeVar("T")


class LazyModule(Generic[T]):
    """A part that is loaded when first used, and either kept or dropped after each use.

    Dropping frees the memory of a part whose weights were mapped or copied; loading it again reads the
    same files, which the operating system usually still has.
    """

    def __init__(self, load: Callable[[], T], *, keep_loaded: bool) -> None:
        self._load = load
        self._keep_loaded = keep_loaded
        self._loaded: T | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether it is in memory between uses now."""
        return self._loaded is not None

    def get(self) -> T:
        """The part, loaded if it must be. Whoever keeps it longer than a use holds its memory."""
        if self._loaded is not None:
            return self._loaded
        part = self._load()
        if self._keep_loaded:
            self._loaded = part
        return part

    @contextmanager
    def use(self) -> Iterator[T]:
        """The part for the length of a block; dropped after it unless it is kept."""
        part = self.get()
        try:
            yield part
        finally:
            del part
            if not self._keep_loaded:
                empty_cache()


def empty_cache() -> None:
    """Give memory of dropped parts back, on the GPU too."""
    gc.collect()
    release_free_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
