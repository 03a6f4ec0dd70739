"""What workers do with films in the store: claim one, hold it, say how far it is, end it."""

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

_LEASE_HELD = "id = :id AND worker = :worker AND status = 'in_progress'"


def register_worker(database: Database) -> str:
    """A worker begins; its name."""
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    with database.transaction() as base:
        base.execute(
            "INSERT INTO workers (id, host, pid, beat) VALUES (?, ?, ?, ?)",
            (name, socket.gethostname(), os.getpid(), time.time()),
        )
    return name


def publish_model_info(database: Database, worker_id: str, model_info: ModelInfo) -> None:
    """The worker is ready, and says what it can make."""
    with database.transaction() as base:
        base.execute(
            "UPDATE workers SET served = ?, beat = ? WHERE id = ?",
            (to_json(model_info), time.time(), worker_id),
        )


def unregister_worker(database: Database, worker_id: str) -> None:
    """The worker ends, in good order: a film it held goes to the next one at once and no try is counted."""
    with database.transaction() as base:
        base.execute(
            """UPDATE videos SET lease = 0, worker = NULL, tries = max(0, tries - 1)
               WHERE worker = ? AND status = 'in_progress'""",
            (worker_id,),
        )
        _delete_worker(base, worker_id)


def mark_worker_dead(database: Database, worker_id: str) -> None:
    """The worker died: a film it held goes to the next one at once."""
    with database.transaction() as base:
        base.execute(
            "UPDATE videos SET lease = 0, worker = NULL WHERE worker = ? AND status = 'in_progress'",
            (worker_id,),
        )
        _delete_worker(base, worker_id)


def _delete_worker(connection: sqlite3.Connection, worker_id: str) -> None:
    # The last one to say what the model can do stays, so that a restarted server knows it at once.
    connection.execute(
        """DELETE FROM workers WHERE id = :id AND (served IS NULL
               OR EXISTS (SELECT 1 FROM workers WHERE id <> :id AND served IS NOT NULL))""",
        {"id": worker_id},
    )
    connection.execute("UPDATE workers SET beat = 0, pid = 0 WHERE id = ?", (worker_id,))


def heartbeat(database: Database, worker_id: str, lease_s: float) -> None:
    """The worker lives, and holds its film for `lease_s` seconds more."""
    now = time.time()
    with database.transaction() as base:
        base.execute("UPDATE workers SET beat = ? WHERE id = ?", (now, worker_id))
        base.execute(
            "UPDATE videos SET lease = ? WHERE worker = ? AND status = 'in_progress'",
            (now + lease_s, worker_id),
        )


def claim_job(database: Database, worker_id: str, *, lease_s: float, max_attempts: int) -> Job | None:
    """The film to make next: one that a dead worker left, else that of the owner whose turn it is.

    One that was begun `max_attempts` times without getting on kills whoever takes it; see `jobs.abandon`.
    """
    now = time.time()
    values: dict[str, object] = {
        "now": now,
        "worker": worker_id,
        "lease": now + lease_s,
        "tries": max_attempts,
    }
    if database.fetch_one(
        """SELECT 1 FROM videos WHERE status = 'queued'
           UNION ALL SELECT 1 FROM videos
           WHERE status = 'in_progress' AND lease < :now AND tries < :tries LIMIT 1""",
        values,
    ) is None:  # fmt: skip
        return None
    with database.transaction() as base:
        row = base.execute(
            """UPDATE videos SET status = 'in_progress', worker = :worker, lease = :lease, tries = tries + 1,
                   started_at = coalesce(started_at, :now), change = change + 1
               WHERE id = (
                   SELECT id FROM (
                       SELECT id, -1 AS turn FROM videos
                       WHERE status = 'in_progress' AND lease < :now AND tries < :tries
                       UNION ALL
                       SELECT min(videos.id), coalesce(owners.turn, 0)
                       FROM videos LEFT JOIN owners USING (owner)
                       WHERE status = 'queued' GROUP BY videos.owner
                   ) ORDER BY turn, id LIMIT 1)
               RETURNING *""",
            values,
        ).fetchone()
        if row is None:
            return None
        base.execute(
            """INSERT INTO owners (owner, turn)
               SELECT :owner, coalesce(max(turn), 0) + 1 FROM owners WHERE true
               ON CONFLICT (owner) DO UPDATE SET turn = excluded.turn""",
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
    """Say how far the film is; False where it is no longer this worker's: cancelled, deleted, taken over."""
    with database.transaction() as base:
        done = base.execute(
            f"""UPDATE videos SET progress = max(progress, :progress), stage = :stage, step = :step,
                   steps = :steps, preview = :preview, change = change + 1 WHERE {_LEASE_HELD}""",
            {
                "id": job_id,
                "worker": worker_id,
                "progress": min(99, progress),
                "stage": stage,
                "step": step,
                "steps": total_steps,
                "preview": preview_count,
            },
        )
        return done.rowcount == 1


def mark_checkpointed(database: Database, worker_id: str, job_id: str) -> bool:
    """The film got on: its state is saved, and what it took to come here counts no more."""
    with database.transaction() as base:
        done = base.execute(
            f"UPDATE videos SET tries = 1 WHERE {_LEASE_HELD}", {"id": job_id, "worker": worker_id}
        )
        return done.rowcount == 1


def complete_job(database: Database, worker_id: str, job_id: str, *, retention_s: float) -> bool:
    """The film is there; False where it is no longer this worker's."""
    now = int(time.time())
    with database.transaction() as base:
        done = base.execute(
            f"""UPDATE videos SET status = 'completed', progress = 100, completed_at = :now, worker = NULL,
                   expires_at = :expires, change = change + 1 WHERE {_LEASE_HELD}""",
            {"id": job_id, "worker": worker_id, "now": now, "expires": int(now + retention_s)},
        )
        return done.rowcount == 1


def fail_job(
    database: Database, worker_id: str, job_id: str, *, code: str, message: str, retention_s: float
) -> bool:
    """The film can't be made; False where it is no longer this worker's."""
    with database.transaction() as base:
        done = base.execute(
            f"""UPDATE videos SET status = 'failed', error_code = :code, error_message = :message,
                   worker = NULL, expires_at = :expires, change = change + 1 WHERE {_LEASE_HELD}""",
            {
                "id": job_id,
                "worker": worker_id,
                "code": code,
                "message": message,
                "expires": int(time.time() + retention_s),
            },
        )
        return done.rowcount == 1


def holds_lease(database: Database, worker_id: str, job_id: str) -> bool:
    """Whether the film is still this worker's."""
    return (
        database.fetch_one(f"SELECT 1 FROM videos WHERE {_LEASE_HELD}", {"id": job_id, "worker": worker_id})
        is not None
    )
