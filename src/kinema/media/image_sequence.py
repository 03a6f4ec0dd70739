"""Videos as PNG images in a folder or a zip: lossless, and readable by other tools.

The images are `000000.png`, `000001.png`, ... and `video.json` has the rate, the number of frames and the
comment.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from kinema.errors import UserError
from kinema.media.encode import WriteFrame
from kinema.media.images import DECODE_ERRORS, check_pixels, encode_png, open_image, resize, to_rgb
from kinema.media.types import Frame, Limits, ReadResult

INDEX_FILE = "video.json"
PNG_LEVEL = 3
"""zlib's level: twice as fast as the default, with files that are a few percent larger."""
MAX_UNPACKED_BYTES = 1 << 29
"""Largest image in a zip, in bytes: a small zip can unpack to a very large file."""


@dataclass(frozen=True, kw_only=True)
class SequenceIndex:
    """The contents of `video.json`, or their defaults, and the size of the first image."""

    names: tuple[str, ...]
    rate: Fraction
    num_frames: int
    """The declared number of frames."""
    comment: str
    width: int
    height: int


def is_sequence(path: Path) -> bool:
    """Whether `path` is a folder or a zip with PNG images."""
    if path.is_dir():
        return any(name.lower().endswith(".png") for name in os.listdir(path))
    if not zipfile.is_zipfile(path):
        return False
    with _open_files(path) as (names, _):
        return any(name.lower().endswith(".png") for name in names)


def read_index(path: Path) -> SequenceIndex:
    """The index of a folder or zip of images. Images are read in the order of their names.

    Without a `video.json` the rate is 24 frames per second.

    Raises:
        UserError: `video.json` or the first image is damaged.
    """
    with _open_files(path) as (names, read):
        values: dict[str, object] = {}
        images = tuple(sorted(name for name in names if name.lower().endswith(".png")))
        try:
            if INDEX_FILE in names:
                values = json.loads(read(INDEX_FILE))
            rate = Fraction(str(values.get("rate", "24")))
            count = int(str(values.get("frames", len(images))))
            comment = str(values.get("comment", ""))
            if rate <= 0:
                raise ValueError(rate)
        except (OSError, ValueError, AttributeError, ZeroDivisionError):
            raise UserError(
                f"{path}: {INDEX_FILE} is damaged; remove it to read the images at 24 per second"
            ) from None
        try:
            with open_image(io.BytesIO(read(images[0])), ("PNG",)) as first:
                width, height = first.size
        except DECODE_ERRORS:
            raise UserError(
                f"{path}: {images[0]!r} can't be decoded; the video is truncated or damaged"
            ) from None
    return SequenceIndex(
        names=images, rate=rate, num_frames=count, comment=comment, width=width, height=height
    )


def frames(path: Path, size: tuple[int, int] | None, limits: Limits) -> Generator[Frame, None, ReadResult]:
    """Yield the images of a folder or zip, in the order of their names and in the size of the first.

    Raises:
        UserError: the first image can't be decoded, or an image exceeds the limit.
    """
    index = read_index(path)
    count = 0
    native = (index.width, index.height)
    num_requested = min(len(index.names), limits.max_frames or len(index.names))
    with _open_files(path) as (_, read):
        for name in index.names[:num_requested]:
            try:
                with open_image(io.BytesIO(read(name)), ("PNG",)) as image:
                    check_pixels(path, image.width, image.height, limits)
                    pixels = to_rgb(image)
            except DECODE_ERRORS:
                break
            if pixels.shape[:2] != native[::-1] or size is not None:
                pixels = resize(pixels, size or native)
            start, stop = count / index.rate, (count + 1) / index.rate
            yield Frame(image=pixels, time=float(start), duration=float(stop - start))
            count += 1
    if not count:
        raise UserError(f"{path} has no image that can be decoded; it is truncated or damaged")
    return ReadResult(
        num_frames=count, complete=count == num_requested and len(index.names) >= index.num_frames
    )


@contextlib.contextmanager
def _open_files(path: Path) -> Generator[tuple[list[str], Callable[[str], bytes]]]:
    """The file names in a folder or zip, and a function that reads a file."""
    if path.is_dir():
        yield os.listdir(path), lambda name: (path / name).read_bytes()
        return
    try:
        file = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise UserError(f"{path} is a damaged zip; create or download it again") from None
    with file:

        def read(name: str) -> bytes:
            if file.getinfo(name).file_size > MAX_UNPACKED_BYTES:
                raise UserError(
                    f"{path}: {name!r} unpacks to more than {MAX_UNPACKED_BYTES >> 20} MB; remove it"
                )
            try:
                return file.read(name)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
                # The same kind of error as for a damaged image in a folder.
                raise OSError(f"{name}: {error}") from None

        yield file.namelist(), read


@contextlib.contextmanager
def _png_writer(
    write_file: Callable[[str, bytes], object], rate: Fraction, comment: str
) -> Generator[WriteFrame]:
    number = 0

    def write(image: np.ndarray) -> None:
        nonlocal number
        write_file(f"{number:06d}.png", encode_png(image, compress_level=PNG_LEVEL))
        number += 1

    yield write
    index = {"frames": number, "rate": str(rate), "comment": comment}
    write_file(INDEX_FILE, json.dumps(index, ensure_ascii=False, indent=1).encode())


@contextlib.contextmanager
def folder_encoder(path: Path, *, rate: Fraction, comment: str) -> Generator[WriteFrame]:
    """Yield a function that writes the next frame into the existing folder `path`."""
    with _png_writer(lambda name, data: (path / name).write_bytes(data), rate, comment) as write:
        yield write


@contextlib.contextmanager
def zip_encoder(path: Path, *, rate: Fraction, comment: str) -> Generator[WriteFrame]:
    """Yield a function that writes the next frame into a zip, uncompressed since PNG is compressed.

    The same video gives the same bytes.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:

        def write_file(name: str, data: bytes) -> None:
            file.writestr(zipfile.ZipInfo(name), data)

        with _png_writer(write_file, rate, comment) as write:
            yield write


@contextlib.contextmanager
def atomic_folder(target: Path) -> Generator[Path]:
    """Yield a new folder next to `target`; on success rename it to `target`, otherwise remove it.

    Raises:
        UserError: `target` exists and is not an empty folder, or its parent can't be written.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target} exists already; a folder of images needs a new name or an empty folder")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a folder; create it first, or choose another output path")
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    except OSError as error:
        raise UserError(f"can't write in {target.parent}: {error.strerror}; choose another folder") from None
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
