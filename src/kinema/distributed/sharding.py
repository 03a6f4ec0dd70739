"""Shard a module with FSDP2, and gather full tensors from shards.

Parameters, gradients, optimizer states and averages are sharded over the processes; the parameters of a
unit are gathered while it runs. Checkpoints have full tensors, so a run can be resumed with another number
of processes.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from kinema.distributed.process_group import DistContext


def apply_fsdp(
    module: nn.Module,
    dist_context: DistContext,
    *,
    units: Iterable[nn.Module],
    forward_methods: Iterable[str],
) -> None:
    """Shard a module in place: every unit by itself, then the rest of the module.

    Args:
        module: equal in all processes. Its parameters are replaced by sharded ones.
        dist_context: with a single process the module is not changed.
        units: submodules that are gathered one by one.
        forward_methods: names of methods of `module` other than `forward` that run layers.
    """
    if dist_context.mesh is None:
        return
    for unit in units:
        fully_shard(unit, mesh=dist_context.mesh)
    fully_shard(module, mesh=dist_context.mesh)
    for method in forward_methods:
        register_fsdp_forward_method(module, method)


def reshard(module: nn.Module) -> None:
    """Drop the gathered parameters of a module, so that values written into its shards are used.

    FSDP keeps those of the outermost unit gathered after a forward pass. Other modules are not changed.
    """
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def full_tensor(tensor: Tensor) -> Tensor:
    """Gather a tensor that may be sharded; every process must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local_shard(tensor: Tensor) -> Tensor:
    """Return this process's shard, which shares the tensor's memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def distribute_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Shard a full tensor, equal in all processes, as `like` is sharded, with its device and type.

    A tensor that is sharded already stays so.
    """
    moved = tensor.to(like.device, like.dtype)
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return moved
    # Every process has read the same file, so nothing is sent.
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
