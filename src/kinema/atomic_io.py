"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kinema.errors import UserError


@contextlib.contextmanager
def atomic_write(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success flush it to disk and rename it over `target`.

    The temporary name keeps the suffix of `target`, because writers choose their format by it. If the
    block raises, the temporary file is removed and `target` is what it was.

    Raises:
        UserError: the folder does not exist or can't be written.
    """
    target = Path(target)
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a folder; make it first, or choose another output path")
    if target.is_dir():
        raise UserError(f"{target} is a folder; give the name of a file to write")
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}.", suffix=f".part{target.suffix}", dir=target.parent
        )
    except OSError as error:
        raise UserError(f"can't write in {target.parent}: {error.strerror}; choose another folder") from None
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes private files; a video is as readable as any file the person makes.
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o666 & ~umask)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def write_bytes(target: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `target` atomically."""
    with atomic_write(target) as beside:
        beside.write_bytes(data)


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `target` atomically, as UTF-8."""
    write_bytes(target, text.encode())


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
