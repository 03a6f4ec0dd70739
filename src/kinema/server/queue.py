"""Queue operations of the server: enqueue, find, list, cancel, delete and expire jobs."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinema.models.formats.serialization import from_json
from kinema.pipeline.request import VideoRequest
from kinema.server.database import Database
from kinema.server.job import Job, job_from_row
from kinema.server.model_info import ModelInfo

if TYPE_CHECKING:
    from kinema.server.settings import Limits

ID_PREFIX = "video_"
_UNFINISHED = "status IN ('queued', 'in_progress')"


class QueueFullError(Exception):
    """The maximum number of jobs is waiting."""


class IdempotencyConflictError(Exception):
    """The Idempotency-Key was used before, with a different request."""


@dataclass(frozen=True, kw_only=True)
class JobCreate:
    """A new job.

    Attributes:
        id: of `new_id`.
        owner: who submits it.
        model, size, seconds, prompt: what the API reports.
        request: what is generated; file inputs are file names in the job's folder.
        remixed_from: id of the video that this one is derived from.
        idempotency_key: of the HTTP request.
        request_hash: hash of the HTTP request, if it has a key.
    """

    id: str
    owner: str
    model: str
    size: str
    seconds: str
    prompt: str
    request: VideoRequest
    remixed_from: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None


def new_id() -> str:
    """A random identifier that sorts after all earlier ones.

    Pages of a list are addressed by it, so that deletions while a client reads pages shift nothing.
    """
    return f"{ID_PREFIX}{time.time_ns():016x}{secrets.token_hex(8)}"


def is_job_id(text: str) -> bool:
    """Whether the text is well-formed as an identifier; folder names are built from it."""
    digits = text.removeprefix(ID_PREFIX)
    return (
        len(text) == len(ID_PREFIX) + 32
        and len(digits) == 32
        and all(c in "0123456789abcdef" for c in digits)
    )


EnqueueResult = tuple[Job, bool] | Exception
"""The job and whether it is new, or the reason why there is none."""


def enqueue(database: Database, jobs: list[JobCreate], limits: Limits) -> list[EnqueueResult]:
    """Add jobs to the queue in one transaction.

    Returns:
        For each job the job and True; with a repeated Idempotency-Key the earlier job and False;
        QueueFullError where the maximum number is waiting, of this owner or of all; IdempotencyConflictError
        where the key was used with a different request.
    """
    results: list[EnqueueResult] = []
    with database.transaction() as connection:
        for job in jobs:
            try:
                results.append(_insert_job(connection, job, limits))
            except (QueueFullError, IdempotencyConflictError) as error:
                results.append(error)
    return results


def _insert_job(connection: sqlite3.Connection, job: JobCreate, limits: Limits) -> tuple[Job, bool]:
    if job.idempotency_key is not None:
        row = connection.execute(
            "SELECT * FROM videos WHERE owner = ? AND idempotency_key = ?", (job.owner, job.idempotency_key)
        ).fetchone()
        if row is not None:
            if row["request_hash"] != job.request_hash:
                raise IdempotencyConflictError
            return job_from_row(row), False
    queued = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE owner = ?) FROM videos WHERE status = 'queued'",
        (job.owner,),
    ).fetchone()
    if queued[0] >= limits.max_queued or queued[1] >= limits.max_queued_per_owner:
        raise QueueFullError
    row = connection.execute(
        """INSERT INTO videos
               (id, owner, model, size, seconds, prompt, remixed_from, request_json, created_at,
                idempotency_key, request_hash)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *""",
        (
            job.id,
            job.owner,
            job.model,
            job.size,
            job.seconds,
            job.prompt,
            job.remixed_from,
            json.dumps(job.request.to_dict()),
            int(time.time()),
            job.idempotency_key,
            job.request_hash,
        ),
    ).fetchone()
    return job_from_row(row), True


def get_job(database: Database, owner: str, job_id: str) -> Job | None:
    """The owner's job with that id."""
    row = database.fetch_one(
        "SELECT * FROM videos WHERE id = :id AND owner = :owner", {"id": job_id, "owner": owner}
    )
    return None if row is None else job_from_row(row)


