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

PATIENCE = datetime.timedelta(days=2)
"""How long processes wait for each other: one of them may be filming."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Crowd:
    """The processes that train together."""

    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    """None in a crowd of one."""

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks to the person."""
        return self.rank == 0

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()

    def total(self, value: float) -> float:
        """The sum of everybody's value, in float64."""
        if self.size == 1:
            return value
        device = "cpu" if self.mesh is None else self.mesh.device_type
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.all_reduce(shared)
        return shared.item()

    def any(self, answer: bool) -> bool:
        """Whether anybody says yes."""
        return self.total(float(answer)) > 0

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leader runs the block before all others do: what it leaves on disk the others find."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()


ALONE = Crowd()


@contextlib.contextmanager
def joined(device: str) -> Iterator[Crowd]:
    """The crowd that torchrun started this process in, or `ALONE`.

    torchrun tells each process its place by environment variables (RANK, WORLD_SIZE, LOCAL_RANK); that is
    its interface, and the only place where they are read.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        size = dist.get_world_size()
        yield Crowd(rank=dist.get_rank(), size=size, mesh=init_device_mesh(device, (size,)))
    finally:
        dist.destroy_process_group()
