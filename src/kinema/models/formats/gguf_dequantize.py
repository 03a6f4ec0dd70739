"""Block formats of GGUF (ggml) to float32, in torch: the same numbers as the package `gguf`, in less time.

A block has a few numbers in 16 bits that scale its quantised ones. K-formats have blocks of 256 in 8 or 16
parts with scales of their own, which are quantised too. Formats that are not here are dequantised by the
package.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

_BATCH_BYTES = 2**19
"""Bytes that are dequantised at a time: intermediate tensors stay in the CPU's cache."""


def dequantize(data: UInt8[np.ndarray, " n"], kind: str) -> Float[Tensor, " m"]:
    """The numbers of a quantised tensor in float32, as exact as the block format defines them.

    Args:
        data: the bytes of the tensor.
        kind: the name of its block format.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize as dequantize_blocks

    if kind in ("F32", "F16"):
        return torch.from_numpy(data.view(np.float32 if kind == "F32" else np.float16)).float()
    if kind == "BF16":
        return torch.from_numpy(data).view(torch.bfloat16).float()
    quantization = GGMLQuantizationType[kind]
    block_size, block_bytes = GGML_QUANT_SIZES[quantization]
    blocks = data.reshape(-1, block_bytes)
    out = torch.empty(len(blocks), block_size)
    step = max(1, _BATCH_BYTES // block_bytes)
    decode = _FORMATS.get(kind)
    for start in range(0, len(blocks), step):
        part = blocks[start : start + step]
        if decode is None:
            out[start : start + step] = torch.from_numpy(dequantize_blocks(part, quantization))
        else:
            out[start : start + step] = decode(torch.from_numpy(part)).view(len(part), block_size)
    return out.view(-1)


def _half(blocks: Tensor, start: int) -> Float[Tensor, "n 1"]:
    return blocks[:, start : start + 2].contiguous().view(torch.float16).float()


def _shifted(x: Tensor, shifts: tuple[int, ...], mask: int) -> Tensor:
    """Bits of bytes [n, groups, width] as [n, groups, len(shifts), width]."""
    amounts = torch.tensor(shifts, dtype=torch.uint8)[:, None]
    return (x[:, :, None] >> amounts) & mask


def _q8_0(blocks: Tensor) -> Tensor:
    return blocks[:, 2:].view(torch.int8) * _half(blocks, 0)


def _q4_0(blocks: Tensor) -> Tensor:
    nibbles = _shifted(blocks[:, None, 2:], (0, 4), 15).flatten(1)
    return (nibbles.to(torch.int8) - 8) * _half(blocks, 0)


def _k_scales(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """The factor and the offset of each of the 8 parts of Q4_K and Q5_K blocks; 6 bits each in 12 bytes."""
    low, offsets, high = blocks[:, 4:16].unflatten(1, (3, 4)).unbind(1)
    scale = torch.cat([low & 63, (high & 15) | ((low >> 2) & 48)], dim=1)
    offset = torch.cat([offsets & 63, (high >> 4) | ((offsets >> 2) & 48)], dim=1)
    return (_half(blocks, 0) * scale)[:, :, None], (_half(blocks, 2) * offset)[:, :, None]


def _q4_k(blocks: Tensor) -> Tensor:
    scale, offset = _k_scales(blocks)
    quantised = _shifted(blocks[:, 16:].unflatten(1, (4, 32)), (0, 4), 15).flatten(1, 2)
    return torch.mul(scale, quantised).sub_(offset)


def _q5_k(blocks: Tensor) -> Tensor:
    scale, offset = _k_scales(blocks)
    low = _shifted(blocks[:, 48:].unflatten(1, (4, 32)), (0, 4), 15).flatten(1, 2)
    high = _shifted(blocks[:, None, 16:48], tuple(range(8)), 1).flatten(1, 2)
    return torch.mul(scale, low | (high << 4)).sub_(offset)


def _q6_k(blocks: Tensor) -> Tensor:
    low = _shifted(blocks[:, :128].unflatten(1, (2, 64)), (0, 4), 15).reshape(len(blocks), 8, 32)
    high = _shifted(blocks[:, 128:192].unflatten(1, (2, 32)), (0, 2, 4, 6), 3).flatten(1, 2)
    quantised = ((low | (high << 4)).to(torch.int8) - 32).view(len(blocks), 16, 16)
    scale = _half(blocks, 208) * blocks[:, 192:208].view(torch.int8)
    return scale[:, :, None] * quantised


_FORMATS: dict[str, Callable[[Tensor], Tensor]] = {
    "Q8_0": _q8_0,
    "Q4_0": _q4_0,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
