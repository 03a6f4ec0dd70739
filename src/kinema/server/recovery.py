"""Makes the rows of a data folder agree with its files, at each start and after a restore.

Each acknowledged job has a folder with a record of what was submitted, and each completed one a record of its
result. They are the second copy of what matters: with them a database that is lost, that lost its last
transactions, or that is an old backup, neither loses a job nor generates a finished one again.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from kinema.errors import UserError
from kinema.server.file_store import FileStore
from kinema.server.job import Job, JobCreate, created_s
from kinema.server.job_store import JobFilter, JobStore

log = logging.getLogger("kinema.server")

_PAGE = 500


@dataclass(kw_only=True)
class RecoveryReport:
    """What was done.

    Attributes:
        adopted: jobs whose row was lost.
        completed: jobs that the database did not know to be completed.
        removed: rows of jobs that were deleted after the backup.
        unknown: folders without a record, which stay as they are.
    """

    adopted: int = 0
    completed: int = 0
    removed: int = 0
    unknown: int = 0


def reconcile(
    store: JobStore,
    files: FileStore,
    *,
    retention_s: float,
    remove_missing: bool = False,
    min_age_s: float = 0,
) -> RecoveryReport:
    """Adopt folders without rows, and results that rows do not know.

    Args:
        store: the job store.
        files: the files of the jobs.
        retention_s: how long an adopted video is kept.
        remove_missing: remove rows without a folder: the database is older than the folder of videos.
        min_age_s: folders of younger jobs without a row may belong to requests that another server receives;
            0: no other server or worker is running.
    """
    report = RecoveryReport()
    known, folders = store.all_ids(), files.list_ids()
    newest = time.time() - min_age_s
    for job_id in sorted(folders - known):
        if min_age_s and created_s(job_id) > newest:
            continue
        record = files.read_record(job_id)
        if record is None:
            report.unknown += 1
            continue
        create, created_at = record
        if store.adopt(create, created_at=created_at) is not None:
            log.warning("%s was not in the database; its folder is adopted", job_id)
            report.adopted += 1
    for job in _all_jobs(store):
        if job.id not in folders:
            if remove_missing:
                log.warning("removing the row of %s: its folder was deleted after the backup", job.id)
                store.remove([job.id])
                report.removed += 1
            continue
        _write_missing_record(files, job)
        result = None if job.is_finished else files.read_result(job.id)
        if result is not None and store.adopt_result(
            job.id, result.attempt, files=result.files, retention_s=retention_s
        ):
            log.warning("%s was not completed in the database; its finished files are adopted", job.id)
            report.completed += 1
    if report.unknown:
        log.warning(
            "%d folders of videos are not in the database and have no record; they stay as they are",
            report.unknown,
        )
    return report


def _all_jobs(store: JobStore) -> list[Job]:
    jobs: list[Job] = []
    for deleted in (False, True):
        after = None
        while True:
            page = store.list_jobs(JobFilter(deleted=deleted), after=after, limit=_PAGE, newest_first=False)
            jobs += page.jobs
            if not page.has_more:
                break
            after = page.jobs[-1].id
    return jobs


def _write_missing_record(files: FileStore, job: Job) -> None:
    """Jobs of version 0.2 have no record."""
    if files.has_record(job.id):
        return
    try:
        create = JobCreate(
            id=job.id, owner=job.owner, model=job.model, size=job.size, seconds=job.seconds,
            prompt=job.prompt, request=job.request, served_model=job.served_model,
            remixed_from=job.remixed_from, idempotency_key=job.idempotency_key,
            request_hash=job.request_hash, webhook_url=job.webhook_url, labels=job.labels,
        )  # fmt: skip
    except UserError:  # Another version wrote the request.
        return
    files.write_record(create, created_at=job.created_at)
