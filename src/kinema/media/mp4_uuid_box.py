"""Extra bytes in an MP4: a `uuid` box after the video, which players skip.

ISO/IEC 14496-12, 4.2 and 11.1: readers skip boxes of unknown extended types. A program that rewrites the file
drops the box.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from kinema.errors import UserError

_BOX_TYPE = b"kinema\0latents\0\1"
"""The box's 16-byte extended type."""
_SUFFIXES = (".mp4", ".m4v")


def supports_box(path: str | os.PathLike[str]) -> bool:
    """Whether a file with this name can have the box."""
    return Path(path).suffix.lower() in _SUFFIXES


def append_box(path: str | os.PathLike[str], data: bytes) -> None:
    """Append bytes to an MP4.

    Raises:
        UserError: the data is 4 GiB or more.
    """
    size = 8 + len(_BOX_TYPE) + len(data)
    if size >= 2**32:
        raise UserError(f"{len(data)} bytes are too many for one box of an MP4; give less than 4 GiB")
    with open(path, "ab") as file:
        file.write(struct.pack(">I4s", size, b"uuid") + _BOX_TYPE + data)


def read_box(path: str | os.PathLike[str]) -> bytes | None:
    """The bytes that `append_box` wrote; None if there are none, or the file is no MP4 or truncated."""
    source = Path(path)
    if not source.is_file():
        return None
    end = source.stat().st_size
    with source.open("rb") as file:
        start = 0
        while start + 8 <= end:
            file.seek(start)
            size, kind = struct.unpack(">I4s", file.read(8))
            header = 8
            if size == 1 and start + 16 <= end:
                (size,) = struct.unpack(">Q", file.read(8))
                header = 16
            if size == 0:
                size = end - start
            if size < header or start + size > end:
                return None
            if kind == b"uuid" and header == 8 and file.read(16) == _BOX_TYPE:
                return file.read(size - 24)
            start += size
    return None
