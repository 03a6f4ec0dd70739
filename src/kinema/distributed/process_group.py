"""The processes of a training run, as torchrun starts them; a single process is a group of one."""

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
"""How long processes wait for each other: the main process may be rendering a dataset."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DistContext:
    """This process among those that train together.

    Attributes:
        rank: of this process, from 0.
        world_size: number of processes.
        mesh: None for a single process.
    """

    rank: int = 0
    world_size: int = 1
    mesh: DeviceMesh | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for every process."""
        if self.world_size > 1:
            dist.barrier()

    def all_reduce_sum(self, value: float) -> float:
        """Sum a float64 value over all processes; each of them must call it."""
        if self.world_size == 1:
            return value
        device = "cpu" if self.mesh is None else self.mesh.device_type
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.all_reduce(shared)
        return shared.item()

    def any_rank(self, flag: bool) -> bool:
        """Return whether the flag is true in any process; each of them must call it."""
        return self.all_reduce_sum(float(flag)) > 0

    @contextlib.contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Run the block in the main process before the others, which then find the files that it wrote."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()


SINGLE_PROCESS = DistContext()


@contextlib.contextmanager
def init_distributed(device: str) -> Iterator[DistContext]:
    """Join the process group of torchrun, or yield `SINGLE_PROCESS`.

    torchrun passes rank and world size in environment variables (RANK, WORLD_SIZE, LOCAL_RANK). They are read
    only here.

    Args:
        device: `cpu` or `cuda`; selects the backend, gloo or nccl.
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
