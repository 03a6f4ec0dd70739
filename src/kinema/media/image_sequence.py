"""Films as PNG pictures, in a folder or in a zip: lossless, and open to every other tool.

The pictures are `000000.png`, `000001.png`, ... and `film.json` beside them holds the rate, the number of
frames and the comment.
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
from PIL import Image

from kinema.errors import UserError
from kinema.media.encode import WriteFrame
from kinema.media.images import DECODE_ERRORS, check_pixels, open_image, resize, to_rgb
from kinema.media.types import Frame, Limits, ReadResult

INDEX_FILE = "film.json"
MAX_UNPACKED_BYTES = 1 << 29
"""Bytes one packed picture may have: a zip can promise little and unpack to much."""


def encode_png(image: np.ndarray, compress_level: int = 3) -> bytes:
    """The picture as PNG. `compress_level` is zlib's; 3 is twice as fast as the default and a few percent larger."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class SequenceIndex:
    """What `film.json` says, or what stands in for it; the size is that of the first picture."""

    names: tuple[str, ...]
    rate: Fraction
    num_frames: int
    """How many there should be."""
    comment: str
    width: int
    height: int


def is_sequence(path: Path) -> bool:
    """Whether `path` is a folder or a zip with PNG pictures in it."""
    if path.is_dir():
        return any(name.lower().endswith(".png") for name in os.listdir(path))
    if not zipfile.is_zipfile(path):
        return False
    with _open_files(path) as (names, _):
        return any(name.lower().endswith(".png") for name in names)


def read_index(path: Path) -> SequenceIndex:
    """What a folder or zip of pictures holds. Pictures are taken in the order of their names.

    Without a `film.json` the rate is 24 frames per second.

    Raises:
        UserError: `film.json` or the first picture can't be understood.
    """
    with _open_files(path) as (names, read):
        told: dict[str, object] = {}
        pictures = tuple(sorted(name for name in names if name.lower().endswith(".png")))
        try:
            if INDEX_FILE in names:
                told = json.loads(read(INDEX_FILE))
            rate = Fraction(str(told.get("rate", "24")))
            count = int(str(told.get("frames", len(pictures))))
            comment = str(told.get("comment", ""))
            if rate <= 0:
                raise ValueError(rate)
        except (OSError, ValueError, AttributeError, ZeroDivisionError):
            raise UserError(
                f"{path}: {INDEX_FILE} is damaged; remove it to read the pictures at 24 per second"
            ) from None
        try:
            with open_image(io.BytesIO(read(pictures[0])), ("PNG",)) as first:
                width, height = first.size
        except DECODE_ERRORS:
            raise UserError(
                f"{path}: {pictures[0]!r} can't be decoded; the film is cut off or damaged"
            ) from None
    return SequenceIndex(
        names=pictures, rate=rate, num_frames=count, comment=comment, width=width, height=height
    )


def frames(path: Path, size: tuple[int, int] | None, limits: Limits) -> Generator[Frame, None, ReadResult]:
    """Yield the pictures of a folder or zip, in the order of their names and in the size of the first.

    Raises:
        UserError: the first can't be decoded, or one is larger than the limit.
    """
    told = read_index(path)
    count = 0
    native = (told.width, told.height)
    wanted = min(len(told.names), limits.max_frames or len(told.names))
    with _open_files(path) as (_, read):
        for name in told.names[:wanted]:
            try:
                with open_image(io.BytesIO(read(name)), ("PNG",)) as image:
                    check_pixels(path, image.width, image.height, limits)
                    shown = to_rgb(image)
            except DECODE_ERRORS:
                break
            if shown.shape[:2] != native[::-1] or size is not None:
                shown = resize(shown, size or native)
            start, stop = count / told.rate, (count + 1) / told.rate
            yield Frame(image=shown, time=float(start), duration=float(stop - start))
            count += 1
    if not count:
        raise UserError(f"{path} has not one picture that can be decoded; it is cut off or damaged")
    return ReadResult(num_frames=count, complete=count == wanted and len(told.names) >= told.num_frames)


@contextlib.contextmanager
def _open_files(path: Path) -> Generator[tuple[list[str], Callable[[str], bytes]]]:
    """The names in a folder or zip, and a function that reads one."""
    if path.is_dir():
        yield os.listdir(path), lambda name: (path / name).read_bytes()
        return
    try:
        file = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise UserError(f"{path} is a damaged zip; make or download it again") from None
    with file:

        def read(name: str) -> bytes:
            if file.getinfo(name).file_size > MAX_UNPACKED_BYTES:
                raise UserError(
                    f"{path}: {name!r} unpacks to more than {MAX_UNPACKED_BYTES >> 20} MB; that is no picture"
                )
            try:
                return file.read(name)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
                # Pictures inside are as damaged as pictures in a folder can be: one kind of error for both.
                raise OSError(f"{name}: {error}") from None

        yield file.namelist(), read


@contextlib.contextmanager
def _png_writer(put: Callable[[str, bytes], object], rate: Fraction, comment: str) -> Generator[WriteFrame]:
    number = 0

    def write(image: np.ndarray) -> None:
        nonlocal number
        put(f"{number:06d}.png", encode_png(image))
        number += 1

    yield write
    index = {"frames": number, "rate": str(rate), "comment": comment}
    put(INDEX_FILE, json.dumps(index, ensure_ascii=False, indent=1).encode())


@contextlib.contextmanager
def folder_encoder(path: Path, *, rate: Fraction, comment: str) -> Generator[WriteFrame]:
    """Pictures into the existing folder `path`."""
    with _png_writer(lambda name, data: (path / name).write_bytes(data), rate, comment) as write:
        yield write


@contextlib.contextmanager
def zip_encoder(path: Path, *, rate: Fraction, comment: str) -> Generator[WriteFrame]:
    """Pictures into a zip, stored: PNG does not compress twice. The same film gives the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:

        def put(name: str, data: bytes) -> None:
            file.writestr(zipfile.ZipInfo(name), data)

        with _png_writer(put, rate, comment) as write:
            yield write


@contextlib.contextmanager
def atomic_folder(target: Path) -> Generator[Path]:
    """Yield a new folder beside `target`; on success rename it to `target`, otherwise remove it.

    Raises:
        UserError: `target` exists and is not an empty folder, or its parent can't be written.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target} exists already; a folder of pictures needs a new name or an empty folder")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a folder; make it first, or choose another output path")
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    except OSError as error:
        raise UserError(f"can't write in {target.parent}: {error.strerror}; choose another folder") from None
    try:
        yield beside
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o777 & ~umask)
        beside.replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
