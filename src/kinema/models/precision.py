"""In which type products are computed, and where the compiler pays."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

Precision = Literal["auto", "float32", "bfloat16"]
"""Of products and activations. Parameters, optimisers, averages, norms and modulation are always float32.
`auto` is bfloat16 where the device has units for it, and float32 elsewhere."""


def has_fast_bf16(device: torch.device) -> bool:
    """Whether products in bfloat16 run on units of their own here: GPUs, and processors with AMX tiles.

    On two cores of a processor with AMX, linear layers ran ten times as fast as in float32 and convolutions
    three to four times. AVX-512 alone has bfloat16 too, but gains little beside what the casts cost.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A block whose products are computed in `precision` on `device`."""
    if precision == "auto":
        precision = "bfloat16" if has_fast_bf16(device) else "float32"
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def compile_modules(modules: Iterable[nn.Module], device: torch.device, *, dynamic_shapes: bool) -> None:
    """Compile modules in place, each program when it is first needed; where that can't be done, say so.

    Args:
        modules: the modules, most of them alike, so that they share programs.
        device: where they run. On a processor the compiler needs a C++ compiler beside it.
        dynamic_shapes: one program for many shapes. Else each shape is a program of its own, which is faster
            and, in pixel shuffles, the only thing that works.
    """
    if device.type == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "cl")):
        warnings.warn("there is no C++ compiler here: training goes on without it, slower", stacklevel=2)
        return
    # Every shape, with and without gradients, is a program of its own; behind the usual limit of 8 the
    # compiler would give up without a word.
    torch._dynamo.config.recompile_limit = 64
    for part in modules:
        part.compile(dynamic=None if dynamic_shapes else False)
