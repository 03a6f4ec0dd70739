"""Checks of the stored videos against the digests that were recorded when they were completed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from kinema.atomic_io import file_sha256
from kinema.server.file_store import FileStore
from kinema.server.job import Job
from kinema.server.job_store import JobFilter, JobStore, StoreBusyError

log = logging.getLogger("kinema.server")

_PAGE = 200
_BYTES_PER_S = 20 * 2**20
"""Reading rate of the scrubber, low enough that workers and downloads do not wait."""
_ROUND_INTERVAL_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A file that is not the one that was recorded.

    Attributes:
        job_id: of the video.
        file_name: in its folder.
        problem: missing, or damaged.
    """

    job_id: str
    file_name: str
    problem: str


def completed_jobs(store: JobStore) -> Iterator[Job]:
    """All completed jobs, oldest first."""
    after = None
    while True:
        page = store.list_jobs(JobFilter(status="completed"), after=after, limit=_PAGE, newest_first=False)
        yield from page.jobs
        if not page.has_more:
            return
        after = page.jobs[-1].id


def check_job(store: JobStore, files: FileStore, job: Job) -> list[Finding]:
    """Compare the files of a completed job with their digests, and record the result in its row."""
    findings = []
    for name, recorded in sorted(job.files.items()):
        path = files.path(job, name)
        try:
            problem = "" if file_sha256(path) == recorded.sha256 else "damaged"
        except FileNotFoundError:
            problem = "missing"
        except OSError as error:
            problem = f"can't be read ({error.strerror})"
        if problem:
            findings.append(Finding(job_id=job.id, file_name=name, problem=problem))
    if findings and store.get(job.id, owner=None) is None:
        return []  # It was deleted in the meantime.
    store.set_damage(job.id, "; ".join(f"{finding.file_name} is {finding.problem}" for finding in findings))
    return findings


class Scrubber:
    """A thread that checks all stored videos again and again."""

    def __init__(self, store: JobStore, files: FileStore, *, bytes_per_s: float = _BYTES_PER_S) -> None:
        self._store, self._files, self._bytes_per_s = store, files, bytes_per_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="scrubber")
        self.rounds = 0
        """How many times all videos were checked."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current video."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                for job in completed_jobs(self._store):
                    for finding in check_job(self._store, self._files, job):
                        log.error("%s of %s is %s", finding.file_name, finding.job_id, finding.problem)
                    if self._stop.wait(job.file_bytes / self._bytes_per_s):
                        return
            except StoreBusyError as error:
                log.warning("scrubber: %s", error)
            self.rounds += 1
            self._stop.wait(_ROUND_INTERVAL_S)
