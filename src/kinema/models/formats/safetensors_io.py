"""Tensors in and out of safetensors files, memory-mapped and checked.

A component of a model is a folder with one safetensors file, or several and an index. Reading is strict:
missing tensors, extra tensors and other shapes are errors that name the tensor. Pickled files (.bin, .pt,
.ckpt, .pth) can run code when they are opened, and are refused.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.atomic_io import atomic_write, write_text
from kinema.errors import UserError
from kinema.models.module_init import copy_channels_last
from kinema.models.packed_weight import PackedLinear, PackedWeight

_MAX_HEADER_BYTES = 10**8
_MAX_JSON_BYTES = 10**8
_MAX_DIMS = 16
_BATCH_BYTES = 64 * 2**20
"""Bytes of tensors that are read through one memory mapping when they are copied."""
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """File, name, shape and type of a stored tensor, from the file's header.

    Attributes:
        file: the file.
        name: its name in the file.
        shape: its shape.
        dtype: its type, after decoding.
        decode: reads a tensor that is not stored as it is (quantised, or in another format); None: it is a
            plain tensor of a safetensors file.
        packed: maps a quantised tensor as it is stored; None: it is not quantised.
        packed_bytes: what it has then.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    decode: Callable[[], Tensor] | None = None
    packed: Callable[[], PackedWeight] | None = None
    packed_bytes: int = 0

    @property
    def numel(self) -> int:
        """Number of elements."""
        return torch.Size(self.shape).numel()


def list_tensors(folder: Path, *, component: str) -> dict[str, TensorInfo]:
    """Every tensor of a component, by its name in the files; only headers are read.

    Args:
        folder: the folder with the component's safetensors files.
        component: what the component is called in error messages.

    Raises:
        UserError: there is no safetensors file, only pickles; or an index and its files disagree.
    """
    found: dict[str, TensorInfo] = {}
    for file in _weight_files(folder, component=component):
        for name, (shape, dtype) in _read_header(file).items():
            if name in found:
                raise UserError(
                    f"{file} repeats tensor {name!r} of {found[name].file.name}; remove one of the two"
                )
            found[name] = TensorInfo(file=file, name=name, shape=shape, dtype=dtype)
    return found


def list_file_tensors(file: Path) -> dict[str, TensorInfo]:
    """Every tensor of one safetensors file; only its header is read.

    Raises:
        UserError: it is damaged, or has a type that is not supported.
    """
    return {
        name: TensorInfo(file=file, name=name, shape=shape, dtype=dtype)
        for name, (shape, dtype) in _read_header(file).items()
    }


def read_metadata(file: Path) -> dict[str, str]:
    """The `__metadata__` of a safetensors file; empty for other files, and where it has none."""
    if file.suffix != ".safetensors":
        return {}
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        try:
            values = json.loads(opened.read(min(length, 10**8))).get("__metadata__")
        except (ValueError, AttributeError, RecursionError):
            return {}
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {}


_MIN_SEPARATE_NUMEL = 2**19
"""Smaller kernels share a mapping: their pages are few, and a mapping takes half a millisecond."""


def read_tensor(info: TensorInfo) -> Tensor:
    """The numbers of a stored tensor, in the type `info.dtype`."""
    from safetensors import safe_open

    if info.decode is not None:
        return info.decode()
    with safe_open(info.file, framework="pt") as opened:
        return opened.get_tensor(info.name)


