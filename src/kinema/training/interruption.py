"""Stopping a run at once: a signal interrupts encoding, a step or a validation; the run saves and ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class StopRequested(Exception):  # noqa: N818 - not an error
    """A stop was requested inside an interruptible block."""


class StopSignal:
    """Whether a run should stop. Calling it tells; `request`, from a signal handler, requests it.

    Long work that can be repeated belongs in an `interruptible` block, which a request leaves at once. What
    must be complete, such as the update of the weights and a checkpoint, stays outside.
    """

    def __init__(self) -> None:
        self._requested = False
        self._depth = 0

    def __call__(self) -> bool:
        """Whether a stop was requested."""
        return self._requested

    def request(self) -> None:
        """Request a stop.

        Raises:
            StopRequested: inside an interruptible block.
        """
        self._requested = True
        if self._depth:
            raise StopRequested

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a request leaves by `StopRequested`.

        Raises:
            StopRequested: a stop was requested, before or inside the block.
        """
        if self._requested:
            raise StopRequested
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
