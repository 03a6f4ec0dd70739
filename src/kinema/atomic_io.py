"""Atomic writes, and the check and digest of input files."""

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
    """Yield a temporary path next to `target`; on success flush the file and rename it to `target`.

    The temporary name keeps the suffix of `target`, because writers choose their format by it. If the
    block raises, the temporary file is removed and `target` is unchanged.

    Raises:
        UserError: the folder does not exist or can't be written.
    """
    target = Path(target)
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a folder; create it first, or choose another output path")
    if target.is_dir():
        raise UserError(f"{target} is a folder; give the name of a file to write")
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}.", suffix=f".part{target.suffix}", dir=target.parent
        )
    except OSError as error:
        raise UserError(f"can't write in {target.parent}: {error.strerror}; choose another folder") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp creates private files; the result has the permissions of any new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(target: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `target` atomically."""
    with atomic_write(target) as temporary:
        temporary.write_bytes(data)


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `target` atomically, as UTF-8."""
    write_bytes(target, text.encode())


def require_readable(path: str | os.PathLike[str]) -> Path:
    """The path, if there is a folder or a readable file that is not empty.

    Raises:
        UserError: there is not.
    """
    source = Path(path)
    if not source.exists():
        raise UserError(f"{source} does not exist; check the name")
    if source.is_dir():
        return source
    if not source.is_file():
        raise UserError(f"{source} is not a file; give a video or an image")
    if not source.stat().st_size:
        raise UserError(f"{source} is empty (0 bytes); write or download it again")
    if not os.access(source, os.R_OK):
        raise UserError(f"{source} can't be read; change its permissions")
    return source


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
