"""Modules of a model that are loaded when needed and dropped after use if memory is short."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch

from kinema.memory import release_free_memory

T = TypeVar("T")


class LazyModule(Generic[T]):
    """A module that is loaded on first use, and kept or dropped after each use.

    Dropping frees the memory of mapped or copied weights. Loading again reads the same files, which are
    usually still in the page cache.

    Args:
        load: loads the module.
        keep_loaded: keep it after use.
        prepare: changes a module that was loaded to be used; not one for a caller that changes it.
    """

    def __init__(
        self, load: Callable[[], T], *, keep_loaded: bool, prepare: Callable[[T], object] | None = None
    ) -> None:
        self._prepare = prepare
        self._load = load
        self._keep_loaded = keep_loaded
        self._loaded: T | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether it is in memory between uses."""
        return self._loaded is not None

    def get(self) -> T:
        """The module, loaded if necessary. A caller that keeps the reference keeps its memory."""
        if self._loaded is not None:
            return self._loaded
        module = self._load()
        if self._prepare is not None:
            self._prepare(module)
        if self._keep_loaded:
            self._loaded = module
        return module

    def load(self) -> T:
        """A new module, which is not kept: the caller may change it."""
        return self._load()

    def drop(self) -> None:
        """Forget the kept module; it is loaded again when needed."""
        self._loaded = None

    @contextmanager
    def use(self) -> Iterator[T]:
        """The module for a `with` block; dropped after it unless it is kept."""
        module = self.get()
        try:
            yield module
        finally:
            del module
            if not self._keep_loaded:
                empty_cache()


def empty_cache() -> None:
    """Return the memory of dropped modules to the system, also on the GPU."""
    gc.collect()
    release_free_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
