"""A transformer with LoRAs: a new module tree that shares all unchanged weights with the base.

The base is never written to. It is what it was, bit for bit, whatever was applied, and several sets of LoRAs
can be in use at once.

`merge` decides what happens to the large linear layers of the blocks. Merged, a layer has a weight of its
own, W + ΔW, which costs memory and no time in sampling. Beside, a layer computes W·x + up·(down·x), which
costs time and hardly any memory; and it is the only way for int8 weights and for weights that stay quantised
as their file has them, whose steps are larger than most changes. Everything else is small and always merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinema.models.lora.changes import LowRank, WeightChange
from kinema.models.lora.match import LoraMatch, read_changes
from kinema.models.packed_weight import PackedLinear
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.int8 import Int8Linear
from kinema.models.transformer.ops import linear
from kinema.models.transformer.torchao_linear import is_torchao, unpack_torchao

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedChange:
    """A change and its strength."""

    change: WeightChange
    strength: float


class LoraLinear(nn.Linear):
    """A linear layer with changes beside it.

    Args:
        base: the layer.
        changes: none of which needs the weight.
        dtype: of the activations.
    """

    def __init__(self, base: nn.Linear, changes: Sequence[WeightedChange], dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.base = base
        self.register_parameter("bias", None)  # The base adds its own.
        device = next(tensor.device for tensor in [*base.parameters(), *base.buffers()])
        low_rank = [(one.change, one.strength) for one in changes if isinstance(one.change, LowRank)]
        # All low-rank changes are one pair of matrices.
        down = torch.cat([change.down for change, _ in low_rank]) if low_rank else None
        up = torch.cat([change.up * strength for change, strength in low_rank], dim=1) if low_rank else None
        self.register_buffer("down", None if down is None else down.to(device, dtype), persistent=False)
        self.register_buffer("up", None if up is None else up.to(device, dtype), persistent=False)
        self.others = tuple(one for one in changes if not isinstance(one.change, LowRank))

    def forward(self, input: Float[Tensor, "*n c"]) -> Float[Tensor, "*n d"]:  # noqa: A002 - torch's name
        """The output, in the type of `input`."""
        y = linear(input, self.base)
        if self.down is not None and self.up is not None:
            y = y + functional.linear(functional.linear(input, self.down), self.up)
        for one in self.others:
            # None of these changes reads the weight, only its shape: stored weights have another layout.
            shape = torch.empty(self.out_features, self.in_features, device=input.device)
            delta = one.change.delta(shape).to(input.dtype)
            y = torch.add(y, functional.linear(input, delta), alpha=one.strength)
        return y


def apply_loras(
    dit: Dit,
    loras: Sequence[tuple[LoraMatch, float]],
    *,
    expert: int = 0,
    merge: bool = True,
    in_place: bool = False,
) -> Dit:
    """A transformer with LoRAs; `dit` is not changed, and shares its unchanged weights with the result.

    Args:
        dit: the transformer, with float, int8 or quantised weights, on any device.
        loras: files matched to the model, and their strengths; applied to the same base weights.
        expert: which of the model's transformers this is.
        merge: keep the changed weights of the blocks as a copy; otherwise compute the changes beside them.
            Layers of int8 and quantised layers are never merged.
        in_place: change `dit` itself and return it, which frees each old weight before the next is made.

    Raises:
        UserError: a file has values that are not finite, or has changed since it was opened.
    """
    changes: dict[str, list[WeightedChange]] = {}
    for match, strength in loras:
        if strength == 0:
            continue
        for name, own in read_changes(match, expert).items():
            changes.setdefault(name, []).extend(WeightedChange(change=one, strength=strength) for one in own)
    result = dit if in_place else _copy_tree(dit)
    with torch.no_grad():
        # Weights last: a layer whose weight is changed beside it must have its bias by then.
        for name, own in sorted(changes.items(), key=lambda item: item[0].endswith(".weight")):
            owner, _, attribute = name.rpartition(".")
            _apply_to(result, owner, attribute, own, merge=merge, dtype=dit.dtype)
    return result


def _apply_to(
    dit: Dit,
    owner: str,
    attribute: str,
    changes: Sequence[WeightedChange],
    *,
    merge: bool,
    dtype: torch.dtype,
) -> None:
    module = dit.get_submodule(owner)
    is_quantized = isinstance(module, (Int8Linear, PackedLinear)) or is_torchao(module)
    if attribute == "weight" and isinstance(module, nn.Linear) and ("blocks." in owner or is_quantized):
        needs_weight = any(one.change.needs_weight for one in changes)
        if (is_quantized or not merge) and not needs_weight:
            _replace(dit, owner, LoraLinear(module, changes, dtype))
            return
        if is_quantized:
            # The change depends on the weight: the layer gets its float weight back.
            is_own = isinstance(module, (Int8Linear, PackedLinear))
            module = module.unpack(dtype) if is_own else unpack_torchao(module, dtype)
            _replace(dit, owner, module)
    value = getattr(module, attribute)
    changed = merge_changes(value, changes)
    if attribute in module._parameters:
        setattr(module, attribute, nn.Parameter(changed, requires_grad=False))
    else:
        setattr(module, attribute, changed)


def merge_changes(weight: Tensor, changes: Sequence[WeightedChange]) -> Tensor:
    """The weight with all changes, in its own type; computed in float32."""
    total = weight.detach().to(torch.float32, copy=True)
    for one in changes:
        if isinstance(one.change, LowRank):
            up, down = one.change.up.to(weight.device), one.change.down.to(weight.device)
            total.view(len(weight), -1).addmm_(up, down, alpha=one.strength)
        else:
            total.add_(one.change.delta(weight.detach()), alpha=one.strength)
    return total.to(weight.dtype)


def _replace(dit: Dit, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(dit.get_submodule(parent), last, module)


def _copy_tree(module: M) -> M:
    """The same modules as new objects, with the same parameters and buffers."""
    copy = module.__new__(type(module))
    copy.__dict__.update(module.__dict__)
    copy.__dict__["_compiled_call_impl"] = None  # It would call the module itself.
    copy.__dict__["_parameters"] = dict(module._parameters)
    copy.__dict__["_buffers"] = dict(module._buffers)
    copy.__dict__["_modules"] = {
        name: None if child is None else _copy_tree(child) for name, child in module._modules.items()
    }
    return copy
