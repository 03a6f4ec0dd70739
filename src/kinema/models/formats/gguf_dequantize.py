"""Block formats of GGUF (ggml) to float32, in torch: the same numbers as the package `gguf`, in less time.

A block has a few numbers in 16 bits that scale its quantised ones. K-formats have blocks of 256 in 8 or 16
parts with scales of their own, which are quantised too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

BLOCK_SIZES = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q8_0": (32, 34),
    "Q6_K": (256, 210),
    "Q5_K": (256, 176),
    "Q4_K": (256, 144),
    "Q4_0": (32, 18),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q4_1": (32, 20),
    "Q3_K": (256, 110),
}
"""Numbers in a block and its bytes, for each format that is supported."""
_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_BATCH_BYTES = 2**19
"""Bytes that are dequantised at a time on a CPU: intermediate tensors stay in its cache."""
_GPU_BATCH_BYTES = 2**25


def dequantize(
    data: UInt8[Tensor, " n"], kind: str, dtype: torch.dtype = torch.float32
) -> Float[Tensor, " m"]:
    """The numbers of a quantised tensor, as exact as the block format defines them in float32.

    Args:
        data: the bytes of the tensor, on any device.
        kind: the name of its block format, a key of `BLOCK_SIZES`.
        dtype: what they are rounded to.
    """
    if kind in _PLAIN:
        return data.view(_PLAIN[kind]).to(dtype)
    block_size, block_bytes = BLOCK_SIZES[kind]
    blocks = data.view(-1, block_bytes)
    out = torch.empty(len(blocks), block_size, dtype=dtype, device=data.device)
    step = (_BATCH_BYTES if data.device.type == "cpu" else _GPU_BATCH_BYTES) // block_bytes
    decode = _FORMATS[kind]
    for source, target in zip(blocks.split(step), out.split(step), strict=True):
        target.copy_(decode(source).view(target.shape))
    return out.view(-1)


def _half(blocks: Tensor, start: int) -> Float[Tensor, "n 1"]:
    return blocks[:, start : start + 2].contiguous().view(torch.float16).float()


def _shifted(x: Tensor, shifts: tuple[int, ...], mask: int) -> Tensor:
    """Bits of bytes [n, groups, width] as [n, groups, len(shifts), width]."""
    amounts = torch.tensor(shifts, dtype=torch.uint8, device=x.device)[:, None]
    return (x[:, :, None] >> amounts) & mask


def _q8_0(blocks: Tensor) -> Tensor:
    return blocks[:, 2:].view(torch.int8) * _half(blocks, 0)


def _q4_0(blocks: Tensor) -> Tensor:
    nibbles = _shifted(blocks[:, None, 2:], (0, 4), 15).flatten(1)
    return (nibbles.to(torch.int8) - 8) * _half(blocks, 0)


def _q4_1(blocks: Tensor) -> Tensor:
    nibbles = _shifted(blocks[:, None, 4:], (0, 4), 15).flatten(1)
    return (_half(blocks, 0) * nibbles).add_(_half(blocks, 2))


def _five_bits(blocks: Tensor, start: int) -> Tensor:
    """Quantised numbers [n, 32] of Q5_0 and Q5_1: their high bits in 4 bytes, then their nibbles."""
    bits = _shifted(blocks[:, start : start + 4, None], tuple(range(8)), 1).flatten(1)
    nibbles = _shifted(blocks[:, None, start + 4 :], (0, 4), 15).flatten(1)
    return nibbles | (bits << 4)


def _q5_0(blocks: Tensor) -> Tensor:
    return (_five_bits(blocks, 2).to(torch.int8) - 16) * _half(blocks, 0)


def _q5_1(blocks: Tensor) -> Tensor:
    return (_half(blocks, 0) * _five_bits(blocks, 4)).add_(_half(blocks, 2))


def _k_scales(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """The factor and the offset of each of the 8 parts of Q4_K and Q5_K blocks; 6 bits each in 12 bytes."""
    low, offsets, high = blocks[:, 4:16].unflatten(1, (3, 4)).unbind(1)
    scale = torch.cat([low & 63, (high & 15) | ((low >> 2) & 48)], dim=1)
    offset = torch.cat([offsets & 63, (high >> 4) | ((offsets >> 2) & 48)], dim=1)
    return (_half(blocks, 0) * scale)[:, :, None], (_half(blocks, 2) * offset)[:, :, None]


def _q3_k(blocks: Tensor) -> Tensor:
    low_scales = _shifted(blocks[:, None, 96:104], (0, 4), 15).flatten(1)
    high_scales = _shifted(blocks[:, None, 104:108], (0, 2, 4, 6), 3).flatten(1)
    scale = _half(blocks, 108) * ((low_scales | (high_scales << 4)).to(torch.int8) - 32)
    low = _shifted(blocks[:, 32:96].unflatten(1, (2, 32)), (0, 2, 4, 6), 3).flatten(1)
    # The high bit says that 4 is not subtracted.
    high = _shifted(blocks[:, None, :32], tuple(range(8)), 1).flatten(1)
    quantised = (low | (high << 2)).to(torch.int8) - 4
    return scale[:, :, None] * quantised.view(len(blocks), 16, 16)


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
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
