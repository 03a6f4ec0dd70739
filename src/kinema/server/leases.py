"""Queue operations of workers: register, claim a job, renew its lease, report progress, end it."""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import time

from kinema.models.formats.serialization import to_json
from kinema.server.database import Database
from kinema.server.job import Job, job_from_row
from kinema.server.model_info import ModelInfo

_HOLDS_LEASE = "id = :id AND worker_id = :worker_id AND status = 'in_progress'"


def register_worker(database: Database) -> str:
    """Register this process as a worker; its id."""
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO workers (id, host, pid, last_heartbeat_at) VALUES (?, ?, ?, ?)",
            (worker_id, socket.gethostname(), os.getpid(), time.time()),
        )
    return worker_id


def publish_model_info(database: Database, worker_id: str, model_info: ModelInfo) -> None:
    """Publish the model of a worker that is ready."""
    with database.transaction() as connection:
        connection.execute(
            "UPDATE workers SET model_info = ?, last_heartbeat_at = ? WHERE id = ?",
            (to_json(model_info), time.time(), worker_id),
        )


def unregister_worker(database: Database, worker_id: str) -> None:
    """A worker stops in good order: its job is free for the next one at once, and no attempt is counted."""
    with database.transaction() as connection:
        connection.execute(
            """UPDATE videos SET lease_expires_at = 0, worker_id = NULL, attempts = max(0, attempts - 1)
               WHERE worker_id = ? AND status = 'in_progress'""",
            (worker_id,),
        )
        _delete_worker(connection, worker_id)


def mark_worker_dead(database: Database, worker_id: str) -> None:
    """A worker died: its job is free for the next one at once."""
    with database.transaction() as connection:
        connection.execute(
            """UPDATE videos SET lease_expires_at = 0, worker_id = NULL
               WHERE worker_id = ? AND status = 'in_progress'""",
            (worker_id,),
        )
        _delete_worker(connection, worker_id)


def _delete_worker(connection: sqlite3.Connection, worker_id: str) -> None:
    # The last row with a model stays, so that a restarted server knows the model at once.
    connection.execute(
        """DELETE FROM workers WHERE id = :id AND (model_info IS NULL
               OR EXISTS (SELECT 1 FROM workers WHERE id <> :id AND model_info IS NOT NULL))""",
        {"id": worker_id},
    )
    connection.execute("UPDATE workers SET last_heartbeat_at = 0, pid = 0 WHERE id = ?", (worker_id,))


def heartbeat(database: Database, worker_id: str, lease_s: float) -> None:
    """Renew the lease of a worker's job for `lease_s` seconds."""
    now = time.time()
    with database.transaction() as connection:
        connection.execute("UPDATE workers SET last_heartbeat_at = ? WHERE id = ?", (now, worker_id))
        connection.execute(
            "UPDATE videos SET lease_expires_at = ? WHERE worker_id = ? AND status = 'in_progress'",
            (now + lease_s, worker_id),
        )


def claim_job(database: Database, worker_id: str, *, lease_s: float, max_attempts: int) -> Job | None:
    """Claim the next job: one whose worker died, else the oldest of the owner whose turn it is.

    A job that was started `max_attempts` times without a checkpoint is not claimed again; see
    `queue.fail_abandoned`.

    Args:
        database: the database.
        worker_id: the claiming worker.
        lease_s: how long the job is the worker's without a heartbeat, in seconds.
        max_attempts: starts without a checkpoint.
    """
    now = time.time()
    values: dict[str, object] = {
        "now": now,
        "worker_id": worker_id,
        "lease_expires_at": now + lease_s,
        "max_attempts": max_attempts,
    }
    if database.fetch_one(
        """SELECT 1 FROM videos WHERE status = 'queued'
           UNION ALL SELECT 1 FROM videos
           WHERE status = 'in_progress' AND lease_expires_at < :now AND attempts < :max_attempts LIMIT 1""",
        values,
    ) is None:  # fmt: skip
        return None
    with database.transaction() as connection:
        row = connection.execute(
            """UPDATE videos SET status = 'in_progress', worker_id = :worker_id,
                   lease_expires_at = :lease_expires_at, attempts = attempts + 1,
                   started_at = coalesce(started_at, :now), revision = revision + 1
               WHERE id = (
                   SELECT id FROM (
                       SELECT id, -1 AS turn FROM videos
                       WHERE status = 'in_progress' AND lease_expires_at < :now
                           AND attempts < :max_attempts
                       UNION ALL
                       SELECT min(videos.id), coalesce(owners.last_turn, 0)
                       FROM videos LEFT JOIN owners USING (owner)
                       WHERE status = 'queued' GROUP BY videos.owner
                   ) ORDER BY turn, id LIMIT 1)
               RETURNING *""",
            values,
        ).fetchone()
        if row is None:
            return None
        connection.execute(
            """INSERT INTO owners (owner, last_turn)
               SELECT :owner, coalesce(max(last_turn), 0) + 1 FROM owners WHERE true
               ON CONFLICT (owner) DO UPDATE SET last_turn = excluded.last_turn""",
            {"owner": row["owner"]},
        )
        return job_from_row(row)


