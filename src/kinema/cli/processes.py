"""Processes that torchrun started to generate one video together."""

from __future__ import annotations

import atexit
import io
import os
import sys


def join_processes(device: str) -> str:
    """Join the process group of torchrun, if there is one, and return this process's device.

    The first process reports; the standard output of the others is closed.

    Args:
        device: `auto` and `cuda` are the GPU of this process's number on its machine.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    import torch
    import torch.distributed as dist

    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        from kinema.distributed.process_group import join_process_group

        join_process_group("nccl" if device.startswith("cuda") else "gloo")
        atexit.register(dist.destroy_process_group)
    if dist.get_rank() > 0:
        sys.stdout = io.StringIO()
    return device
