"""The device by name, and its free memory."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from kinema.errors import UserError

_CGROUP = Path("/sys/fs/cgroup")


def resolve_device(name: str) -> torch.device:
    """The device of a name; `auto` is the GPU if there is one.

    Raises:
        UserError: the name is not a device, or this machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        short = str(error).splitlines()[0]
        raise UserError(f"there is no device {name!r} here ({short}); give auto, cpu or cuda") from None
    if device.type == "meta":
        raise UserError("the device 'meta' can't compute; give auto, cpu or cuda")
    return device


def free_memory(device: torch.device) -> int:
    """Bytes that new tensors may take on the device.

    On Linux, what the kernel can make available within the limit of the container.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = _available_ram()
    limit, used = _read_int(_CGROUP / "memory.max"), _read_int(_CGROUP / "memory.current")
    if limit is not None and used is not None:
        free = min(free, max(0, limit - used + _reclaimable_cache()))
    return free


def _available_ram() -> int:
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _reclaimable_cache() -> int:
    """Bytes of the container's page cache, which count as used but can be reclaimed."""
    stat = _CGROUP / "memory.stat"
    if not stat.exists():
        return 0
    values = dict(line.split() for line in stat.read_text().splitlines())
    return int(values.get("inactive_file", 0)) + int(values.get("active_file", 0))


def _read_int(file: Path) -> int | None:
    """The number in a file; None where there is no file or no limit."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
