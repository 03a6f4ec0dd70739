"""Tensors in GGUF files (ggml), dequantised to float32 when they are read.

The package `gguf` parses the header and knows every block format. A tensor's shape in the file runs from the
fastest axis to the slowest, the reverse of PyTorch's. Some writers store tensors of more than four axes in
another shape and note the right one as `comfy.gguf.orig_shape.<name>`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinema.errors import UserError, missing_extra
from kinema.models.formats.gguf_dequantize import dequantize
from kinema.models.formats.safetensors_io import TensorInfo

SUPPORTED_TYPES = (
    "F32",
    "F16",
    "BF16",
    "Q8_0",
    "Q6_K",
    "Q5_K",
    "Q4_K",
    "Q4_0",
    "Q5_0",
    "Q5_1",
    "Q4_1",
    "Q3_K",
)
"""Block formats of published Wan files."""
_SHAPE_KEY = "comfy.gguf.orig_shape."


def list_gguf_tensors(file: Path) -> tuple[dict[str, TensorInfo], str]:
    """Every tensor of a GGUF file, and the name of the block format that most numbers have.

    Raises:
        UserError: the package `gguf` is missing, the file is damaged, or a block format is not supported.
    """
    try:
        from gguf import GGMLQuantizationType, GGUFReader
    except ImportError:
        raise missing_extra(f"reading the GGUF file {file.name}", "gguf") from None
    try:
        reader = GGUFReader(file)
        size = file.stat().st_size
        shapes = {
            key.removeprefix(_SHAPE_KEY): tuple(int(field.parts[index][0]) for index in field.data)
            for key, field in reader.fields.items()
            if key.startswith(_SHAPE_KEY)
        }
        found: dict[str, TensorInfo] = {}
        counts: dict[str, int] = {}
        for tensor in reader.tensors:
            kind = GGMLQuantizationType(tensor.tensor_type).name
            if kind not in SUPPORTED_TYPES:
                raise UserError(
                    f"{file.name}: tensor {tensor.name!r} has the GGUF type {kind}, which is not supported; "
                    f"download the model as one of {', '.join(SUPPORTED_TYPES[:7])}"
                )
            numel, offset, num_bytes = int(tensor.n_elements), int(tensor.data_offset), int(tensor.n_bytes)
            shape = shapes.get(tensor.name, tuple(int(side) for side in reversed(tensor.shape.tolist())))
            if torch.Size(shape).numel() != numel or offset + num_bytes > size or numel < 1:
                raise ValueError(f"tensor {tensor.name!r} does not fit its shape or the file")
            found[tensor.name] = TensorInfo(
                file=file,
                name=tensor.name,
                shape=shape,
                dtype=torch.float32,
                decode=_decoder(file, offset, num_bytes, kind, shape),
            )
            counts[kind] = counts.get(kind, 0) + numel
    except (OSError, ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise UserError(f"{file} is not a complete GGUF file ({error}); download it again") from None
    if not found:
        raise UserError(f"{file} has no tensors; download it again")
    return found, max(counts, key=lambda kind: counts[kind])


def _decoder(
    file: Path, offset: int, num_bytes: int, kind: str, shape: tuple[int, ...]
) -> Callable[[], Tensor]:
    def decode() -> Tensor:
        # Read and not mapped: pages of a mapping would count as used memory until it is closed.
        data = np.fromfile(file, dtype=np.uint8, count=num_bytes, offset=offset)
        return dequantize(data, kind).view(shape)

    return decode