def load_into(
    module: nn.Module,
    tensor_infos: Mapping[str, TensorInfo],
    *,
    component: str,
    dtype: torch.dtype,
    device: torch.device,
    keep_in_float32: Iterable[str] = (),
    rename: Callable[[str], str] | None = None,
    tied_weights: Mapping[str, str] | None = None,
    keep_packed: bool = False,
) -> None:
    """Assign stored tensors to a module that was built on the meta device.

    Tensors that already have the target type stay memory-mapped: loading copies nothing, and pages are read
    when they are used. Weights that a module will copy into another layout (`vae.layers.to_channels_last`)
    are mapped one by one, so that each mapping is closed once its copy exists.

    Args:
        module: all its parameters and buffers of the state dict are replaced.
        tensor_infos: the tensors in the files.
        component: what the module is called in error messages.
        dtype: type of the module's floating-point tensors.
        device: device of all tensors.
        keep_in_float32: tensors whose name contains one of these strings stay in float32.
        rename: from a name in the files to the module's name.
        tied_weights: module names that share the tensor of another name and are in no file.
        keep_packed: replace linear layers by ones that keep a quantised weight as it is stored.

    Raises:
        UserError: a tensor is missing, unexpected, or has another shape; the message names it.
    """
    from safetensors import safe_open

    tied_weights = tied_weights or {}
    expected = {name: value for name, value in module.state_dict().items() if name not in tied_weights}
    named = {(rename(name) if rename else name): tensor for name, tensor in tensor_infos.items()}
    _check_names(expected, named, component=component)
    by_file: dict[Path, list[str]] = {}
    float32_patterns = tuple(keep_in_float32)
    if keep_packed:
        for name in _pack_linear_layers(module, named, device, float32_patterns):
            del named[name], expected[name]
    tensors: dict[str, Tensor] = {}
    for name, tensor in named.items():
        if tensor.decode is None:
            by_file.setdefault(tensor.file, []).append(name)
        else:
            # One after another, so that only one tensor at a time exists in float32 and in its final type.
            value = tensor.decode().to(_target_dtype(name, tensor, dtype, float32_patterns))
            value = value.reshape(expected[name].shape).to(device)
            tensors[name] = value if expected[name].is_contiguous() else copy_channels_last(value)
            del value
    for file, names in by_file.items():
        dtypes = {name: _target_dtype(name, named[name], dtype, float32_patterns) for name in names}
        mapped = {name for name in names if named[name].dtype == dtypes[name] and device.type == "cpu"}
        copied = [name for name in names if name not in mapped]
        # The autoencoder copies these to channels last when it first runs (`vae.layers.to_channels_last`).
        later = [
            name
            for name in names
            if name in mapped
            and not expected[name].is_contiguous()
            and named[name].numel >= _MIN_SEPARATE_NUMEL
        ]
        separate = set(later)
        kept = [name for name in names if name in mapped and name not in separate]
        # Pages that were read count as used memory until their mapping is closed, so tensors that are copied
        # have a mapping for each batch, or for each tensor that is copied later.
        for batch in [*_batch_names(copied, named), *([name] for name in later), kept]:
            with safe_open(file, framework="pt") as opened:
                for name in batch:
                    value = opened.get_tensor(named[name].name)
                    if name not in mapped:
                        value = value.to(dtypes[name])
                    value = value.reshape(expected[name].shape).to(device)
                    if name not in mapped and not expected[name].is_contiguous():
                        value = copy_channels_last(value)
                    tensors[name] = value
                    del value
    for name, other in tied_weights.items():
        tensors[name] = tensors[other]
    _assign(module, tensors)
    unset = [name for name, value in [*module.named_parameters(), *module.named_buffers()] if value.is_meta]
    if unset:
        raise RuntimeError(f"{component}: {unset[0]} has no value")


