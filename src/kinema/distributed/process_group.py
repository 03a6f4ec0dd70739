"""The processes of one training, as torchrun starts them; a process on its own is a crowd of one."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

PROCESS_GROUP_TIMEOUT = datetime.timedelta(days=2)
"""How long processes wait for each other: one of them may be filming."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DistContext:
    """The processes that train together."""

    rank: int = 0
    world_size: int = 1
    mesh: DeviceMesh | None = None
    """None in a crowd of one."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks to the person."""
        return self.rank == 0

    def barrier(self) -> None:
        """Until every process is here."""
        if self.world_size > 1:
            dist.barrier()

    def all_reduce_sum(self, value: float) -> float:
        """The sum of everybody's value, in float64."""
        if self.world_size == 1:
            return value
        device = "cpu" if self.mesh is None else self.mesh.device_type
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.all_reduce(shared)
        return shared.item()

    def any_rank(self, flag: bool) -> bool:
        """Whether anybody says yes."""
        return self.all_reduce_sum(float(flag)) > 0

    @contextlib.contextmanager
    def main_process_first(self) -> Iterator[None]:
        """The leader runs the block before all others do: what it leaves on disk the others find."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()


SINGLE_PROCESS = DistContext()


@contextlib.contextmanager
def init_distributed(device: str) -> Iterator[DistContext]:
    """The crowd that torchrun started this process in, or `SINGLE_PROCESS`.

    torchrun tells each process its place by environment variables (RANK, WORLD_SIZE, LOCAL_RANK); that is
    its interface, and the only place where they are read.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield SINGLE_PROCESS
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PROCESS_GROUP_TIMEOUT)
    try:
        size = dist.get_world_size()
        yield DistContext(rank=dist.get_rank(), world_size=size, mesh=init_device_mesh(device, (size,)))
    finally:
        dist.destroy_process_group()
