"""The frames of a `MediaItem`: of a file, a member of a tar, a folder of images, or a row of a shard."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
from safetensors import safe_open

from kinema.atomic_io import file_sha256
from kinema.data.aspect_buckets import Size
from kinema.data.media_item import MediaItem, media_kind
from kinema.errors import UserError
from kinema.media import frames, probe, read_image
from kinema.media.images import resize
from kinema.media.types import Frame, Limits, ReadResult

DEFAULT_FPS = 24.0
"""Rate of frames without times."""


@contextlib.contextmanager
def local_path(item: MediaItem) -> Iterator[Path]:
    """The item's file; a member of a tar is a temporary file inside the block.

    Raises:
        UserError: the tar or the member can't be read.
    """
    if not item.member:
        yield Path(item.path)
        return
    with tempfile.TemporaryDirectory(prefix="kinema-") as folder:
        path = Path(folder) / f"member{Path(item.member).suffix}"
        try:
            with tarfile.open(item.path) as archive:
                source = archive.extractfile(item.member)
                if source is None:
                    raise UserError(f"{item.name} is not a file")
                with path.open("wb") as target:
                    shutil.copyfileobj(source, target)
        except (tarfile.TarError, EOFError, KeyError, OSError):
            raise UserError(f"{item.name} can't be read from its tar; the archive is damaged") from None
        yield path


def content_sha256(item: MediaItem, path: Path) -> str:
    """SHA-256 of what the item's frames are read from.

    Args:
        item: the item.
        path: of its file, from `local_path`.
    """
    if item.kind == "frames":
        digest = hashlib.sha256()
        for file in _image_files(path):
            digest.update(bytes.fromhex(file_sha256(file)))
        return digest.hexdigest()
    if item.kind == "array":
        digest = hashlib.sha256(f"row {item.row_in_shard} ".encode())
        digest.update(_array_row(item).tobytes())
        return digest.hexdigest()
    return file_sha256(path)


def native_size(item: MediaItem, path: Path) -> Size:
    """Width and height of the frames.

    Raises:
        UserError: the file is not a video or an image.
    """
    if item.kind == "array":
        _, height, width, _ = _array_row(item).shape
        return width, height
    info = probe(_image_files(path)[0] if item.kind == "frames" else path)
    return info.width, info.height


def read_frames(
    item: MediaItem, path: Path, *, size: Size | None = None
) -> Generator[Frame, None, ReadResult]:
    """Yield the frames one by one, upright, in constant memory; see `kinema.media.frames`.

    Args:
        item: the item.
        path: of its file, from `local_path`.
        size: (width, height) to scale to.

    Raises:
        UserError: at the first `next`: the file can't be read.
    """
    step = 1 / (item.fps or DEFAULT_FPS)
    if item.kind == "array":
        for index, image in enumerate(_array_row(item)):
            scaled = np.ascontiguousarray(image) if size is None else resize(image, size)
            yield Frame(image=scaled, time=index * step, duration=step)
        return ReadResult(num_frames=index + 1, complete=True)
    if item.kind == "frames":
        return (yield from _read_image_files(path, size, step))
    limits = Limits(max_frames=1) if item.kind == "image" else None
    return (yield from frames(path, size=size, limits=limits))


def _read_image_files(path: Path, size: Size | None, step: float) -> Generator[Frame, None, ReadResult]:
    files = _image_files(path)
    if not files:
        raise UserError(f"{path} has no images; remove the folder or its caption")
    count = 0
    for file in files:
        try:
            image = read_image(file)
        except UserError:
            if not count:
                raise
            return ReadResult(num_frames=count, complete=False)
        size = size or (image.shape[1], image.shape[0])
        yield Frame(image=resize(image, size), time=count * step, duration=step)
        count += 1
    return ReadResult(num_frames=count, complete=True)


def _image_files(path: Path) -> list[Path]:
    return [path / name for name in sorted(os.listdir(path)) if media_kind(name) == "image"]


def _array_row(item: MediaItem) -> np.ndarray:
    with safe_open(item.path, framework="np") as shard:
        return shard.get_slice("frames")[item.row_in_shard]
