"""bfloat16 autocast and torch.compile."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

Precision = Literal["auto", "float32", "bfloat16"]
"""Type of matrix products and activations. Parameters, optimisers, averages, norms and modulation are always
float32. `auto` is bfloat16 where the device has hardware for it, and float32 elsewhere."""


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device has hardware for bfloat16 products: GPUs, and CPUs with AMX.

    On two cores of a CPU with AMX, linear layers ran ten times as fast as in float32 and convolutions three
    to four times. AVX-512 has bfloat16 too, but the casts cost nearly what it saves.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A context in which products are computed in `precision` on `device`."""
    if precision == "auto":
        precision = "bfloat16" if has_fast_bf16(device) else "float32"
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def compile_modules(
    modules: Iterable[nn.Module],
    device: torch.device,
    *,
    dynamic_shapes: bool,
    cuda_graphs: bool = False,
) -> None:
    """Compile modules in place, at their first call; without a C++ compiler, warn and leave them as they are.

    Args:
        modules: the modules. Those of one class share compiled code.
        device: where they run. On a CPU, torch.compile needs a C++ compiler.
        dynamic_shapes: compile once for many shapes. Otherwise each shape is compiled, which runs faster and
            is the only way that works for pixel shuffles.
        cuda_graphs: record the kernels of a shape once and replay them, on a GPU.
    """
    if device.type == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "cl")):
        warnings.warn("no C++ compiler was found: modules run uncompiled, more slowly", stacklevel=2)
        return
    # Every shape, with and without gradients, is compiled separately. After the usual limit of 8 the
    # compiler falls back to eager mode without a message.
    torch._dynamo.config.recompile_limit = 64
    for module in modules:
        module.compile(
            dynamic=None if dynamic_shapes else False, mode="reduce-overhead" if cuda_graphs else None
        )
