"""Input files: whether one can be read, and its SHA-256."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from kinema.errors import UserError


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


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
