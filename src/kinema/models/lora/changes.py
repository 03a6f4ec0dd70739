"""What a LoRA file's tensors do to one weight: ΔW, computed in float32.

LoRA (arXiv 2106.09685) W + B·A, LoHa (arXiv 2108.06098) with a product of two low-rank matrices, LoKr
(arXiv 2309.14859) with a Kronecker product, DoRA (arXiv 2402.09353) with a magnitude for each output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class WeightChange(Protocol):
    """A change of one weight."""

    @property
    def needs_weight(self) -> bool:
        """Whether ΔW depends on the weight that is changed."""
        ...

    def delta(self, weight: Tensor) -> Tensor:
        """ΔW at strength 1, float32, in the shape and on the device of `weight`.

        Args:
            weight: the weight without any LoRA. Its values are read only where `needs_weight`.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRank:
    """ΔW = up · down, with the scale in `up`.

    Attributes:
        down: [r, in]; the dimensions of a convolution's kernel are flattened into `in`.
        up: [out, r].
    """

    down: Tensor
    up: Tensor

    @property
    def needs_weight(self) -> bool:
        """See `WeightChange`."""
        return False

    def delta(self, weight: Tensor) -> Tensor:
        """See `WeightChange`."""
        return (self.up.to(weight.device) @ self.down.to(weight.device)).view(weight.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Hadamard:
    """ΔW = scale · (w1_a · w1_b) ∘ (w2_a · w2_b)."""

    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor
    scale: float

    @property
    def needs_weight(self) -> bool:
        """See `WeightChange`."""
        return False

    def delta(self, weight: Tensor) -> Tensor:
        """See `WeightChange`."""
        device = weight.device
        first = self.w1_a.to(device) @ self.w1_b.to(device)
        return (first * (self.w2_a.to(device) @ self.w2_b.to(device)) * self.scale).view(weight.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Kronecker:
    """ΔW = scale · kron(w1, w2)."""

    w1: Tensor
    w2: Tensor
    scale: float

    @property
    def needs_weight(self) -> bool:
        """See `WeightChange`."""
        return False

    def delta(self, weight: Tensor) -> Tensor:
        """See `WeightChange`."""
        product = torch.kron(self.w1.to(weight.device), self.w2.to(weight.device))
        return (product * self.scale).view(weight.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Difference:
    """ΔW itself."""

    value: Tensor

    @property
    def needs_weight(self) -> bool:
        """See `WeightChange`."""
        return False

    def delta(self, weight: Tensor) -> Tensor:
        """See `WeightChange`."""
        return self.value.to(weight.device).view(weight.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Replacement:
    """The weight at strength 1."""

    value: Tensor

    @property
    def needs_weight(self) -> bool:
        """See `WeightChange`."""
        return True

    def delta(self, weight: Tensor) -> Tensor:
        """See `WeightChange`."""
        return self.value.to(weight.device).view(weight.shape) - weight.float()


@dataclass(frozen=True, kw_only=True, eq=False)
class Dora:
    """W' = magnitude · (W + ΔW) / ‖W + ΔW‖.

    Attributes:
        change: ΔW.
        magnitude: [out, 1], or [1, in] in files made for some versions of ComfyUI. The norm is over the other
            axis.
    """

    change: WeightChange
    magnitude: Tensor

    @property
    def needs_weight(self) -> bool:
        """See `WeightChange`."""
        return True

    def delta(self, weight: Tensor) -> Tensor:
        """See `WeightChange`."""
        base = weight.float().flatten(1)
        changed = base + self.change.delta(weight).flatten(1)
        axis = 1 if self.magnitude.shape[0] == len(base) else 0
        # A row of zeros stays zero instead of becoming NaN.
        norm = changed.norm(dim=axis, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny)
        return (self.magnitude.to(weight.device) * changed / norm - base).view(weight.shape)
