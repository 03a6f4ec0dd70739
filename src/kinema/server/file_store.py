"""Where inputs and finished files of jobs are: the interface of all stores, and the names of the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kinema.server.job import FileDigest, Job, JobCreate

VIDEO_FILE = "video.mp4"
THUMBNAIL_FILE = "thumbnail.webp"
SPRITESHEET_FILE = "spritesheet.jpg"
PREVIEW_FILE = "preview.webp"
UNFINISHED_VIDEO_FILE = "unfinished.mp4"
SERVED_FILES = (VIDEO_FILE, THUMBNAIL_FILE, SPRITESHEET_FILE)


class DamagedFileError(Exception):
    """A file is not the one that was recorded when its job was completed."""


@dataclass(frozen=True, kw_only=True)
class StoredResult:
    """A `result.json`.

    Attributes:
        attempt: whose files they are.
        files: digests by name.
    """

    attempt: str
    files: dict[str, FileDigest]


class FileStore(Protocol):
    """Where inputs and finished files are. Paths are local; a remote store keeps a local copy of them."""

    def open_incoming(self, job_id: str) -> Path:
        """A new folder for the inputs of a request that is being received."""
        ...

    def keep_incoming(self, job: JobCreate) -> None:
        """The request is complete: its folder becomes the job's, with a record of the job."""
        ...

    def job_dir(self, job_id: str) -> Path:
        """The folder of the inputs."""
        ...

    def open_attempt(self, job_id: str, attempt: str) -> Path:
        """The folder of an attempt's files; it is created if necessary."""
        ...

    def path(self, job: Job, name: str) -> Path:
        """A file of the job's attempt, which may not exist."""
        ...

    def verified_path(self, job: Job, name: str) -> Path:
        """A file of a completed job whose content is the recorded one.

        Raises:
            FileNotFoundError: it does not exist.
            DamagedFileError: it has another content.
        """
        ...

    def publish(self, job_id: str, attempt: str) -> dict[str, FileDigest]:
        """Bring an attempt's finished files to the disk; their digests by name."""
        ...

    def write_result(self, job: Job) -> None:
        """Record which attempt's files are the completed job's."""
        ...

    def read_record(self, job_id: str) -> tuple[JobCreate, int] | None:
        """The job as it was submitted and the time; None: there is no record that can be read."""
        ...

    def read_result(self, job_id: str) -> StoredResult | None:
        """The finished files, if all are there with the recorded content."""
        ...

    def write_record(self, job: JobCreate, *, created_at: int) -> None:
        """Write the record of a job that has none: an older version created it."""
        ...

    def has_record(self, job_id: str) -> bool:
        """Whether there is a record of the job as it was submitted."""
        ...

    def remove_result(self, job_id: str) -> None:
        """Forget the finished files of a job that is to be generated again."""
        ...

    def discard_incoming(self, job_id: str) -> None:
        """Remove the folder of a request that failed, whether its job was recorded or not."""
        ...

    def fetch(self, job: Job) -> None:
        """Bring the inputs and the checkpoint of a job to this machine."""
        ...

    def share(self, job_id: str, path: Path) -> None:
        """Make a checkpoint or preview of an attempt readable by other machines."""
        ...

    def link(self, job: Job, name: str) -> str | None:
        """A URL at which the file can be downloaded for some minutes; None: this store has none.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        ...

    def remove_work(self, job: Job) -> None:
        """Remove what a finished job no longer needs. The inputs of a failed job stay, for a retry."""
        ...

    def remove_other_attempts(self, job_id: str, attempt: str) -> None:
        """Remove the files of all attempts but one."""
        ...

    def remove_attempt(self, job_id: str, attempt: str) -> None:
        """Remove the files of an attempt that has lost its job."""
        ...

    def delete(self, job_id: str, *, reason: str) -> bool:
        """Remove everything of a job, and log it; False: it could not be removed."""
        ...

    def list_ids(self) -> set[str]:
        """Ids of the jobs that have a folder."""
        ...

    def list_files(self, job_id: str) -> list[tuple[str, int]]:
        """Names and sizes in bytes of a job's files, in order."""
        ...

    def remove_leftovers(self, *, min_age_s: float) -> None:
        """Remove folders of requests that were never complete, and the rest of interrupted deletions."""
        ...

    def free_bytes(self) -> int:
        """Free space."""
        ...

    def used_bytes(self) -> int:
        """Size of all files."""
        ...
