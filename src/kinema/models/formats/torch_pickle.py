"""Tensors in files of `torch.save` (.pt, .pth), read without running anything that is in them.

A pickle is a program: it may import and call anything. Here it may name five functions only, and all five are
replaced by ones of this module that note where a tensor's numbers are in the file. The numbers are read when
they are needed. Everything else is refused.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.models.formats.safetensors_io import TensorInfo

_MAX_PICKLE_BYTES = 64 * 2**20
_LOCAL_HEADER_BYTES = 30
_STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_STATE_DICTS = ("generator_ema", "generator", "state_dict", "model", "module")
"""Names under which training code keeps the state dict; the first one that a file has is read."""


def list_pickled_tensors(file: Path) -> dict[str, TensorInfo]:
    """Every tensor of the state dict in a file of `torch.save`.

    Raises:
        UserError: the file contains anything but tensors and plain values, is damaged, or is older than
            PyTorch 1.6.
    """
    if not zipfile.is_zipfile(file):
        raise UserError(
            f"{file} is a pickle of a form that is not read; only zip files of torch.save (PyTorch 1.6 or "
            "newer) are: convert it to safetensors"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            [name] = [name for name in entries if name.endswith("/data.pkl") or name == "data.pkl"]
            if entries[name].file_size > _MAX_PICKLE_BYTES:
                raise ValueError("its pickle is too large")
            prefix = name.removesuffix("data.pkl")
            order = f"{prefix}byteorder"
            if order in entries and archive.read(order) != b"little":
                raise ValueError("it was written on a big-endian machine")
            content = _RestrictedUnpickler(io.BytesIO(archive.read(name)), file).load()
        state = _find_state_dict(content)
        return {
            name: _tensor_info(file, name, tensor, entries, prefix)
            for name, tensor in state.items()
            if isinstance(name, str) and isinstance(tensor, _PickledTensor)
        }
    except UserError:
        raise
    except Exception as error:
        # A damaged pickle raises whatever the operation at hand raises.
        raise UserError(f"{file} is not a complete file of torch.save ({error}); download it again") from None


@dataclass(frozen=True)
class _PickledStorage:
    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class _PickledTensor:
    storage: _PickledStorage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Mapping(dict[Any, Any]):
    """An OrderedDict of a pickle, without the attributes that state dicts have."""

    def __setstate__(self, state: object) -> None:
        del state


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, file: Path) -> None:
        super().__init__(stream)
        self._file = file

    def find_class(self, module: str, name: str) -> Any:
        # Each is a new function, so that a pickle that changes its attributes changes nothing else.
        if (module, name) == ("collections", "OrderedDict"):
            return lambda: _Mapping()
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: _PickledTensor(storage, offset, shape, stride)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return name
        raise UserError(
            f"{self._file} is a pickle that names {module}.{name}, which could run code; only tensors are "
            "read: convert it to safetensors, or download the safetensors file"
        )

    def persistent_load(self, pid: Any) -> _PickledStorage:
        kind, storage_class, key, _, numel = pid
        if kind != "storage":
            raise ValueError(f"unknown reference {kind!r}")
        return _PickledStorage(str(key), _STORAGE_DTYPES[storage_class], int(numel))


def _find_state_dict(content: object) -> dict[Any, Any]:
    """The mapping of names to tensors in what was pickled."""
    if not isinstance(content, dict):
        raise ValueError("it holds no state dict")
    for name in _STATE_DICTS:
        inner = content.get(name)
        if isinstance(inner, dict):
            return inner
    return content


def _tensor_info(
    file: Path, name: str, tensor: _PickledTensor, entries: dict[str, zipfile.ZipInfo], prefix: str
) -> TensorInfo:
    storage = tensor.storage
    entry = entries[f"{prefix}data/{storage.key}"]
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != storage.numel * storage.dtype.itemsize:
        raise ValueError(f"the numbers of tensor {name!r} are compressed or incomplete")
    shape, stride = tuple(map(int, tensor.shape)), tuple(map(int, tensor.stride))
    if len(shape) != len(stride) or min((*shape, *stride, tensor.offset), default=0) < 0:
        raise ValueError(f"tensor {name!r} has an impossible shape")
    extent = 1 + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    extent = 0 if 0 in shape else extent
    # A tensor with more numbers than its storage would repeat some, and could fill the memory.
    if max(tensor.offset + extent, torch.Size(shape).numel()) > storage.numel:
        raise ValueError(f"tensor {name!r} reaches beyond its numbers")
    return TensorInfo(
        file=file,
        name=name,
        shape=shape,
        dtype=storage.dtype,
        decode=_decoder(file, entry, storage.dtype, tensor.offset, extent, shape, stride),
    )


def _decoder(
    file: Path,
    entry: zipfile.ZipInfo,
    dtype: torch.dtype,
    offset: int,
    extent: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
) -> Callable[[], Tensor]:
    def decode() -> Tensor:
        with file.open("rb") as stream:
            stream.seek(entry.header_offset)
            header = stream.read(_LOCAL_HEADER_BYTES)
        # The local header repeats the name, and its extra field may have another length than the directory's.
        name_bytes, extra_bytes = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        start = entry.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        data = np.fromfile(
            file, dtype=np.uint8, count=extent * dtype.itemsize, offset=start + offset * dtype.itemsize
        )
        return torch.from_numpy(data).view(dtype).as_strided(shape, stride)

    return decode
