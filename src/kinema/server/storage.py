"""Files of the jobs: `DATA/videos/ID/`, and `DATA/trash` for folders that are being deleted."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path

from kinema.errors import UserError
from kinema.pipeline.request import ImageInput, VideoRequest, resolve_path

VIDEO_FILE = "video.mp4"
THUMBNAIL_FILE = "thumbnail.webp"
SPRITESHEET_FILE = "spritesheet.jpg"
PREVIEW_FILE = "preview.webp"
SAMPLER_STATE_FILE = "state.npz"
UNFINISHED_VIDEO_FILE = "unfinished.mp4"


def get_job_dir(data_dir: Path, job_id: str) -> Path:
    """The folder of a job. The id is checked, or comes from the database."""
    return data_dir / "videos" / job_id


def resolve_input_files(request: VideoRequest, job_dir: Path) -> VideoRequest:
    """The request with paths in `job_dir` in place of file names.

    Raises:
        UserError: a file no longer exists.
    """

    def resolve(name: ImageInput) -> ImageInput:
        path = resolve_path(name, job_dir)
        if isinstance(path, str) and not path.startswith("data:") and not Path(path).is_file():
            raise UserError(f"the input file {name} no longer exists; submit the request again")
        return path

    return request.map_files(resolve)


def delete_job_dir(data_dir: Path, job_id: str) -> None:
    """Delete the folder of a job. It is moved first, so that nobody can write into it any more."""
    trash = data_dir / "trash" / f"{job_id}-{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):
        os.rename(get_job_dir(data_dir, job_id), trash)
        shutil.rmtree(trash, ignore_errors=True)


def remove_intermediates(job_dir: Path) -> None:
    """Remove all files of a completed job that are not served."""
    _remove_files(job_dir, keep=(VIDEO_FILE, THUMBNAIL_FILE, SPRITESHEET_FILE))


def remove_all_files(job_dir: Path) -> None:
    """Remove all files of a failed job; the folder stays."""
    _remove_files(job_dir, keep=())


def _remove_files(job_dir: Path, *, keep: tuple[str, ...]) -> None:
    with contextlib.suppress(OSError):
        for path in job_dir.iterdir():
            if path.name not in keep:
                with contextlib.suppress(OSError):
                    path.unlink()


def list_job_dirs(data_dir: Path, *, min_age_s: float = 0) -> list[str]:
    """Ids of the jobs that have a folder at least `min_age_s` seconds old."""
    newest = time.time() - min_age_s
    job_ids = []
    with contextlib.suppress(OSError), os.scandir(data_dir / "videos") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.stat().st_mtime <= newest:
                    job_ids.append(entry.name)
    return job_ids


def empty_trash(data_dir: Path) -> None:
    """Delete what an interrupted deletion left."""
    shutil.rmtree(data_dir / "trash", ignore_errors=True)
    with contextlib.suppress(OSError):
        (data_dir / "trash").mkdir(exist_ok=True)


def free_bytes(data_dir: Path) -> int:
    """Free space on the disk of the data folder."""
    return shutil.disk_usage(data_dir).free


def used_bytes(data_dir: Path) -> int:
    """Size of all files of all jobs."""
    total = 0
    for root, _, files in os.walk(data_dir / "videos"):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(root, name)).st_size
    return total
