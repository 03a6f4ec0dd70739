"""Parts of a model that are in memory while they are needed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch

from kinema.heap import trim

T = TypeVar("T")


class Part(Generic[T]):
    """A part that is loaded when first used, and either kept or dropped after each use.

    Dropping frees the memory of a part whose weights were mapped or copied; loading it again reads the
    same files, which the operating system usually still has.
    """

    def __init__(self, load: Callable[[], T], *, keep: bool) -> None:
        self._load = load
        self._keep = keep
        self._kept: T | None = None

    @property
    def resident(self) -> bool:
        """Whether it is in memory between uses now."""
        return self._kept is not None

    def get(self) -> T:
        """The part, loaded if it must be. Whoever keeps it longer than a use holds its memory."""
        if self._kept is not None:
            return self._kept
        part = self._load()
        if self._keep:
            self._kept = part
        return part

    @contextmanager
    def use(self) -> Iterator[T]:
        """The part for the length of a block; dropped after it unless it is kept."""
        part = self.get()
        try:
            yield part
        finally:
            del part
            if not self._keep:
                release()


def release() -> None:
    """Give memory of dropped parts back, on the GPU too."""
    gc.collect()
    trim()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
