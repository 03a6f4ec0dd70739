"""A group of processes that exchange tensors, with a count of the bytes that each of them sends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(kw_only=True)
class Traffic:
    """Bytes that this process has sent to others."""

    bytes_sent: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Processes that share some work; a group of one exchanges nothing.

    Tensors are sent as bytes, because not every back end sends every type.

    Attributes:
        ranks: of the processes, in order.
        index: of this process among them.
        handle: the process group; None for one process.
        traffic: counts what is sent.
    """

    ranks: tuple[int, ...] = (0,)
    index: int = 0
    handle: dist.ProcessGroup | None = None
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def size(self) -> int:
        """Number of processes."""
        return len(self.ranks)

    def all_to_all(self, x: Tensor) -> Tensor:
        """Row i of each process, from the process i-th rows; the first axis has a row for each process."""
        if self.size == 1:
            return x
        if torch.is_grad_enabled() and x.requires_grad:
            exchanged: Tensor = _AllToAll.apply(x, self)
            return exchanged
        sent = x.contiguous()
        received = torch.empty_like(sent)
        dist.all_to_all_single(_bytes(received), _bytes(sent), group=self.handle)
        self.traffic.bytes_sent += sent.nbytes // self.size * (self.size - 1)
        return received

    def all_gather(self, x: Tensor) -> list[Tensor]:
        """The tensors of all processes, which have one shape.

        For gradients every process computes the same from the result, so that its own part of the gradient
        is complete.
        """
        if self.size == 1:
            return [x]
        if torch.is_grad_enabled() and x.requires_grad:
            return list(_AllGather.apply(x, self))
        sent = x.contiguous()
        received = [torch.empty_like(sent) for _ in self.ranks]
        dist.all_gather([_bytes(part) for part in received], _bytes(sent), group=self.handle)
        self.traffic.bytes_sent += sent.nbytes * (self.size - 1)
        return received

    def exchange(
        self, sent: Sequence[tuple[int, Tensor]], received: Sequence[tuple[int, Tensor]]
    ) -> Exchange:
        """Send tensors to other processes and receive from them, while this one goes on.

        Args:
            sent: the index of a process, and what it gets.
            received: the index of a process, and the contiguous tensor that is filled.
        """
        buffers = [(index, tensor.contiguous()) for index, tensor in sent]
        operations = [
            dist.P2POp(dist.isend, _bytes(tensor), self.ranks[index], self.handle)
            for index, tensor in buffers
        ]
        operations += [
            dist.P2POp(dist.irecv, _bytes(tensor), self.ranks[index], self.handle)
            for index, tensor in received
        ]
        self.traffic.bytes_sent += sum(tensor.nbytes for _, tensor in buffers)
        return Exchange(works=dist.batch_isend_irecv(operations) if operations else [], buffers=buffers)


class _AllToAll(torch.autograd.Function):
    """Gradients go back the way that the values came."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        """Exchange the rows."""
        ctx.group = group
        return group.all_to_all(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Exchange the rows of the gradient."""
        return ctx.group.all_to_all(gradients[0]), None


class _AllGather(torch.autograd.Function):
    """A process's own part has its gradient in its own result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> tuple[Tensor, ...]:
        """Gather the tensors."""
        ctx.group = group
        return tuple(group.all_gather(x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient of the own part."""
        return gradients[ctx.group.index], None


@dataclass(frozen=True, kw_only=True, eq=False)
class Exchange:
    """Tensors on their way; `buffers` keeps those that are sent."""

    works: list[dist.Work]
    buffers: list[tuple[int, Tensor]]

    def wait(self) -> None:
        """Wait until all have arrived."""
        for work in self.works:
            work.wait()


def _bytes(x: Tensor) -> Tensor:
    return x.view(-1).view(torch.uint8)
