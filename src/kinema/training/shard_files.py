"""Reads the files of a checkpoint that several processes wrote: see `kinema.training.sharded_checkpoint`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader
from torch.distributed.checkpoint._hf_utils import (
    CUSTOM_METADATA_KEY,
    DCP_VERSION_KEY,
    FORMAT_VALUE,
    HF_DCP_VERSION,
    SAVED_OFFSETS_KEY,
)
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor

PREFIX = "shard-"
"""Start of the names of the files."""
SEPARATOR = "/"
"""Between the name of a part and that of a tensor."""


def offsets_metadata(offsets: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Return the metadata of a safetensors file of shards, as DCP's `HuggingFaceStorageReader` reads it.

    Args:
        offsets: index of the first element of each shard in the whole tensor.
    """
    return {
        CUSTOM_METADATA_KEY: json.dumps({key: {SAVED_OFFSETS_KEY: list(o)} for key, o in offsets.items()}),
        DCP_VERSION_KEY: str(HF_DCP_VERSION),
        "format": FORMAT_VALUE,
    }


def read_sharded(folder: Path, like: Callable[[str, str], Tensor | None]) -> dict[str, dict[str, Tensor]]:
    """The tensors of a checkpoint.

    Args:
        folder: of the checkpoint.
        like: the sharded tensor of a part and name, if any: what has its shape is sharded as it is, and this
            process reads only its shard. Others are read in full.

    Returns:
        Tensors by part and name.
    """
    reader = HuggingFaceStorageReader(str(folder))
    targets: dict[str, Tensor] = {}
    for key, entry in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(entry, TensorStorageMetadata)
        part, _, name = key.partition(SEPARATOR)
        own = like(part, name)
        if isinstance(own, DTensor) and own.shape == entry.size:
            targets[key] = torch.empty_like(own, dtype=entry.properties.dtype, requires_grad=False)
        else:
            targets[key] = torch.empty(entry.size, dtype=entry.properties.dtype)
    with warnings.catch_warnings():
        # Each process reads for itself: nothing needs to be agreed on.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(targets, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in targets.items():
        part, _, name = key.partition(SEPARATOR)
        parts.setdefault(part, {})[name] = tensor
    return parts
