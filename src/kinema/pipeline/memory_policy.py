"""The type in which a model runs, and whether all its modules stay in memory."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from kinema.errors import UserError
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.formats.safetensors_io import TensorInfo
from kinema.models.formats.wan import WanCheckpoint
from kinema.pipeline.device import free_memory

Dtype = Literal["auto", "float32", "bfloat16", "int8", "fp8"]
MemoryMode = Literal["auto", "high", "low", "blocks", "sharded"]

MODEL_COMPONENTS = ("text_encoder", "image_encoder", "transformer", "transformer_2", "vae")
_BLOCK = re.compile(r"(?:^|\.)((?:vace_)?blocks\.\d+)\.")
_UNITS = {"GB": 10**9, "GIB": 2**30, "MB": 10**6, "MIB": 2**20}
_MAX_WEIGHT_SHARE = 0.7
"""Share of the free memory that weights may use; the rest is for activations."""


@dataclass(frozen=True, kw_only=True)
class MemoryPolicy:
    """How modules are loaded.

    Attributes:
        dtype: of the weights.
        int8: whether the transformers' large weights are int8.
        fp8: whether they are float8.
        keep_loaded: whether modules stay in memory after use.
        offload_blocks: whether the transformers' blocks stay in the CPU's memory and are copied to the
            device one ahead.
        shards: processes among which the transformers' weights are divided; 1: each has all.
        text_on_cpu: whether the text encoder runs on the CPU.
        budget: bytes of the device that may be used; None: what is free.
    """

    dtype: torch.dtype
    int8: bool
    keep_loaded: bool
    offload_blocks: bool = False
    shards: int = 1
    fp8: bool = False
    text_on_cpu: bool = False
    budget: int | None = None

    @property
    def has_eight_bits(self) -> bool:
        """Whether the transformers' large weights have 8 bits, rounded when they are loaded."""
        return self.int8 or self.fp8


def parse_dtype(name: str) -> Dtype:
    """Check the name of a type.

    Raises:
        UserError: there is no such type.
    """
    for known in get_args(Dtype):
        if name == known:
            return known
    raise UserError(f"{name!r} is not a dtype; give one of {', '.join(get_args(Dtype))}")


def parse_memory_mode(name: str) -> MemoryMode | int:
    """Check the name of a memory mode, or parse a size such as `8GB` to bytes.

    Raises:
        UserError: there is no such mode.
    """
    size = re.fullmatch(r"(\d{1,5}(?:\.\d{1,3})?) ?([A-Za-z]{2,3})", name)
    if size is not None and size[2].upper() in _UNITS and float(size[1]) > 0:
        return int(float(size[1]) * _UNITS[size[2].upper()])
    for known in get_args(MemoryMode):
        if name == known:
            return known
    raise UserError(
        f"memory can't be {name!r}; give one of {', '.join(get_args(MemoryMode))}, or a size such as 8GB"
    )


def weight_bytes(model: ModelCheckpoint, dtype: torch.dtype, *, int8: bool) -> dict[str, int]:
    """Bytes of each module's weights in memory, by the name of its folder."""
    sizes = {}
    for part in MODEL_COMPONENTS:
        tensors = model.list_tensors(part).values()
        if part.startswith("transformer"):
            size = sum(_transformer_bytes(tensor, dtype, int8=int8) for tensor in tensors)
        else:
            size = sum(tensor.numel for tensor in tensors) * (4 if part == "vae" else dtype.itemsize)
        if size:
            sizes[part] = size
    return sizes


def _transformer_bytes(tensor: TensorInfo, dtype: torch.dtype, *, int8: bool) -> int:
    """Bytes of a transformer's tensor; linear layers keep a quantised weight as its file has it."""
    if int8:
        return tensor.numel
    is_packed = tensor.packed is not None and len(tensor.shape) == 2
    return tensor.packed_bytes if is_packed else tensor.numel * dtype.itemsize


def is_text_encoder_mapped(model: ModelCheckpoint, policy: MemoryPolicy, device: torch.device) -> bool:
    """Whether the text encoder's weights are mapped from their file as they are stored.

    It does not stay in memory then: loading it again takes a moment, and its pages would be the largest part
    of the process while the video is sampled.
    """
    if not isinstance(model, WanCheckpoint) or (device.type != "cpu" and not policy.text_on_cpu):
        return False
    tensors = model.list_tensors("text_encoder").values()
    return all(tensor.decode is None and tensor.dtype == policy.dtype for tensor in tensors)


def policy_weight_bytes(model: ModelCheckpoint, policy: MemoryPolicy) -> dict[str, int]:
    """Bytes of each module's weights on the device while it runs, by the name of its folder.

    Of blocks that are copied or gathered one ahead, the two largest count.
    """
    sizes = weight_bytes(model, policy.dtype, int8=policy.has_eight_bits)
    if policy.text_on_cpu:
        sizes.pop("text_encoder", None)
    if policy.offload_blocks:
        for part in ("transformer", "transformer_2"):
            if part in sizes:
                outside, blocks = _block_bytes(model, part, policy)
                sizes[part] = outside + sum(sorted(blocks)[-2:])
    if policy.shards > 1:
        for part in ("transformer", "transformer_2"):
            if part in sizes:
                outside, blocks = _block_bytes(model, part, policy)
                sizes[part] = outside + sum(sorted(blocks)[-2:]) + sum(blocks) // policy.shards
    return sizes


