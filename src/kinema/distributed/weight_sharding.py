"""A transformer whose weights are divided among the processes that share a video (FSDP2).

Each process keeps its part of every block. A block is gathered while it runs, and dropped afterwards; on GPUs
the next one is gathered meanwhile.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from kinema.models.transformer.block_offload import PROMPT_LAYERS
from kinema.models.transformer.dit import Dit


def shard_weights(dit: Dit, device: torch.device) -> None:
    """Divide the weights of a transformer among all processes; every process calls it.

    The layers that read the prompt run once per prompt, before the blocks, and are gathered by themselves.

    Args:
        dit: equal in all processes, in the CPU's memory or on the device; changed in place.
        device: where it runs.
    """
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in [*dit._blocks(), *dit._control_blocks()]:
        if dit.config.text_conditioning == "cross":
            for name in PROMPT_LAYERS:
                if hasattr(block.attn2, name):
                    fully_shard(getattr(block.attn2, name), mesh=mesh)
        fully_shard(block, mesh=mesh)
    fully_shard(dit, mesh=mesh)
    for method in ("context", "update_cache"):
        register_fsdp_forward_method(dit, method)
    for buffer in dit.buffers():
        buffer.data = buffer.data.to(device)
