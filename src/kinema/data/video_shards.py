"""Shards: safetensors files of some dozens of clips of one shape; captions and annotations are in the header.

Shards are numbered from 0 without gaps. Readers map them into memory and stop at the first that is missing,
so a dataset can be read while more shards are rendered.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from jaxtyping import UInt8

from kinema.atomic_io import atomic_write
from kinema.frames import FrameArray


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardedVideos:
    """The clips of a folder of shards; a `kinema.data.dataset.VideoDataset`.

    Attributes:
        pixels: the memory-mapped frames of each shard.
        texts: the captions of each clip.
        starts: the index of the first clip of each shard.
        annotations: the annotations of each clip as JSON (`kinema.simulator.annotation_io`), without tracks;
            empty for shards that have none.
    """

    pixels: tuple[UInt8[np.ndarray, "_ f h w 3"], ...]
    texts: tuple[tuple[str, ...], ...]
    starts: tuple[int, ...]
    annotations: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def frames(self, index: int) -> FrameArray:
        """Return the frames of a clip."""
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.pixels[shard][index - self.starts[shard]]

    def captions(self, index: int) -> Sequence[str]:
        """Return every caption of a clip, the plain one first."""
        return self.texts[index]


def shard_path(folder: Path, shard_index: int) -> Path:
    """Return the path of a shard."""
    return folder / f"videos-{shard_index:05d}.safetensors"


def write_shard(
    folder: Path,
    shard_index: int,
    frames: Sequence[FrameArray],
    captions: Sequence[Sequence[str]],
    annotations: Sequence[str] | None = None,
) -> None:
    """Write a shard atomically.

    Args:
        folder: must exist.
        shard_index: from 0.
        frames: of each clip, all of one shape.
        captions: every caption of each clip.
        annotations: of each clip, as JSON; None where they are not known.
    """
    texts = {"captions": captions}
    if annotations is not None:
        texts["annotations"] = annotations
    # One entry, because safetensors writes several in random order.
    metadata = {"clips": json.dumps(texts)}
    with atomic_write(shard_path(folder, shard_index)) as path:
        safetensors.numpy.save_file({"frames": np.stack(frames)}, path, metadata=metadata)


def open_shards(folder: Path, *, max_clips: int | None = None) -> ShardedVideos:
    """Map the shards of a folder, up to the first that is missing.

    Args:
        folder: may be empty.
        max_clips: clips after these are left out; None reads all.
    """
    pixels, texts, starts, annotations = [], [], [], []
    for shard_index in itertools.count():
        path = shard_path(folder, shard_index)
        if (max_clips is not None and len(texts) >= max_clips) or not path.is_file():
            break
        starts.append(len(texts))
        header, data_start = _read_header(path)
        clips = _read_texts(header["__metadata__"])
        texts += [tuple(captions) for captions in clips["captions"]]
        if max_clips is not None:
            del texts[max_clips:]
        annotations += clips.get("annotations", [])[: len(texts) - starts[-1]]
        shape, offset = header["frames"]["shape"], data_start + header["frames"]["data_offsets"][0]
        pixels.append(np.memmap(path, np.uint8, "r", offset=offset, shape=tuple(shape)))
    if len(annotations) != len(texts):
        annotations = []
    return ShardedVideos(
        pixels=tuple(pixels), texts=tuple(texts), starts=tuple(starts), annotations=tuple(annotations)
    )


def _read_texts(metadata: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return captions and annotations; shards of earlier versions have captions alone."""
    if "clips" in metadata:
        return json.loads(metadata["clips"])
    return {"captions": json.loads(metadata["captions"])}


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Read a safetensors file's header and the offset of its data.

    The library has no memory-mapped arrays for numpy, and a dataset may be larger than the memory.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size)), 8 + size
