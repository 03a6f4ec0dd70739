"""Tensors in GGUF files (ggml): dequantised to float32 when they are read, or mapped as they are stored.

The package `gguf` parses the header and knows every block format. A tensor's shape in the file runs from the
fastest axis to the slowest, the reverse of PyTorch's. Some writers store tensors of more than four axes in
another shape and note the right one as `comfy.gguf.orig_shape.<name>`.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.errors import UserError, missing_extra
from kinema.models.formats.gguf_dequantize import BLOCK_SIZES, dequantize
from kinema.models.formats.safetensors_io import TensorInfo
from kinema.models.packed_weight import PackedWeight

SUPPORTED_TYPES = tuple(BLOCK_SIZES)
"""Block formats of published Wan files."""
_SHAPE_KEY = "comfy.gguf.orig_shape."


def list_gguf_tensors(file: Path) -> tuple[dict[str, TensorInfo], str]:
    """Every tensor of a GGUF file, and the name of the block format that most numbers have.

    Raises:
        UserError: the package `gguf` is missing, the file is damaged, or a block format is not supported.
    """
    status = file.stat()
    tensors, kind = _list_tensors(file, status.st_mtime_ns, status.st_size)
    return dict(tensors), kind


@functools.lru_cache(maxsize=4)
def _list_tensors(file: Path, mtime_ns: int, size: int) -> tuple[dict[str, TensorInfo], str]:
    """A file is read twice, when it is opened and when its weights are; parsing takes 0.2 s."""
    del mtime_ns
    try:
        from gguf import GGMLQuantizationType, GGUFReader
    except ImportError:
        raise missing_extra(f"reading the GGUF file {file.name}", "gguf") from None

    class Reader(GGUFReader):
        """Reads the header through a plain array: slices of `numpy.memmap` take twice the time."""

        def _get(self, *args: Any, **kwargs: Any) -> Any:
            self.data = np.asarray(self.data)  # pyrefly: ignore[bad-assignment]  # less than a memmap
            return super()._get(*args, **kwargs)

    try:
        reader = Reader(file)
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
            place = _Place(file=file, offset=offset, num_bytes=num_bytes, kind=kind, shape=shape)
            found[tensor.name] = TensorInfo(
                file=file,
                name=tensor.name,
                shape=shape,
                dtype=torch.float32,
                decode=place.decode,
                packed=None if kind == "F32" else place.map,
                packed_bytes=num_bytes,
            )
            counts[kind] = counts.get(kind, 0) + numel
    except (OSError, ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise UserError(f"{file} is not a complete GGUF file ({error}); download it again") from None
    if not found:
        raise UserError(f"{file} has no tensors; download it again")
    return found, max(counts, key=lambda kind: counts[kind])


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Place:
    """Where the blocks of a tensor are."""

    file: Path
    offset: int
    num_bytes: int
    kind: str
    shape: tuple[int, ...]

    def decode(self) -> Tensor:
        """The numbers in float32."""
        # Read and not mapped: pages of a mapping count as used memory until it is closed, and cost more time.
        data = np.fromfile(self.file, dtype=np.uint8, count=self.num_bytes, offset=self.offset)
        return dequantize(torch.from_numpy(data), self.kind).view(self.shape)

    def map(self) -> PackedWeight:
        """The blocks, mapped into memory."""
        data = _map_file(self.file)[self.offset : self.offset + self.num_bytes]
        return PackedWeight(
            shape=self.shape,
            values=torch.from_numpy(data),
            restore=functools.partial(_restore, kind=self.kind),
        )


_mappings: weakref.WeakValueDictionary[tuple[Path, int, int], np.ndarray] = weakref.WeakValueDictionary()
"""Mapped files by path, time of change and size, as long as a tensor uses them."""


def _map_file(file: Path) -> np.ndarray:
    """The bytes of a file, in one mapping for all of its tensors."""
    status = file.stat()
    key = (file, status.st_mtime_ns, status.st_size)
    mapped = _mappings.get(key)
    if mapped is None:
        # Private pages: torch has no read-only tensors. Nothing writes to them, so they are never copied.
        mapped = np.asarray(np.memmap(file, dtype=np.uint8, mode="c"))
        _mappings[key] = mapped
    return mapped


def _restore(values: Tensor, scale: Tensor | None, dtype: torch.dtype, *, kind: str) -> Tensor:
    del scale  # the blocks contain it
    return dequantize(values, kind, dtype)
