"""Numbers that were measured on this machine, kept between runs.

Measuring the speed of a machine takes a second, and counting the operations of an autoencoder imports
torch._dynamo, which takes several. Both are done once. The file is `machine.json` in `$XDG_CACHE_HOME/kinema`
(`~/.cache/kinema`); a damaged or unwritable file only costs the time of measuring again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from kinema._version import __version__
from kinema.atomic_io import write_text
from kinema.errors import UserError

_MAX_ENTRIES = 500
"""Older entries are dropped, so the file stays small."""


def machine_key(device: torch.device, **settings: object) -> str:
    """The key of a number: the machine, the versions that computed it, and what was measured.

    Args:
        device: where it was measured.
        settings: everything else that the number depends on; values need a stable `repr`.
    """
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    parts = (
        __version__,
        torch.__version__,
        hardware,
        os.cpu_count(),
        torch.get_num_threads(),
        *sorted(settings.items()),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def cached_numbers(key: str, measure: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """Return the numbers of a key; measure and keep them where there are none."""
    found = read_numbers(key)
    if found is None:
        found = dict(measure())
        write_numbers(key, found)
    return found


def read_numbers(key: str) -> dict[str, float] | None:
    """Return the numbers of a key, or None."""
    entry = _read_file().get(key)
    if isinstance(entry, dict) and all(
        isinstance(value, int | float) and math.isfinite(value) for value in entry.values()
    ):
        return {str(name): float(value) for name, value in entry.items()}
    return None


def write_numbers(key: str, numbers: Mapping[str, float]) -> None:
    """Keep the numbers of a key. Nothing happens if the folder can't be written."""
    entries = _read_file()
    entries.pop(key, None)
    entries[key] = dict(numbers)
    kept = dict(list(entries.items())[-_MAX_ENTRIES:])
    path = _cache_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(kept, indent=1) + "\n")
    except (OSError, UserError):
        pass


def cache_folder() -> Path:
    """Where Kinema keeps what can be computed again; it need not exist."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "kinema"


def _cache_file() -> Path:
    return cache_folder() / "machine.json"


def _read_file() -> dict[str, object]:
    try:
        values = json.loads(_cache_file().read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def processor_name() -> str:
    """The processor's name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
