"""In which type products are computed, and where the compiler pays."""

from __future__ import annotations

import contextlib
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""Of products and activations. Parameters, optimisers, averages, norms and modulation are always float32.
`auto` is bfloat16 on a GPU that has it and float32 elsewhere."""


def mixed(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A block whose products are computed in `precision` on `device`."""
    if precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bfloat16" if able else "float32"
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