def _assign(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Replace parameters and buffers by the tensors of their names; the parameters need no gradients.

    `nn.Module.load_state_dict` compares and copies attributes of each, which took a sixth of the loading.
    """
    for owner, part in module.named_modules():
        prefix = f"{owner}." if owner else ""
        for name in part._parameters:
            if f"{prefix}{name}" in tensors:
                part._parameters[name] = nn.Parameter(tensors[f"{prefix}{name}"], requires_grad=False)
        for name in part._buffers:
            if f"{prefix}{name}" in tensors:
                part._buffers[name] = tensors[f"{prefix}{name}"]


def _pack_linear_layers(
    module: nn.Module,
    named: Mapping[str, TensorInfo],
    device: torch.device,
    float32_patterns: tuple[str, ...],
) -> list[str]:
    """Replace linear layers with quantised weights; the names of those weights."""
    names = []
    for name, tensor in named.items():
        owner, _, attribute = name.rpartition(".")
        is_float32 = any(pattern in name for pattern in float32_patterns)
        if tensor.packed is None or attribute != "weight" or len(tensor.shape) != 2 or is_float32:
            continue
        layer = module.get_submodule(owner)
        if type(layer) is nn.Linear:
            parent, _, last = owner.rpartition(".")
            setattr(module.get_submodule(parent), last, PackedLinear(tensor.packed(), layer.bias, device))
            names.append(name)
    return names


@contextlib.contextmanager
def damaged_files(source: Path) -> Iterator[None]:
    """Turn the exceptions of a library that reads a model's settings into one line.

    transformers and tokenizers raise every type for settings that contradict each other. Lack of memory is
    not the file's fault.

    Raises:
        UserError: the block raised an exception.
    """
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise UserError(
            f"{source} can't be read ({type(error).__name__}: {first}); download the folder again"
        ) from error


def save_tensors(
    tensors: Mapping[str, Tensor], folder: Path, *, stem: str = "model", shard_bytes: int = 5 * 10**9
) -> None:
    """Write tensors as `stem.safetensors`, or as shards with an index where one file would be too large.

    Each file is written atomically, the index last. Files of an earlier save with other shards in the same
    folder are removed.

    Args:
        tensors: the tensors by name.
        folder: created if it does not exist.
        stem: the file name without its suffix.
        shard_bytes: size of the largest file, unless one tensor is larger.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Tensor]] = [{}]
    shard_size = 0
    for name, value in tensors.items():
        size = value.numel() * value.element_size()
        if shards[-1] and shard_size + size > shard_bytes:
            shards.append({})
            shard_size = 0
        shards[-1][name] = value.detach().cpu().contiguous()
        shard_size += size
    names = (
        [f"{stem}.safetensors"]
        if len(shards) == 1
        else [f"{stem}-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    )
    for name, shard in zip(names, shards, strict=True):
        with atomic_write(folder / name) as temporary:
            save_file(shard, temporary, metadata={"format": "pt"})
    index = folder / f"{stem}.safetensors.index.json"
    if len(shards) > 1:
        total = sum(value.numel() * value.element_size() for value in tensors.values())
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        write_text(
            index, json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2) + "\n"
        )
    else:
        index.unlink(missing_ok=True)
    for old in folder.glob(f"{stem}*.safetensors"):
        if old.name not in names and re.fullmatch(rf"{re.escape(stem)}(-\d+-of-\d+)?", old.stem):
            old.unlink()


def read_json(file: Path, *, component: str) -> dict[str, object]:
    """The JSON object in a file.

    Raises:
        UserError: the file does not exist or is not a JSON object.
    """
    if not file.is_file():
        raise UserError(f"{component} has no {file.name} in {file.parent}; the folder is incomplete")
    try:
        if file.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError("it is too large")
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{file} is not JSON ({reason}); download the folder again") from None
    if not isinstance(value, dict):
        raise UserError(f"{file} is not a JSON object; download the folder again")
    return value


def _weight_files(folder: Path, *, component: str) -> list[Path]:
    """The component's files: those of the index, or the only file."""
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: the model has no {component}; download the whole folder")
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    # Published folders may contain other precisions too (model.fp16.safetensors).
    plain = [index for index in indexes if index.name.count(".") == 3]
    if plain:
        index = plain[0]
        weight_map = read_json(index, component=component).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise UserError(f"{index} has no weight_map; download the folder again")
        files = [folder / Path(name).name for name in sorted(set(weight_map.values()))]
        for file in files:
            if not file.is_file():
                raise UserError(f"{file} is missing: {index.name} names it; download the whole folder")
        return files
    singles = sorted(folder.glob("*.safetensors"))
    chosen = [file for file in singles if file.name.count(".") == 1] or singles
    if len(chosen) == 1:
        return chosen
    if len(chosen) > 1:
        raise UserError(
            f"{folder} has {len(chosen)} safetensors files and no index; keep one, or add "
            f"{chosen[0].name.split('-00')[0]}.safetensors.index.json"
        )
    pickled = [file for file in sorted(folder.iterdir()) if file.suffix in PICKLE_SUFFIXES]
    if pickled:
        raise UserError(
            f"{pickled[0]} is a pickle, which can run code when it is opened; only safetensors files are "
            f"read: convert it, or download the safetensors of this {component}"
        )
    raise UserError(f"{folder} has no safetensors file of the {component}; download the whole folder")


def _read_header(file: Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Names, shapes and types in a safetensors file, without touching the tensors.

    The format: eight bytes, little-endian, with the length of a JSON object; the object; the tensors, which
    fill the rest of the file without gaps and without sharing bytes.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
                raise ValueError("the header is longer than the file")
            header = json.loads(opened.read(length))
        notes = header.pop("__metadata__", {})
        if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
            raise ValueError("its __metadata__ is not a table of texts")
        found, places = {}, []
        for name, entry in header.items():
            kind = _DTYPES.get(entry["dtype"])
            if kind is None:
                raise UserError(
                    f"{file}: tensor {name!r} is of type {entry['dtype']}, which is not supported; "
                    "download the weights in another type"
                )
            shape = tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            if len(shape) > _MAX_DIMS or not all(type(side) is int and 0 <= side <= 2**48 for side in shape):
                raise ValueError(f"tensor {name!r} has no valid shape")
            if type(begin) is not int or end - begin != math.prod(shape) * kind.itemsize:
                raise ValueError(f"tensor {name!r} has another size than its shape says")
            found[name] = (shape, kind)
            places.append((begin, end))
        position = 0
        for begin, end in sorted(places):
            if begin != position:
                raise ValueError("its tensors overlap, or have gaps between them")
            position = end
        if size != 8 + length + position:
            raise ValueError("the file is truncated, or longer than its tensors")
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = "" if isinstance(error, RecursionError) else f" ({error})"
        raise UserError(f"{file} is not a complete safetensors file{reason}; download it again") from None


def _target_dtype(
    name: str, info: TensorInfo, dtype: torch.dtype, keep_in_float32: tuple[str, ...]
) -> torch.dtype:
    """The type of a tensor in the module."""
    if not info.dtype.is_floating_point:
        return info.dtype
    return torch.float32 if any(pattern in name for pattern in keep_in_float32) else dtype


def _batch_names(names: list[str], tensor_infos: Mapping[str, TensorInfo]) -> list[list[str]]:
    """The names in order, in batches of about `_BATCH_BYTES`."""
    batches: list[list[str]] = []
    batch_size = _BATCH_BYTES
    for name in names:
        if batch_size >= _BATCH_BYTES:
            batches.append([])
            batch_size = 0
        batches[-1].append(name)
        batch_size += tensor_infos[name].numel * tensor_infos[name].dtype.itemsize
    return batches


def _check_names(
    expected: Mapping[str, Tensor], tensor_infos: Mapping[str, TensorInfo], *, component: str
) -> None:
    missing = [name for name in expected if name not in tensor_infos]
    extra = [name for name in tensor_infos if name not in expected]
    if missing:
        also = f" (and {extra[0]!r} is not one of its tensors)" if extra else ""
        raise UserError(
            f"the {component} lacks tensor {_format_names(missing)}{also}; "
            "the weights belong to another model"
        )
    if extra:
        raise UserError(
            f"the {component} has no tensor {_format_names(extra)}; the weights belong to another model"
        )
    for name, tensor in tensor_infos.items():
        shape = tuple(expected[name].shape)
        # A 1x1 convolution may be stored as a linear layer, and a linear layer as a convolution.
        if tensor.shape != shape and _drop_unit_dims(tensor.shape) != _drop_unit_dims(shape):
            raise UserError(
                f"tensor {name!r} of the {component} is {_format_shape(tensor.shape)} and must be "
                f"{_format_shape(shape)}; its config.json belongs to other weights"
            )


def _drop_unit_dims(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for side in shape if side != 1)


def _format_names(names: list[str]) -> str:
    return repr(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _format_shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape) or "a scalar"
