"""The type in which a model runs, and whether all its modules stay in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from kinema.errors import UserError
from kinema.models.formats.loader import ModelCheckpoint
from kinema.pipeline.device import free_memory

Dtype = Literal["auto", "float32", "bfloat16", "int8"]
MemoryMode = Literal["auto", "high", "low"]

MODEL_COMPONENTS = ("text_encoder", "image_encoder", "transformer", "transformer_2", "vae")
_MAX_WEIGHT_SHARE = 0.7
"""Share of the free memory that weights may use; the rest is for activations."""


@dataclass(frozen=True, kw_only=True)
class MemoryPolicy:
    """How modules are loaded.

    Attributes:
        dtype: of the weights.
        int8: whether the transformers' large weights are int8.
        keep_loaded: whether modules stay in memory after use.
    """

    dtype: torch.dtype
    int8: bool
    keep_loaded: bool


def parse_dtype(name: str) -> Dtype:
    """Check the name of a type.

    Raises:
        UserError: there is no such type.
    """
    for known in get_args(Dtype):
        if name == known:
            return known
    raise UserError(f"{name!r} is not a dtype; give one of {', '.join(get_args(Dtype))}")


def parse_memory_mode(name: str) -> MemoryMode:
    """Check the name of a memory mode.

    Raises:
        UserError: there is no such mode.
    """
    for known in get_args(MemoryMode):
        if name == known:
            return known
    raise UserError(f"memory can't be {name!r}; give one of {', '.join(get_args(MemoryMode))}")


def weight_bytes(model: ModelCheckpoint, dtype: torch.dtype, *, int8: bool) -> dict[str, int]:
    """Bytes of each module's weights in memory, by the name of its folder."""
    sizes = {}
    for part in MODEL_COMPONENTS:
        numbers = sum(tensor.numel for tensor in model.list_tensors(part).values())
        if numbers:
            each = 4 if part == "vae" else 1 if int8 and part.startswith("transformer") else dtype.itemsize
            sizes[part] = numbers * each
    return sizes


def select_memory_policy(
    model: ModelCheckpoint, device: torch.device, *, dtype: Dtype, memory: MemoryMode
) -> MemoryPolicy:
    """Choose type and memory mode by the free memory of the device.

    Args:
        model: its weights are counted.
        device: where it runs.
        dtype: `auto` is bfloat16 on a GPU, and float32 on a CPU if that fits.
        memory: `auto` keeps all modules loaded if they fit.

    Raises:
        UserError: int8 is requested on a GPU.
    """
    int8 = dtype == "int8"
    if int8 and device.type != "cpu":
        raise UserError(f"int8 weights run on the CPU only, not on {device}; use bfloat16 there")
    available = _MAX_WEIGHT_SHARE * free_memory(device)
    if dtype in ("float32", "bfloat16"):
        kind = torch.float32 if dtype == "float32" else torch.bfloat16
    elif device.type == "cuda":
        kind = torch.bfloat16
    else:
        largest = max(weight_bytes(model, torch.float32, int8=int8).values())
        kind = torch.float32 if largest <= available else torch.bfloat16
    keep = memory == "high" or (
        memory == "auto" and sum(weight_bytes(model, kind, int8=int8).values()) <= available
    )
    return MemoryPolicy(dtype=kind, int8=int8, keep_loaded=keep)
