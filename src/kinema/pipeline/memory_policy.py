"""In which type a model runs here, and whether all its parts stay in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from kinema.errors import UserError
from kinema.models.formats.loader import ModelCheckpoint
from kinema.pipeline.device import free_memory

Dtype = Literal["auto", "float32", "bfloat16", "int8"]
MemoryMode = Literal["auto", "high", "low"]

MODEL_PARTS = ("text_encoder", "image_encoder", "transformer", "transformer_2", "vae")
_MAX_WEIGHT_SHARE = 0.7
"""Of the free memory that weights may take; the rest is for what is computed with them."""


@dataclass(frozen=True, kw_only=True)
class MemoryPolicy:
    """How the parts are held: their type, the transformers' 8 bits, and whether they stay."""

    dtype: torch.dtype
    int8: bool
    keep_loaded: bool


def parse_dtype(name: str) -> Dtype:
    """A type by its name.

    Raises:
        UserError: there is none of that name.
    """
    for known in get_args(Dtype):
        if name == known:
            return known
    raise UserError(f"{name!r} is no type to run in; {', '.join(get_args(Dtype))} are")


def parse_memory_mode(name: str) -> MemoryMode:
    """A way with memory by its name.

    Raises:
        UserError: there is none of that name.
    """
    for known in get_args(MemoryMode):
        if name == known:
            return known
    raise UserError(f"memory can't be {name!r}; {', '.join(get_args(MemoryMode))} are possible")


def weight_bytes(model: ModelCheckpoint, dtype: torch.dtype, *, int8: bool) -> dict[str, int]:
    """Bytes of each part's weights in memory, by its folder's name."""
    sizes = {}
    for part in MODEL_PARTS:
        numbers = sum(tensor.numel for tensor in model.list_tensors(part).values())
        if numbers:
            each = 4 if part == "vae" else 1 if int8 and part.startswith("transformer") else dtype.itemsize
            sizes[part] = numbers * each
    return sizes


def select_memory_policy(
    model: ModelCheckpoint, device: torch.device, *, dtype: Dtype, memory: MemoryMode
) -> MemoryPolicy:
    """Decide what was left to us.

    Raises:
        UserError: int8 was asked for on a GPU.
    """
    int8 = dtype == "int8"
    if int8 and device.type != "cpu":
        raise UserError(f"int8 weights run on the CPU only, not on {device}; use bfloat16 there")
    room = _MAX_WEIGHT_SHARE * free_memory(device)
    if dtype in ("float32", "bfloat16"):
        kind = torch.float32 if dtype == "float32" else torch.bfloat16
    elif device.type == "cuda":
        kind = torch.bfloat16
    else:
        largest = max(weight_bytes(model, torch.float32, int8=int8).values())
        kind = torch.float32 if largest <= room else torch.bfloat16
    keep = memory == "high" or (
        memory == "auto" and sum(weight_bytes(model, kind, int8=int8).values()) <= room
    )
    return MemoryPolicy(dtype=kind, int8=int8, keep_loaded=keep)