def offloaded_bytes(model: ModelCheckpoint, policy: MemoryPolicy) -> int:
    """Bytes that are copied to the device in every pass of a transformer; 0 without offload."""
    return sum(_block_bytes(model, "transformer", policy)[1]) if policy.offload_blocks else 0


def _block_bytes(model: ModelCheckpoint, part: str, policy: MemoryPolicy) -> tuple[int, list[int]]:
    """Bytes outside of the blocks, and of each block."""
    outside, blocks = 0, Counter[str]()
    for tensor in model.list_tensors(part).values():
        block = _BLOCK.search(tensor.name)
        size = _transformer_bytes(tensor, policy.dtype, int8=policy.has_eight_bits)
        if block is None:
            outside += size
        else:
            blocks[block[1]] += size
    return outside, list(blocks.values())


def select_memory_policy(
    model: ModelCheckpoint,
    device: torch.device,
    *,
    dtype: Dtype,
    memory: MemoryMode | int,
    num_processes: int = 1,
) -> MemoryPolicy:
    """Choose type and memory mode by the free memory of the device, or for a device of `memory` bytes.

    Args:
        model: its weights are counted.
        device: where it runs.
        dtype: `auto` is bfloat16 on a GPU, and float32 on a CPU if that fits.
        memory: `auto` keeps all modules loaded if they fit. With a number of bytes the first that fits of:
            all modules, one at a time, blocks one ahead with the text encoder on the CPU.
        num_processes: processes that share each video.

    Raises:
        UserError: the device has no products in 8 bits, nothing fits into that many bytes, or weights can't
            be divided.
    """
    int8 = dtype in ("int8", "fp8")
    if dtype == "fp8" and device.type != "cuda":
        raise UserError(f"fp8 runs on an NVIDIA GPU, not on {device}; use int8 there")
    if device.type == "cuda" and (dtype == "int8" or dtype == "fp8"):
        from kinema.models.transformer.torchao_linear import check_torchao

        check_torchao(dtype, device)
    if int8 and memory == "blocks" and device.type == "cuda":
        raise UserError(
            f"{dtype} on a GPU keeps all blocks there; leave out memory 'blocks', or use bfloat16"
        )
    available = _MAX_WEIGHT_SHARE * free_memory(device)
    if dtype in ("float32", "bfloat16"):
        kind = torch.float32 if dtype == "float32" else torch.bfloat16
    elif device.type == "cuda":
        kind = torch.bfloat16
    else:
        largest = max(weight_bytes(model, torch.float32, int8=int8).values())
        kind = torch.float32 if largest <= available else torch.bfloat16
    if isinstance(memory, int):
        policy = _fit_budget(model, kind, int8=int8, budget=memory)
        if policy.offload_blocks and int8 and device.type == "cuda":
            raise UserError(f"{model.name} in {dtype} does not fit into {memory / 1e9:.3g} GB; use bfloat16")
        return dataclasses.replace(policy, int8=dtype == "int8", fp8=dtype == "fp8")
    if memory == "sharded":
        _check_shardable(model, int8=int8, num_processes=num_processes)
    keep = memory in ("high", "sharded") or (
        memory == "auto" and sum(weight_bytes(model, kind, int8=int8).values()) <= available
    )
    return MemoryPolicy(
        dtype=kind,
        int8=dtype == "int8",
        fp8=dtype == "fp8",
        keep_loaded=keep,
        offload_blocks=memory == "blocks",
        shards=num_processes if memory == "sharded" else 1,
    )


def _check_shardable(model: ModelCheckpoint, *, int8: bool, num_processes: int) -> None:
    if num_processes == 1:
        raise UserError(
            "memory 'sharded' divides the weights among several processes; start kinema with torchrun, or "
            "give blocks"
        )
    is_packed = any(tensor.packed is not None for tensor in model.list_tensors("transformer").values())
    if int8 or is_packed:
        raise UserError(
            f"the quantised weights of {model.name} can't be divided among processes; give weights in bf16, "
            "or another memory mode"
        )


def _fit_budget(model: ModelCheckpoint, dtype: torch.dtype, *, int8: bool, budget: int) -> MemoryPolicy:
    low = MemoryPolicy(dtype=dtype, int8=int8, keep_loaded=False, budget=budget)
    high = dataclasses.replace(low, keep_loaded=True)
    blocks = dataclasses.replace(low, offload_blocks=True)
    for policy in (high, low, blocks, dataclasses.replace(blocks, text_on_cpu=True)):
        sizes = policy_weight_bytes(model, policy).values()
        if (sum(sizes) if policy.keep_loaded else max(sizes)) <= _MAX_WEIGHT_SHARE * budget:
            return policy
    least = max(policy_weight_bytes(model, dataclasses.replace(blocks, text_on_cpu=True)).values())
    raise UserError(
        f"{model.name} does not fit into {budget / 1e9:.3g} GB; it needs "
        f"{least / _MAX_WEIGHT_SHARE / 1e9:.2g} GB with blocks that are copied one ahead"
    )
