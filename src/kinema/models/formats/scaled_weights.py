"""Weights stored in 8 bits with a scale, as ComfyUI and LightX2V write them.

A weight `X.weight` in float8 or int8 stands for weight · scale. The scale is one number or one for each row,
and its name is `X.scale_weight` (ComfyUI's `fp8_scaled`) or `X.weight_scale` (LightX2V, newer ComfyUI with
`X.comfy_quant`, the format as JSON). Scales of activations (`scale_input`, `input_scale`) belong to 8-bit
products and are not read: the weights are multiplied out in float32, when they are loaded or when a layer
uses them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.models.formats.safetensors_io import TensorInfo, read_tensor
from kinema.models.packed_weight import PackedWeight

_SCALES = (".scale_weight", ".weight_scale")
_IGNORED = (".scale_input", ".input_scale", ".comfy_quant")
_MARKER = "scaled_fp8"
_EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e5m2, torch.int8)
_COMFY_FORMATS = ("float8_e4m3fn", "float8_e5m2", "int8_tensorwise", "int8_rowwise")


def combine_scales(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The tensors with weights and scales combined, and without what only 8-bit products need.

    Raises:
        UserError: a weight is in a format that is not supported (4 bits), or a scale does not fit.
    """
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.endswith((*_SCALES, *_IGNORED)) and name.rpartition(".")[2] != _MARKER
    }
    for name, tensor in tensors.items():
        if name.endswith(".comfy_quant"):
            _check_comfy_format(tensor)
        if name.endswith((".weight_global_scale", ".weight_scale_2")):
            raise UserError(
                f"{tensor.file.name} has 4-bit weights (nvfp4), which are not supported; download the model "
                "in fp8_scaled, int8, bf16 or GGUF"
            )
        suffix = next((suffix for suffix in _SCALES if name.endswith(suffix)), None)
        if suffix is None:
            continue
        weight_name = name.removesuffix(suffix) + ".weight"
        weight = tensors.get(weight_name)
        if weight is None:
            raise UserError(f"{tensor.file.name} has a scale {name!r} without its weight; download it again")
        if weight.dtype not in _EIGHT_BITS:
            if weight.dtype.is_floating_point:
                continue  # Some writers add scales of 1 to weights that they left alone.
            raise UserError(
                f"{tensor.file.name}: {weight_name!r} is of type {str(weight.dtype).removeprefix('torch.')}, "
                "which is not supported; download the model in fp8_scaled, int8, bf16 or GGUF"
            )
        rows = weight.shape[0] if weight.shape else 1
        if tensor.numel not in (1, rows):
            raise UserError(
                f"{tensor.file.name}: {name!r} has {tensor.numel} scales for {rows} rows; give one, or one "
                "for each row"
            )
        pack = functools.partial(_pack, weight, tensor)
        kept[weight_name] = dataclasses.replace(
            weight,
            dtype=torch.float32,
            decode=functools.partial(_unpack, pack),
            packed=pack,
            packed_bytes=weight.numel,
        )
    return kept


def _pack(weight: TensorInfo, scale: TensorInfo) -> PackedWeight:
    """The mapped weight, and its scales as one number for all rows or one for each."""
    return PackedWeight(
        shape=weight.shape,
        values=read_tensor(weight),
        scale=read_tensor(scale).float().flatten(),
        restore=_restore,
    )


def _unpack(pack: Callable[[], PackedWeight]) -> Tensor:
    return pack().unpack(torch.float32)


def _restore(values: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    assert scale is not None
    return values.float().mul_(scale.view(-1, *[1] * (values.dim() - 1))).to(dtype)


def _check_comfy_format(tensor: TensorInfo) -> None:
    try:
        values = json.loads(bytes(read_tensor(tensor).flatten().tolist()))
        name = values["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{tensor.file.name}: {tensor.name!r} is not JSON with a format ({error}); download it again"
        ) from None
    if name not in _COMFY_FORMATS:
        raise UserError(
            f"{tensor.file.name} has weights in the format {name!r}, which is not supported; download the "
            "model in fp8_scaled, int8, bf16 or GGUF"
        )