def update_progress(
    database: Database,
    worker_id: str,
    job_id: str,
    *,
    progress: int,
    stage: str,
    step: int,
    total_steps: int,
    preview_count: int,
) -> bool:
    """Report the progress of a job.

    Args:
        database: the database.
        worker_id: who reports.
        job_id: of the job.
        progress: in percent; a lower value than before is ignored, and 100 is kept for the end.
        stage: of the generation.
        step: solver steps that are done.
        total_steps: of the solver.
        preview_count: previews written so far.

    Returns:
        False where the job is no longer this worker's: cancelled, deleted or taken over.
    """
    with database.transaction() as connection:
        cursor = connection.execute(
            f"""UPDATE videos SET progress = max(progress, :progress), stage = :stage, step = :step,
                   total_steps = :total_steps, preview_count = :preview_count, revision = revision + 1
                WHERE {_HOLDS_LEASE}""",
            {
                "id": job_id,
                "worker_id": worker_id,
                "progress": min(99, progress),
                "stage": stage,
                "step": step,
                "total_steps": total_steps,
                "preview_count": preview_count,
            },
        )
        return cursor.rowcount == 1


def mark_checkpointed(database: Database, worker_id: str, job_id: str) -> bool:
    """A checkpoint is saved: earlier attempts no longer count. False: no longer this worker's."""
    with database.transaction() as connection:
        cursor = connection.execute(
            f"UPDATE videos SET attempts = 1 WHERE {_HOLDS_LEASE}", {"id": job_id, "worker_id": worker_id}
        )
        return cursor.rowcount == 1


def complete_job(database: Database, worker_id: str, job_id: str, *, retention_s: float) -> bool:
    """Complete a job; False where it is no longer this worker's. The video expires after `retention_s`."""
    now = int(time.time())
    with database.transaction() as connection:
        cursor = connection.execute(
            f"""UPDATE videos SET status = 'completed', progress = 100, completed_at = :now,
                   worker_id = NULL, expires_at = :expires_at, revision = revision + 1
                WHERE {_HOLDS_LEASE}""",
            {"id": job_id, "worker_id": worker_id, "now": now, "expires_at": int(now + retention_s)},
        )
        return cursor.rowcount == 1


def fail_job(
    database: Database, worker_id: str, job_id: str, *, code: str, message: str, retention_s: float
) -> bool:
    """Fail a job; False where it is no longer this worker's. The row is deleted after `retention_s`."""
    with database.transaction() as connection:
        cursor = connection.execute(
            f"""UPDATE videos SET status = 'failed', error_code = :code, error_message = :message,
                   worker_id = NULL, expires_at = :expires_at, revision = revision + 1
                WHERE {_HOLDS_LEASE}""",
            {
                "id": job_id,
                "worker_id": worker_id,
                "code": code,
                "message": message,
                "expires_at": int(time.time() + retention_s),
            },
        )
        return cursor.rowcount == 1


def holds_lease(database: Database, worker_id: str, job_id: str) -> bool:
    """Whether the job is still this worker's."""
    return (
        database.fetch_one(
            f"SELECT 1 FROM videos WHERE {_HOLDS_LEASE}", {"id": job_id, "worker_id": worker_id}
        )
        is not None
    )
