"""A model in shards (FSDP2), and its tensors whole again.

Parameters, gradients, optimiser states and averages are split among the processes; a block's parameters are
gathered when it runs. What a checkpoint holds is whole tensors, so a run may go on with another number of
processes, and with one.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from kinema.distributed.process_group import DistContext


def apply_fsdp(
    module: nn.Module,
    dist_context: DistContext,
    *,
    units: Iterable[nn.Module],
    forward_methods: Iterable[str],
) -> None:
    """Split a module among the crowd, in place: every block by itself, then what is left of the root.

    Args:
        module: equal in all processes. Its parameters are other objects afterwards.
        dist_context: of one changes nothing.
        units: gathered one by one while they run.
        forward_methods: of `module` that run layers outside `forward`.
    """
    if dist_context.mesh is None:
        return
    for block in units:
        fully_shard(block, mesh=dist_context.mesh)
    fully_shard(module, mesh=dist_context.mesh)
    for method in forward_methods:
        register_fsdp_forward_method(module, method)


def full_tensor(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be in shards; every process has to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local_shard(tensor: Tensor) -> Tensor:
    """This process's shard, sharing memory with it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def distribute_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, equal in all processes, in shards as `like` is, and where `like` is."""
    there = tensor.to(like.device, like.dtype)
    if not isinstance(like, DTensor):
        return there
    # Every process has read the same file: nothing has to be sent.
    return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)
