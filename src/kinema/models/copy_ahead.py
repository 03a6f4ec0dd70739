"""Weights in the CPU's memory that are copied to the device one block ahead of their use.

While a block runs, the weights of the next one are copied on a second stream from pinned memory. At most two
blocks have copies at a time. On a CPU the same code copies within memory, so that it can be tested there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class CopyAhead:
    """The tensors of several blocks; the copies of at most two blocks exist.

    Args:
        blocks: the tensors of each block, in the order in which they are used; None is passed through.
        device: where the copies are.
        always_copy: copy on a CPU as well, where the tensors could be used as they are.
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[Tensor | None]],
        device: torch.device,
        *,
        always_copy: bool = True,
    ) -> None:
        self._always_copy = always_copy
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._homes = [list(tensors) for tensors in blocks]
        self._copies: dict[int, list[Tensor | None]] = {}
        self._ready: dict[int, torch.cuda.Event] = {}
        self.peak_bytes = 0

    @property
    def num_copied_blocks(self) -> int:
        """How many blocks have copies now."""
        return len(self._copies)

    @property
    def copied_bytes(self) -> int:
        """Bytes of the copies that exist now."""
        tensors = (tensor for copies in self._copies.values() for tensor in copies)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def fetch(self, index: int, following: int | None) -> list[Tensor | None]:
        """The tensors of a block on the device; starts the copies of the block that follows.

        Args:
            index: of the block.
            following: of the next block; None: there is none.
        """
        for old in self._copies.keys() - {index, following}:
            del self._copies[old]
            self._ready.pop(old, None)
        self._copy(index)
        if following is not None and 0 <= following < len(self._homes):
            self._copy(following)
        self.peak_bytes = max(self.peak_bytes, self.copied_bytes)
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(self._ready[index])
            # The allocator may give the memory to others only after this stream has read it.
            for tensor in self._copies[index]:
                if tensor is not None:
                    tensor.record_stream(current)
        return self._copies[index]

    def drop(self) -> None:
        """Free all copies."""
        self._copies.clear()
        self._ready.clear()

    def _copy(self, index: int) -> None:
        if index in self._copies:
            return
        if self._stream is None:
            self._copies[index] = [
                None if home is None else home.to(self._device, copy=self._always_copy)
                for home in self._homes[index]
            ]
            return
        with torch.cuda.stream(self._stream):
            self._copies[index] = [
                None if home is None else home.to(self._device, non_blocking=True)
                for home in self._homes[index]
            ]
            ready = torch.cuda.Event()
            ready.record(self._stream)
            self._ready[index] = ready


def to_home(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor in the CPU's memory, pinned where it is copied to a GPU."""
    home = tensor.to("cpu")
    return home.pin_memory() if device.type == "cuda" else home