def list_page(
    database: Database, owner: str, *, after: str | None, limit: int, newest_first: bool
) -> tuple[list[Job], bool]:
    """A page of the owner's jobs, and whether more follow.

    Args:
        database: the database.
        owner: whose jobs.
        after: the last id of the page before; None: the first page.
        limit: the most jobs of the page.
        newest_first: the order.
    """
    comparison, direction = ("<", "DESC") if newest_first else (">", "ASC")
    bound = "" if after is None else f"AND id {comparison} :after"
    rows = database.fetch_all(
        f"SELECT * FROM videos WHERE owner = :owner {bound} ORDER BY id {direction} LIMIT :limit",
        {"owner": owner, "after": after, "limit": limit + 1},
    )
    return [job_from_row(row) for row in rows[:limit]], len(rows) > limit


def cancel(database: Database, owner: str, job_id: str) -> bool:
    """Cancel an unfinished job; its worker stops at its next progress report. False: it was finished."""
    with database.transaction() as connection:
        failed = _fail_matching(
            connection,
            "id = :id AND owner = :owner",
            "cancelled",
            "The video was cancelled.",
            {"id": job_id, "owner": owner},
        )
        return failed == [job_id]


def delete(database: Database, owner: str, job_id: str) -> bool:
    """Delete a job; False if there is none. Its worker stops at its next progress report."""
    with database.transaction() as connection:
        cursor = connection.execute("DELETE FROM videos WHERE id = ? AND owner = ?", (job_id, owner))
        return cursor.rowcount == 1


def delete_expired(database: Database) -> list[str]:
    """Delete expired jobs; their ids."""
    with database.transaction() as connection:
        rows = connection.execute(
            "DELETE FROM videos WHERE expires_at < ? RETURNING id", (time.time(),)
        ).fetchall()
        connection.execute("DELETE FROM events WHERE created_at < ?", (time.time() - 3 * 86400,))
    return [row["id"] for row in rows]


def fail_overdue(database: Database, timeout_s: float, *, retention_s: float) -> list[str]:
    """Fail jobs that run longer than `timeout_s` seconds; their ids."""
    with database.transaction() as connection:
        return _fail_matching(
            connection,
            "status = 'in_progress' AND started_at < :before",
            "time_limit",
            f"The video took longer than the {timeout_s:g} seconds allowed here; request fewer steps, a "
            "smaller size or a shorter video.",
            {"before": time.time() - timeout_s, "retention_s": retention_s},
        )


def fail_abandoned(database: Database, max_attempts: int, *, retention_s: float) -> list[str]:
    """Fail jobs that were started `max_attempts` times without a checkpoint; their ids."""
    with database.transaction() as connection:
        return _fail_matching(
            connection,
            "status = 'in_progress' AND lease_expires_at < :now AND attempts >= :max_attempts",
            "worker_lost",
            f"The worker process of this video died {max_attempts} times at the same point; the video may "
            "need more memory than there is. Request a smaller or shorter video.",
            {"max_attempts": max_attempts, "retention_s": retention_s},
        )


def _fail_matching(
    connection: sqlite3.Connection, condition: str, code: str, message: str, parameters: dict[str, object]
) -> list[str]:
    now = time.time()
    rows = connection.execute(
        f"""UPDATE videos SET status = 'failed', error_code = :code, error_message = :message,
                completed_at = NULL, expires_at = CAST(:now + :retention_s AS INTEGER), worker_id = NULL,
                revision = revision + 1
            WHERE {condition} AND {_UNFINISHED} RETURNING id""",
        {"retention_s": 86400.0, **parameters, "code": code, "message": message, "now": now},
    ).fetchall()
    return [row["id"] for row in rows]


def list_failed(database: Database) -> list[str]:
    """Ids of the failed jobs."""
    return [row["id"] for row in database.fetch_all("SELECT id FROM videos WHERE status = 'failed'", {})]


def existing_ids(database: Database, job_ids: list[str]) -> set[str]:
    """Those of the ids that are in the database."""
    return {
        job_id
        for job_id in job_ids
        if database.fetch_one("SELECT 1 FROM videos WHERE id = :id", {"id": job_id}) is not None
    }


def count_by_status(database: Database) -> dict[str, int]:
    """Number of jobs with each status."""
    rows = database.fetch_all("SELECT status, count(*) AS number FROM videos GROUP BY status", {})
    return dict.fromkeys(("queued", "in_progress", "completed", "failed"), 0) | {
        row["status"]: row["number"] for row in rows
    }


def latest_model_info(database: Database) -> ModelInfo | None:
    """The model that a worker published last; None before the first one is loaded."""
    row = database.fetch_one(
        "SELECT model_info FROM workers WHERE model_info IS NOT NULL ORDER BY last_heartbeat_at DESC LIMIT 1",
        {},
    )
    if row is None:
        return None
    return from_json(ModelInfo, row["model_info"], source="a worker's model in the database")
