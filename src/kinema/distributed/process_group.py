"""The processes of a training run, as torchrun starts them; a single process is a group of one."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from kinema.distributed.group import Group
from kinema.distributed.sequence_parallel import SequenceGroups
from kinema.errors import UserError

PROCESS_GROUP_TIMEOUT = datetime.timedelta(days=2)
"""How long processes wait for each other: the main process may be rendering a dataset."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DistContext:
    """This process among those that train together.

    Attributes:
        rank: of this process, from 0.
        world_size: number of processes.
        mesh: of all processes; None for a single process.
        sequence: processes that share the tokens of each video (context parallelism); None: each process has
            videos of its own.
    """

    rank: int = 0
    world_size: int = 1
    mesh: DeviceMesh | None = None
    sequence: SequenceGroups | None = None

    @property
    def data_size(self) -> int:
        """Into how many parts the videos of a step are divided."""
        return self.world_size // (1 if self.sequence is None else self.sequence.whole.size)

    @property
    def data_rank(self) -> int:
        """Which of these parts this process has."""
        return self.rank // (1 if self.sequence is None else self.sequence.whole.size)

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

    def sum_over_data(self, value: float) -> float:
        """Sum a value over the parts of a step's videos; processes that share tokens have the same one."""
        return self.all_reduce_sum(value) * self.data_size / self.world_size

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


def join_process_group(backend: str, *, timeout: datetime.timedelta | None = None) -> None:
    """Join the default process group of the processes that torchrun started.

    torchrun keeps its key-value store when it restarts the processes of a group, and the new ones would find
    the addresses of the dead ones there. So the first process has a store of its own, and torchrun's store
    holds nothing but its port. A port that a dead process left refuses connections.

    Args:
        backend: `gloo` or `nccl`.
        timeout: of collective operations; None: that of PyTorch.
    """
    shared, rank, world_size = next(dist.rendezvous("env://"))
    store = shared
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        host = os.environ["MASTER_ADDR"]
        if rank == 0:
            store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
            shared.set(_STORE_PORT_KEY, str(store.port))
        else:
            store = _connect_to_store(shared, host)
    if timeout is not None:
        store.set_timeout(timeout)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)


_STORE_PORT_KEY = "kinema/store_port"
_STORE_CONNECT_TIMEOUT = datetime.timedelta(seconds=2)
_STORE_DEADLINE_S = 300.0


def _connect_to_store(shared: dist.Store, host: str) -> dist.Store:
    """Connect to the store of the first process, which may not have written its port yet."""
    deadline = time.monotonic() + _STORE_DEADLINE_S
    while True:
        port = int(shared.get(_STORE_PORT_KEY))
        try:
            return dist.TCPStore(
                host, port, is_master=False, wait_for_workers=False, timeout=_STORE_CONNECT_TIMEOUT
            )
        except dist.DistError:
            if time.monotonic() > deadline:
                raise


@contextlib.contextmanager
def init_distributed(device: str, *, context_parallel: int = 1) -> Iterator[DistContext]:
    """Join the process group of torchrun, or yield `SINGLE_PROCESS`.

    torchrun passes rank and world size in environment variables (RANK, WORLD_SIZE, LOCAL_RANK). They are read
    only here.

    Args:
        device: `cpu` or `cuda`; selects the backend, gloo or nccl.
        context_parallel: processes that share the tokens of each video; neighbours in rank.

    Raises:
        UserError: the number of processes is no multiple of `context_parallel`.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        _require_divisible(1, context_parallel)
        yield SINGLE_PROCESS
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    join_process_group("nccl" if device == "cuda" else "gloo", timeout=PROCESS_GROUP_TIMEOUT)
    try:
        size = dist.get_world_size()
        _require_divisible(size, context_parallel)
        yield DistContext(
            rank=dist.get_rank(),
            world_size=size,
            mesh=init_device_mesh(device, (size,)),
            sequence=_sequence_groups(size, context_parallel),
        )
    finally:
        dist.destroy_process_group()


def _require_divisible(size: int, context_parallel: int) -> None:
    if context_parallel < 1 or size % context_parallel:
        raise UserError(
            f"{size} processes can't be divided into groups of {context_parallel}; start torchrun with "
            "--nproc-per-node a multiple of --context-parallel"
        )


def _sequence_groups(size: int, context_parallel: int) -> SequenceGroups | None:
    """Groups of neighbours; every process makes all of them."""
    if context_parallel == 1:
        return None
    own, rank = None, dist.get_rank()
    for start in range(0, size, context_parallel):
        ranks = tuple(range(start, start + context_parallel))
        handle = dist.new_group(list(ranks))
        if rank in ranks:
            assert not isinstance(handle, int)
            own = Group(ranks=ranks, index=ranks.index(rank), handle=handle)
    assert own is not None
    return SequenceGroups(ulysses=own, ring=Group(ranks=(rank,)), whole=own)
