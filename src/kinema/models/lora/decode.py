"""The tensors that a file has for one module, as changes of its weight and bias."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from kinema.models.lora.changes import (
    Difference,
    Dora,
    Hadamard,
    Kronecker,
    LowRank,
    Replacement,
    WeightChange,
)
from kinema.models.lora.names import Role

Shape = tuple[int, ...]


def find_misfit(tensors: Mapping[Role, Shape], weight: Shape, bias: Shape | None) -> str:
    """Why the change does not fit the module, or an empty string if it does.

    Args:
        tensors: shapes of the module's tensors in the file.
        weight: shape of the module's weight.
        bias: of its bias, or None.

    Raises:
        ValueError: tensors are missing or do not multiply; the message says which.
    """
    rows, columns = weight[0], math.prod(weight[1:])
    product = _product_shape(tensors)
    if product is not None and product != (rows, columns):
        return f"its change is {product[0]}x{product[1]} and the weight is {rows}x{columns}"
    for role in ("diff", "set_weight"):
        if role in tensors and _drop_units(tensors[role]) != _drop_units(weight):
            return f"its change is {_format(tensors[role])} and the weight is {_format(weight)}"
    for role in ("diff_b", "up_bias"):
        if role in tensors and (bias is None or _drop_units(tensors[role]) != _drop_units(bias)):
            what = "the module has no bias" if bias is None else f"the bias is {_format(bias)}"
            return f"its change of the bias is {_format(tensors[role])} and {what}"
    if "dora_scale" in tensors and _magnitude_shape(tensors["dora_scale"], rows, columns) is None:
        return f"its magnitudes are {_format(tensors['dora_scale'])} and the weight is {rows}x{columns}"
    return ""


def build_changes(
    tensors: Mapping[Role, Tensor], peft_scale: Callable[[int], float] | None
) -> tuple[tuple[WeightChange, ...], tuple[WeightChange, ...]]:
    """The changes of the weight and of the bias.

    Args:
        tensors: what `find_misfit` found to fit, float32.
        peft_scale: the factor of B·A by the rank, for files whose tensors have no alpha; None: 1.
    """
    weight, bias = [], []
    scale, change = 1.0, None
    if "down" in tensors:
        down, up = tensors["down"], tensors["up"].flatten(1)
        rank = len(down)
        if "mid" in tensors:
            # [r, r, kernel]: the rank of `down` is the second one.
            down = torch.einsum("ab...,bi->ai...", tensors["mid"], down.flatten(1))
        scale = _scale(tensors, rank, peft_scale)
        change = LowRank(down=down.flatten(1), up=up * scale)
    elif "hada_w1_a" in tensors:
        change = Hadamard(
            w1_a=tensors["hada_w1_a"],
            w1_b=tensors["hada_w1_b"],
            w2_a=tensors["hada_w2_a"],
            w2_b=tensors["hada_w2_b"],
            scale=_scale(tensors, len(tensors["hada_w1_b"]), peft_scale),
        )
    elif "lokr_w1" in tensors or "lokr_w1_a" in tensors:
        change = _kronecker(tensors, peft_scale)
    if change is not None:
        if "dora_scale" in tensors:
            magnitude = tensors["dora_scale"]
            # PEFT writes [out].
            change = Dora(
                change=change, magnitude=magnitude[:, None] if magnitude.ndim == 1 else magnitude.flatten(1)
            )
        weight.append(change)
    if "diff" in tensors:
        weight.append(Difference(value=tensors["diff"]))
    if "set_weight" in tensors:
        weight.append(Replacement(value=tensors["set_weight"]))
    if "diff_b" in tensors:
        bias.append(Difference(value=tensors["diff_b"]))
    if "up_bias" in tensors:
        bias.append(Difference(value=tensors["up_bias"] * scale))
    return tuple(weight), tuple(bias)


def _kronecker(tensors: Mapping[Role, Tensor], peft_scale: Callable[[int], float] | None) -> Kronecker:
    rank = 0
    factors = []
    for full, left, right in (("lokr_w1", "lokr_w1_a", "lokr_w1_b"), ("lokr_w2", "lokr_w2_a", "lokr_w2_b")):
        if full in tensors:
            factors.append(tensors[full].flatten(1))
        else:
            rank = len(tensors[right])
            factors.append(tensors[left] @ tensors[right].flatten(1))
    # With two full factors there is no rank, and LyCORIS ignores alpha.
    scale = _scale(tensors, rank, peft_scale) if rank else 1.0
    return Kronecker(w1=factors[0], w2=factors[1], scale=scale)


def _scale(tensors: Mapping[Role, Tensor], rank: int, peft_scale: Callable[[int], float] | None) -> float:
    if "alpha" in tensors:
        return tensors["alpha"].item() / rank
    return 1.0 if peft_scale is None else peft_scale(rank)


def _product_shape(tensors: Mapping[Role, Shape]) -> tuple[int, int] | None:
    """Rows and columns of the product of the factors; None where there are none."""

    def flat(role: Role) -> tuple[int, int]:
        shape = tensors.get(role)
        if shape is None:
            raise ValueError(f"it lacks {role}")
        if not shape:
            raise ValueError(f"{role} is a scalar")
        return shape[0], math.prod(shape[1:])

    def product(left: Role, right: Role) -> tuple[int, int]:
        (rows, inner), (other, columns) = flat(left), flat(right)
        if inner != other or not inner:
            raise ValueError(f"{left} {rows}x{inner} and {right} {other}x{columns} do not multiply")
        return rows, columns

    if "alpha" in tensors and math.prod(tensors["alpha"]) != 1:
        raise ValueError("alpha is not a single number")
    kinds = [
        any(role in tensors for role in group)
        for group in (("down", "up", "mid"), ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), _LOKR)
    ]
    if sum(kinds) > 1:
        raise ValueError("it has LoRA, LoHa and LoKr for one module")
    if not any(kinds):
        if not any(role in tensors for role in ("diff", "diff_b", "set_weight")):
            raise ValueError(f"it has nothing but {', '.join(tensors)}")
        return None
    if "mid" in tensors:
        return _tucker_shape(tensors, flat)
    if kinds[0]:
        return product("up", "down")
    if kinds[1]:
        first, second = product("hada_w1_a", "hada_w1_b"), product("hada_w2_a", "hada_w2_b")
        if first != second:
            raise ValueError("its two products differ in shape")
        return first
    first = flat("lokr_w1") if "lokr_w1" in tensors else product("lokr_w1_a", "lokr_w1_b")
    second = flat("lokr_w2") if "lokr_w2" in tensors else product("lokr_w2_a", "lokr_w2_b")
    return first[0] * second[0], first[1] * second[1]


_LOKR: tuple[Role, ...] = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")


def _tucker_shape(tensors: Mapping[Role, Shape], flat: Callable[[Role], tuple[int, int]]) -> tuple[int, int]:
    """Rows and columns of a convolution's three factors: [r, in], [r, r, kernel] and [out, r]."""
    (rank, inputs), (outputs, up_rank), mid = flat("down"), flat("up"), tensors["mid"]
    if mid[:2] != (up_rank, rank):
        raise ValueError("mid does not multiply with down and up")
    return outputs, inputs * math.prod(mid[2:])


def _magnitude_shape(shape: Shape, rows: int, columns: int) -> tuple[int, int] | None:
    """[out, 1] or [1, in] of a magnitude, or None if it is neither."""
    if len(shape) == 1:
        return (rows, 1) if shape[0] == rows else None
    flat = (shape[0], math.prod(shape[1:])) if shape else (0, 0)
    return flat if flat in ((rows, 1), (1, columns)) else None


def _drop_units(shape: Shape) -> Shape:
    return tuple(side for side in shape if side != 1)


def _format(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a scalar"
