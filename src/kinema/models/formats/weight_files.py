"""The tensors of a component, whatever its weights are stored in.

A folder of safetensors files, one safetensors file (with 8-bit weights and scales or without), a GGUF file,
or a file of `torch.save` that holds tensors only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from kinema.errors import UserError
from kinema.models.formats.gguf_file import list_gguf_tensors
from kinema.models.formats.safetensors_io import TensorInfo, list_file_tensors, list_tensors
from kinema.models.formats.scaled_weights import combine_scales
from kinema.models.formats.torch_pickle import list_pickled_tensors

WEIGHT_SUFFIXES = (".safetensors", ".gguf", ".pt", ".pth")
"""Suffixes of single files that are read."""
_TYPE_NAMES = {
    torch.float32: "float32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "fp8",
    torch.float8_e5m2: "fp8",
    torch.int8: "int8",
}


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """The tensors of a component.

    Attributes:
        tensors: by their names in the files.
        description: what they are stored in, for people: `GGUF, Q4_K`.
    """

    tensors: dict[str, TensorInfo]
    description: str


def read_weights(path: Path, *, component: str) -> StoredWeights:
    """The tensors of a component, from the headers of its files.

    Args:
        path: a folder with safetensors files, or a single file.
        component: what the component is called in error messages.

    Raises:
        UserError: the files are missing, damaged, or in a format that is not supported.
    """
    if path.suffix == ".gguf" and path.is_file():
        tensors, kind = list_gguf_tensors(path)
        return StoredWeights(tensors=tensors, description=f"GGUF, {kind}")
    if path.suffix in (".pt", ".pth") and path.is_file():
        tensors = list_pickled_tensors(path)
        return StoredWeights(tensors=tensors, description=f"torch.save, {_main_type(tensors)}")
    if path.is_file() and path.suffix != ".safetensors":
        raise UserError(
            f"{path} is no weights file of a kind that is read; give one that ends in "
            f"{', '.join(WEIGHT_SUFFIXES)}, or a folder"
        )
    stored = list_file_tensors(path) if path.is_file() else list_tensors(path, component=component)
    combined = combine_scales(stored)
    is_scaled = any(tensor.decode is not None for tensor in combined.values())
    kind = _main_type(stored) + (" with scales" if is_scaled else "")
    return StoredWeights(tensors=combined, description=f"safetensors, {kind}")


def _main_type(tensors: dict[str, TensorInfo]) -> str:
    counts: dict[torch.dtype, int] = {}
    for tensor in tensors.values():
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.numel
    main = max(counts, key=lambda dtype: counts[dtype], default=torch.float32)
    return _TYPE_NAMES.get(main, str(main).removeprefix("torch."))
