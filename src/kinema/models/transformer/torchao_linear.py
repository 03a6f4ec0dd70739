"""Linear layers in 8 bits on a GPU, through the package torchao.

`int8`: weights with a scale for each output channel, activations rounded to 8 bits for each token. `fp8`:
both in float8 (e4m3) with a scale for each row. Both are lossy and for inference only.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Literal

import torch
from torch import nn

from kinema.errors import UserError, missing_extra
from kinema.models.packed_weight import PackedLinear
from kinema.models.transformer.dit import Dit

EightBits = Literal["int8", "fp8"]
_CAPABILITIES: dict[EightBits, tuple[int, int]] = {"int8": (8, 0), "fp8": (8, 9)}
"""The lowest compute capability of a GPU with products of this kind."""


def check_torchao(kind: EightBits, device: torch.device) -> None:
    """Check that a GPU has such products, and that torchao is installed.

    Raises:
        UserError: it has none, or it is not.
    """
    needed = _CAPABILITIES[kind]
    found = torch.cuda.get_device_capability(device)
    if found < needed:
        instead = "int8 or bfloat16" if kind == "fp8" and found >= _CAPABILITIES["int8"] else "bfloat16"
        raise UserError(
            f"{kind} needs a GPU of compute capability {needed[0]}.{needed[1]} or more, and {device} has "
            f"{found[0]}.{found[1]}; use {instead}"
        )
    if importlib.util.find_spec("torchao") is None:
        raise missing_extra(f"{kind} on a GPU", "torchao")


def quantize_with_torchao(dit: Dit, kind: EightBits, device: torch.device) -> None:
    """Quantise the linear layers of all blocks in place, and move the transformer to a device.

    They have nearly all weights. One block after another, so that the device never has more than one in full.
    """
    torchao: Any = importlib.import_module("torchao.quantization")
    if kind == "int8":
        config = torchao.Int8DynamicActivationInt8WeightConfig()
    else:
        config = torchao.Float8DynamicActivationFloat8WeightConfig(granularity=torchao.PerRow())
    for block in [*dit._blocks(), *dit._control_blocks()]:
        for name, layer in list(block.named_modules()):
            if isinstance(layer, PackedLinear):
                parent, _, last = name.rpartition(".")
                setattr(block.get_submodule(parent), last, layer.unpack(dit.dtype))
        block.to(device)
        torchao.quantize_(block, config)
    dit.to(device)


def unpack_torchao(layer: nn.Linear, dtype: torch.dtype) -> nn.Linear:
    """A plain linear layer with the weights that a quantised one has after rounding."""
    plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    weight: torch.Tensor = layer.weight.dequantize()
    plain.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    plain.bias = layer.bias
    return plain


def is_torchao(layer: nn.Module) -> bool:
    """Whether the weight of a linear layer is one of torchao's tensors."""
    return type(layer) is nn.Linear and type(layer.weight).__module__.startswith("torchao.")
