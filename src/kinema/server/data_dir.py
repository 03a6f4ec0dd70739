"""The data folder: what identifies it, who may use it at a time, and its permissions."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from kinema.atomic_io import write_text
from kinema.errors import UserError
from kinema.server.database import DATABASE_FILE, check_file
from kinema.server.job import is_job_id

MARKER_FILE = "kinema-data.json"
_SERVER_LOCK = "lock"
_WORKERS_LOCK = "workers.lock"


def ensure_data_dir(path: str | os.PathLike[str]) -> Path:
    """The data folder; it is created if necessary, and only this user can read it.

    The marker file in it and in its folder of videos identifies it. A folder without one is used if it is
    empty, if it holds unrelated files only, or if an older Kinema made it.

    Raises:
        UserError: it can't be created or written, holds a `videos` folder of something else, or its folder of
            videos is missing.
    """
    folder = Path(path).expanduser().absolute()
    videos = folder / "videos"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK):
            raise UserError(f"{folder} can't be written; change its permissions or give another --data")
        marker, marker_of_videos = _read_marker(folder), _read_marker(videos)
        if marker is None:
            _require_ours(folder)
            videos.mkdir(exist_ok=True)
            marker = marker_of_videos or uuid.uuid4().hex
            write_text(folder / MARKER_FILE, json.dumps({"kinema": "data folder", "id": marker}) + "\n")
            write_text(videos / MARKER_FILE, json.dumps({"kinema": "videos", "id": marker}) + "\n")
        elif marker_of_videos != marker:
            raise UserError(
                f"{videos} is not the folder of videos of {folder} ({MARKER_FILE} is missing or another "
                "one); mount it, or give another --data"
            )
        for name in ("workers",):
            (folder / name).mkdir(exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise UserError(f"can't use {folder} for the videos: {error.strerror}; give another --data") from None
    return folder


def _read_marker(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / MARKER_FILE).read_text(encoding="utf-8"))["id"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder / MARKER_FILE} is damaged; restore it, or give another --data") from None


def _require_ours(folder: Path) -> None:
    """Refuse a folder without a marker whose videos are something else's."""
    names = set(os.listdir(folder / "videos")) if (folder / "videos").is_dir() else set()
    foreign = sorted(name for name in names if not is_job_id(name.split(".")[0]) and name != MARKER_FILE)
    if foreign and not (folder / DATABASE_FILE).exists():
        raise UserError(
            f"{folder} is not a data folder of Kinema: it has a folder `videos` with {foreign[0]!r} in it; "
            "give an empty folder as --data"
        )


def require_intact_database(data_dir: Path) -> None:
    """Refuse a database that is damaged.

    Raises:
        UserError: it is.
    """
    path = data_dir / DATABASE_FILE
    if path.exists() and (findings := check_file(path, quick=True)):
        raise UserError(
            f"the database {path} is damaged ({findings[0]}); restore a backup with `kinema jobs restore "
            f"--data {data_dir} FILE`, or move the file away: the jobs are then read from {data_dir}/videos"
        )


@contextlib.contextmanager
def lock_for_server(data_dir: Path) -> Iterator[None]:
    """The only server of a data folder: two servers would remove each other's files."""
    message = f"another server uses {data_dir}; give another --data, or add workers with --workers"
    with _lock(data_dir / _SERVER_LOCK, shared=False, message=message):
        yield


@contextlib.contextmanager
def lock_for_worker(data_dir: Path) -> Iterator[None]:
    """A worker of a data folder; there may be many, but not while its database is replaced."""
    message = f"the database in {data_dir} is being restored; try again"
    with _lock(data_dir / _WORKERS_LOCK, shared=True, message=message):
        yield


@contextlib.contextmanager
def lock_for_restore(data_dir: Path) -> Iterator[None]:
    """Nobody else uses the data folder."""
    message = f"a server or a worker uses {data_dir}; stop it first"
    with (
        _lock(data_dir / _SERVER_LOCK, shared=False, message=message),
        _lock(data_dir / _WORKERS_LOCK, shared=False, message=message),
    ):
        yield


@contextlib.contextmanager
def _lock(path: Path, *, shared: bool, message: str) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # This system has no file locks; the operator must not start two servers.
        yield
        return
    with path.open("a") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            raise UserError(message) from None
        yield
