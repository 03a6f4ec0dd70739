"""Files of the jobs, in `DATA/videos/ID/` on a local disk.

    videos/ID.incoming/             inputs of a request that is being received
    videos/ID/job.json              the job as it was submitted: enough to add its row again
    videos/ID/NAME.png, NAME.mp4    its inputs
    videos/ID/attempt-TOKEN/        what one attempt writes: checkpoints, preview, finished files
    videos/ID/result.json           which attempt's files are the video, and their digests
    videos/ID.deleted-RANDOM/       what is being removed

An attempt writes into its own folder only, so that a late one changes nothing of another's. The files of an
attempt become the job's in the transaction that completes the job. Folders with other names are not ours:
they are never touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import secrets
import shutil
import threading
import time
from pathlib import Path

from kinema.atomic_io import file_sha256, write_bytes
from kinema.errors import UserError
from kinema.pipeline.request import ImageInput, VideoRequest, resolve_path
from kinema.server.file_store import (
    SERVED_FILES,
    DamagedFileError,
    StoredResult,
)
from kinema.server.job import FileDigest, Job, JobCreate, JobSource, Labels, is_job_id

log = logging.getLogger("kinema.server")

_RECORD_FILE = "job.json"
_RESULT_FILE = "result.json"
ATTEMPT_PREFIX = "attempt-"
_OWN_NAME = re.compile(r"(video_[0-9a-f]{32})(\.incoming|\.deleted-[0-9a-f]{8})?")
_VERIFIED_FOR_S = 3600.0
"""A file that has not changed is read again after this time, to find what a disk has damaged."""


class LocalFileStore:
    """See `FileStore`.

    Args:
        data_dir: the data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._videos = data_dir / "videos"
        self._verified: dict[tuple[str, str], tuple[tuple[int, int, int], float]] = {}
        self._lock = threading.Lock()

    def open_incoming(self, job_id: str) -> Path:
        """See `FileStore.open_incoming`."""
        folder = self._own(job_id, ".incoming")
        folder.mkdir()
        return folder

    def keep_incoming(self, job: JobCreate) -> None:
        """See `FileStore.keep_incoming`."""
        folder = self._own(job.id, ".incoming")
        (folder / _RECORD_FILE).write_text(_record_json(job), encoding="utf-8")
        folder.rename(self._own(job.id))

    def write_record(self, job: JobCreate, *, created_at: int) -> None:
        """Write the record of a job that has none: an older version created it."""
        with contextlib.suppress(OSError, UserError):
            write_bytes(self._own(job.id) / _RECORD_FILE, _record_json(job, created_at=created_at).encode())

    def has_record(self, job_id: str) -> bool:
        """Whether there is a record of the job as it was submitted."""
        return (self._own(job_id) / _RECORD_FILE).exists()

    def job_dir(self, job_id: str) -> Path:
        """See `FileStore.job_dir`."""
        return self._own(job_id)

    def open_attempt(self, job_id: str, attempt: str) -> Path:
        """See `FileStore.open_attempt`."""
        folder = self._own(job_id) / f"{ATTEMPT_PREFIX}{attempt}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def path(self, job: Job, name: str) -> Path:
        """See `FileStore.path`. Jobs that version 0.2 completed have no attempt."""
        folder = self._own(job.id)
        return folder / f"{ATTEMPT_PREFIX}{job.attempt}" / name if job.attempt else folder / name

    def verified_path(self, job: Job, name: str) -> Path:
        """See `FileStore.verified_path`; the digest is computed once for each state of the file."""
        path = self.path(job, name)
        stat = path.stat()
        recorded = job.files.get(name)
        if recorded is None:
            return path  # Completed by version 0.2, which recorded no digests.
        key, state = (job.id, name), (stat.st_size, stat.st_mtime_ns, stat.st_ino)
        now = time.monotonic()
        seen = self._verified.get(key)
        if seen is not None and seen[0] == state and now - seen[1] < _VERIFIED_FOR_S:
            return path
        if stat.st_size != recorded.size or file_sha256(path) != recorded.sha256:
            log.error("%s of %s is damaged: its content is not the one that was generated", name, job.id)
            raise DamagedFileError(f"{name} of {job.id} is damaged")
        with self._lock:
            if len(self._verified) > 10_000:
                self._verified.clear()
            self._verified[key] = (state, now)
        return path

    def publish(self, job_id: str, attempt: str) -> dict[str, FileDigest]:
        """See `FileStore.publish`."""
        folder = self._own(job_id) / f"{ATTEMPT_PREFIX}{attempt}"
        digests = {}
        for name in SERVED_FILES:
            with (folder / name).open("rb+") as file:
                os.fsync(file.fileno())
            digests[name] = FileDigest(sha256=file_sha256(folder / name), size=(folder / name).stat().st_size)
        _sync_folder(folder)
        _sync_folder(folder.parent)
        return digests

    def write_result(self, job: Job) -> None:
        """See `FileStore.write_result`."""
        result = {
            "attempt": job.attempt,
            "files": {name: dataclasses.asdict(digest) for name, digest in job.files.items()},
        }
        write_bytes(self._own(job.id) / _RESULT_FILE, json.dumps(result).encode())

    def remove_result(self, job_id: str) -> None:
        """Forget the finished files of a job that is to be generated again."""
        (self._own(job_id) / _RESULT_FILE).unlink(missing_ok=True)

    def read_record(self, job_id: str) -> tuple[JobCreate, int] | None:
        """See `FileStore.read_record`."""
        try:
            values = json.loads((self._own(job_id) / _RECORD_FILE).read_text(encoding="utf-8"))
            created_at = int(values.pop("created_at"))
            request = VideoRequest.from_dict(values.pop("request"), source=_RECORD_FILE)
            labels = Labels.from_json(json.dumps(values.pop("labels")))
            sources = tuple(JobSource(**source) for source in values.pop("sources"))
            values["warnings"] = tuple(values["warnings"])
            job = JobCreate(request=request, labels=labels, sources=sources, **values)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, UserError):
            return None
        return (job, created_at) if job.id == job_id else None

    def read_result(self, job_id: str) -> StoredResult | None:
        """See `FileStore.read_result`."""
        try:
            values = json.loads((self._own(job_id) / _RESULT_FILE).read_text(encoding="utf-8"))
            attempt = str(values["attempt"])
            files = {name: FileDigest(**digest) for name, digest in values["files"].items()}
            folder = self._own(job_id) / f"{ATTEMPT_PREFIX}{attempt}"
            if set(files) != set(SERVED_FILES) or not attempt.isalnum():
                return None
            if any(file_sha256(folder / name) != digest.sha256 for name, digest in files.items()):
                return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return StoredResult(attempt=attempt, files=files)

    def remove_work(self, job: Job) -> None:
        """See `FileStore.remove_work`."""
        if job.status == "failed":
            self.remove_other_attempts(job.id, "")
            return
        folder, keep = self._own(job.id), {_RECORD_FILE, _RESULT_FILE}
        with contextlib.suppress(OSError):
            for path in folder.iterdir():
                if (
                    path.is_file()
                    and path.name not in keep
                    and (job.attempt or path.name not in SERVED_FILES)
                ):
                    path.unlink()
        if job.attempt:
            self.remove_other_attempts(job.id, job.attempt)
            with contextlib.suppress(OSError):
                for path in (folder / f"{ATTEMPT_PREFIX}{job.attempt}").iterdir():
                    if path.name not in SERVED_FILES:
                        path.unlink()

    def remove_other_attempts(self, job_id: str, attempt: str) -> None:
        """See `FileStore.remove_other_attempts`."""
        keep = f"{ATTEMPT_PREFIX}{attempt}"
        with contextlib.suppress(OSError):
            for path in self._own(job_id).iterdir():
                if path.name.startswith(ATTEMPT_PREFIX) and path.name != keep:
                    shutil.rmtree(path, ignore_errors=True)

    def fetch(self, job: Job) -> None:
        """See `FileStore.fetch`: everything is here."""

    def share(self, job_id: str, path: Path) -> None:
        """See `FileStore.share`: who uses the folder sees it."""

    def link(self, job: Job, name: str) -> str | None:
        """See `FileStore.link`: the server sends the file itself."""
        del job, name
        return None

    def remove_attempt(self, job_id: str, attempt: str) -> None:
        """See `FileStore.remove_attempt`."""
        shutil.rmtree(self._own(job_id) / f"{ATTEMPT_PREFIX}{attempt}", ignore_errors=True)

    def discard_incoming(self, job_id: str) -> None:
        """Remove the folder of a request that failed, whether its job was recorded or not."""
        for suffix in (".incoming", ""):
            with contextlib.suppress(OSError):
                shutil.rmtree(self._own(job_id, suffix))

    def delete(self, job_id: str, *, reason: str) -> bool:
        """See `FileStore.delete`. The folder is renamed first, so that nobody writes into it any more."""
        folder = self._own(job_id)
        deleted = self._own(job_id, f".deleted-{secrets.token_hex(4)}")
        try:
            folder.rename(deleted)
        except FileNotFoundError:
            return True
        except OSError as error:
            log.error("can't remove %s (%s): %s", folder, reason, error.strerror)
            return False
        log.info("removing %s (%s)", folder, reason)
        return _remove_tree(deleted)

    def list_ids(self) -> set[str]:
        """See `FileStore.list_ids`."""
        return {name for name in self._names() if is_job_id(name)}

    def list_files(self, job_id: str) -> list[tuple[str, int]]:
        """See `FileStore.list_files`."""
        folder = self._own(job_id)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return [(str(path.relative_to(folder)), path.stat().st_size) for path in paths]

    def remove_leftovers(self, *, min_age_s: float) -> None:
        """See `FileStore.remove_leftovers`."""
        newest = time.time() - min_age_s
        for name in self._names():
            match = _OWN_NAME.fullmatch(name)
            if match is None or match[2] is None:
                continue
            path = self._videos / name
            with contextlib.suppress(OSError):
                if match[2] != ".incoming" or path.stat().st_mtime <= newest:
                    log.info("removing %s (left over)", path)
                    _remove_tree(path)

    def free_bytes(self) -> int:
        """See `FileStore.free_bytes`."""
        return shutil.disk_usage(self._videos).free

    def used_bytes(self) -> int:
        """See `FileStore.used_bytes`."""
        total = 0
        for root, _, files in os.walk(self._videos):
            for name in files:
                with contextlib.suppress(OSError):
                    total += os.stat(os.path.join(root, name)).st_size
        return total

    def _names(self) -> list[str]:
        try:
            return sorted(os.listdir(self._videos))
        except OSError:
            return []

    def _own(self, job_id: str, suffix: str = "") -> Path:
        if not is_job_id(job_id):
            raise ValueError(f"{job_id!r} is not the id of a job")
        return self._videos / f"{job_id}{suffix}"


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


def input_bytes(folder: Path) -> int:
    """Size of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _record_json(job: JobCreate, *, created_at: int | None = None) -> str:
    values = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    values["request"] = job.request.to_dict()
    values["labels"] = dataclasses.asdict(job.labels)
    values["sources"] = [dataclasses.asdict(source) for source in job.sources]
    values["created_at"] = int(time.time()) if created_at is None else created_at
    return json.dumps(values)


def _remove_tree(path: Path) -> bool:
    """Remove a folder of ours. False: something in it stays, and a later start tries again."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        log.error("can't remove %s: %s", path, error.strerror)
        return False
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
