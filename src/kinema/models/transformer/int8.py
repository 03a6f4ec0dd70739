"""Linear layers with 8-bit weights, for transformers that do not fit into memory otherwise.

Weights are rounded to 8 bits with a scale for each output channel, activations to 8 bits with a scale for
each token (dynamic quantisation). The error of a layer is about 1%. It needs a quarter of float32's memory
and, where oneDNN supports the CPU's int8 instructions, about 0.4 of the time. For inference only.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.packed_weight import PackedLinear
from kinema.models.transformer.dit import Dit

_ZERO_POINT = 128
"""The value 0 of unsigned activations, for which oneDNN has fast products on every CPU."""


_DEQUANTIZED_COLUMNS = 1024
"""Columns of a weight that are restored at once."""


def _max_weight() -> int:
    """The largest quantised weight.

    Without VNNI the product of unsigned activations and signed weights adds pairs in 16 bits, which saturates
    with 8-bit weights: 7 bits are exact there.
    """
    return 127 if torch.cpu._is_vnni_supported() else 63


class Int8Linear(nn.Linear):
    """A linear layer with 8-bit weights in the layout of the matrix product."""

    scale: Tensor
    zero: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.unpack_weight(torch.float32) if isinstance(layer, PackedLinear) else layer.weight
        weight = weight.detach().float()
        # A row of zeros can have any scale.
        scale = weight.abs().amax(dim=1).clamp_(min=1e-12) / _max_weight()
        quantized = (weight / scale[:, None]).round_().to(torch.int8)
        self.use_onednn = torch.backends.mkldnn.is_available() and hasattr(
            torch.ops.onednn, "qlinear_pointwise"
        )
        packed = torch.ops.onednn.qlinear_prepack(quantized, None) if self.use_onednn else quantized.t()
        self.register_buffer("weight", packed, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("zero", torch.zeros(len(scale), dtype=torch.int64), persistent=False)
        bias = None if layer.bias is None else layer.bias.detach().float()
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, input: Float[Tensor, "*n c"]) -> Float[Tensor, "*n d"]:  # noqa: A002 - torch's name
        """The output, in the type of `input`."""
        rows = input.flatten(0, -2).float()
        row_scale = rows.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12).div_(127)
        if self.use_onednn:
            unsigned = (rows / row_scale).round_().add_(_ZERO_POINT).to(torch.uint8)
            y = torch.ops.onednn.qlinear_pointwise(
                unsigned, 1.0, _ZERO_POINT, self.weight, self.scale, self.zero,
                None, 1.0, 0, torch.float32, "none", [], "",
            )  # fmt: skip
        else:
            signed = (rows / row_scale).round_().to(torch.int8)
            y = torch._int_mm(signed, self.weight).float().mul_(self.scale)
        y = y.mul_(row_scale)
        if self.bias is not None:
            y.add_(self.bias)
        return y.view(*input.shape[:-1], -1).to(input.dtype)

    def unpack(self, dtype: torch.dtype) -> nn.Linear:
        """A linear layer with the weights that this one has after rounding."""
        # The packed layout belongs to oneDNN. A unit vector is quantised without an error and gives a column.
        columns = [
            self(rows) - (0 if self.bias is None else self.bias)
            for rows in torch.eye(self.in_features, device=self.scale.device).split(_DEQUANTIZED_COLUMNS)
        ]
        layer = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        layer.weight = nn.Parameter(torch.cat(columns).t().contiguous().to(dtype), requires_grad=False)
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.to(dtype), requires_grad=False)
        return layer


def quantize_(dit: Dit) -> None:
    """Replace the linear layers of all blocks, which have nearly all weights, one after another.

    Embeddings, modulation and the output layer keep their precision: they are small, and every token depends
    on them.
    """
    for block in dit.blocks:
        for name, layer in list(block.named_modules()):
            if isinstance(layer, nn.Linear):
                parent, _, last = name.rpartition(".")
                setattr(block.get_submodule(parent), last, Int8Linear(layer))
