"""Where the files of each film are: `DATA/videos/ID/`, and `DATA/trash` on their way out."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path

FILM, THUMBNAIL, SPRITES, PREVIEW, STATE = (
    "film.mp4", "thumbnail.webp", "spritesheet.jpg", "preview.webp", "state.npz",
)  # fmt: skip


def folder_of(data: Path, identifier: str) -> Path:
    """The folder of a film. The identifier has been checked, or comes from the store."""
    return data / "videos" / identifier


def discard(data: Path, identifier: str) -> None:
    """Free the disk of a film. It is moved away first, so that nobody can write into it any more."""
    moved = data / "trash" / f"{identifier}-{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):
        os.rename(folder_of(data, identifier), moved)
        shutil.rmtree(moved, ignore_errors=True)


def clear(folder: Path) -> None:
    """Leave of a finished film only what is served, and of a failed one nothing but the folder."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name not in (FILM, THUMBNAIL, SPRITES):
                with contextlib.suppress(OSError):
                    path.unlink()


def empty(folder: Path) -> None:
    """Leave nothing in the folder of a film that failed."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                path.unlink()


def folders(data: Path, *, older: float = 0) -> list[str]:
    """The films that have a folder, made at least `older` seconds ago."""
    before = time.time() - older
    found = []
    with contextlib.suppress(OSError), os.scandir(data / "videos") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.stat().st_mtime <= before:
                    found.append(entry.name)
    return found


def empty_trash(data: Path) -> None:
    """What an interrupted deletion left."""
    shutil.rmtree(data / "trash", ignore_errors=True)
    with contextlib.suppress(OSError):
        (data / "trash").mkdir(exist_ok=True)


def free_bytes(data: Path) -> int:
    """Of the disk that the films are on."""
    return shutil.disk_usage(data).free


def used_bytes(data: Path) -> int:
    """Of all films' files."""
    total = 0
    for root, _, files in os.walk(data / "videos"):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(root, name)).st_size
    return total
