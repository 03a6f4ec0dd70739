"""Where the files of each film are: `DATA/videos/ID/`, and `DATA/trash` on their way out."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path

VIDEO_FILE, THUMBNAIL_FILE, SPRITESHEET_FILE, PREVIEW_FILE, SAMPLER_STATE_FILE = (
    "film.mp4", "thumbnail.webp", "spritesheet.jpg", "preview.webp", "state.npz",
)  # fmt: skip


def get_job_dir(data_dir: Path, job_id: str) -> Path:
    """The folder of a film. The identifier has been checked, or comes from the store."""
    return data_dir / "videos" / job_id


def delete_job_dir(data_dir: Path, job_id: str) -> None:
    """Free the disk of a film. It is moved away first, so that nobody can write into it any more."""
    moved = data_dir / "trash" / f"{job_id}-{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):
        os.rename(get_job_dir(data_dir, job_id), moved)
        shutil.rmtree(moved, ignore_errors=True)


def remove_intermediates(job_dir: Path) -> None:
    """Leave of a finished film only what is served, and of a failed one nothing but the folder."""
    with contextlib.suppress(OSError):
        for path in job_dir.iterdir():
            if path.name not in (VIDEO_FILE, THUMBNAIL_FILE, SPRITESHEET_FILE):
                with contextlib.suppress(OSError):
                    path.unlink()


def remove_all_files(job_dir: Path) -> None:
    """Leave nothing in the folder of a film that failed."""
    with contextlib.suppress(OSError):
        for path in job_dir.iterdir():
            with contextlib.suppress(OSError):
                path.unlink()


def list_job_dirs(data_dir: Path, *, min_age_s: float = 0) -> list[str]:
    """The films that have a folder, made at least `min_age_s` seconds ago."""
    before = time.time() - min_age_s
    found = []
    with contextlib.suppress(OSError), os.scandir(data_dir / "videos") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.stat().st_mtime <= before:
                    found.append(entry.name)
    return found


def empty_trash(data_dir: Path) -> None:
    """What an interrupted deletion left."""
    shutil.rmtree(data_dir / "trash", ignore_errors=True)
    with contextlib.suppress(OSError):
        (data_dir / "trash").mkdir(exist_ok=True)


def free_bytes(data_dir: Path) -> int:
    """Of the disk that the films are on."""
    return shutil.disk_usage(data_dir).free


def used_bytes(data_dir: Path) -> int:
    """Of all films' files."""
    total = 0
    for root, _, files in os.walk(data_dir / "videos"):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(root, name)).st_size
    return total
