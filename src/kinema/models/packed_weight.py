"""Weights with fewer bits than they are computed in: kept as their file stores them, restored when used.

A file of 4-bit blocks or of 8-bit numbers with scales is mapped into memory and read in place. There is no
second copy, and loading costs nothing; each call of a layer restores its own weight and drops it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


@runtime_checkable
class Restore(Protocol):
    """Computes the numbers that stored values stand for, in float32, and rounds them to `dtype`."""

    def __call__(self, values: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The numbers, in the order of the weight; on the device of `values`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedWeight:
    """A weight as its file stores it.

    Attributes:
        shape: of the weight.
        values: blocks in bytes, or numbers of 8 or 16 bits.
        scale: factors of the values; None where the blocks contain theirs.
        restore: computes the weight.
    """

    shape: tuple[int, ...]
    values: Tensor
    scale: Tensor | None = None
    restore: Restore

    def unpack(self, dtype: torch.dtype) -> Tensor:
        """The weight."""
        return self.restore(self.values, self.scale, dtype).view(self.shape)


class PackedLinear(nn.Linear):
    """A linear layer that restores its weight in every call; the result is that of the restored weight.

    It has no parameter `weight`. For inference: the gradient of its input would keep the restored weight.

    Args:
        packed: of shape [outputs, inputs].
        bias: a parameter, or None.
        device: where the stored values are put.
    """

    def __init__(self, packed: PackedWeight, bias: nn.Parameter | None, device: torch.device) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = packed.shape
        self.register_buffer("values", packed.values.to(device), persistent=False)
        self.register_buffer(
            "scale", None if packed.scale is None else packed.scale.to(device), persistent=False
        )
        self.restore = packed.restore
        self.register_parameter("bias", bias)

    def unpack_weight(self, dtype: torch.dtype) -> Float[Tensor, "o i"]:
        """The weight."""
        values, scale = self._buffers["values"], self._buffers["scale"]
        assert values is not None
        return self.restore(values, scale, dtype).view(self.out_features, self.in_features)

    def forward(self, input: Float[Tensor, "*n c"]) -> Float[Tensor, "*n d"]:  # noqa: A002 - torch's name
        """The output, in the type of `input`."""
        return functional.linear(input, self.unpack_weight(input.dtype), self.bias)

    def unpack(self, dtype: torch.dtype) -> nn.Linear:
        """A plain linear layer with the restored weight."""
        layer = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        layer.weight = nn.Parameter(self.unpack_weight(dtype), requires_grad=False)
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.detach().to(dtype), requires_grad=False)
        return layer
