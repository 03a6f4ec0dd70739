"""What the server does with films in the store: take, find, list, cancel, delete, expire."""

from __future__ import annotations

import secrets
import sqlite3
import time
from dataclasses import dataclass

from kinema.models.formats.serialization import to_json
from kinema.server.database import Database
from kinema.server.job import Job, job_from_row
from kinema.server.job_spec import JobSpec
from kinema.server.model_info import ModelInfo
from kinema.server.settings import Limits

ID_PREFIX = "video_"
_UNFINISHED = "status IN ('queued', 'in_progress')"


class QueueFull(Exception):  # noqa: N818 - a state of the queue that is answered with 429, no failure
    """As many films wait as may."""


class IdempotencyConflict(Exception):  # noqa: N818 - as above, 400
    """The Idempotency-Key came before, with another request."""


@dataclass(frozen=True, kw_only=True)
class JobCreate:
    """A film somebody asks for, and what they are told of it."""

    id: str
    owner: str
    model: str
    size: str
    seconds: str
    spec: JobSpec
    remixed_from: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None


def new_id() -> str:
    """An identifier that nobody can guess, and that sorts after those made before it.

    Pages of a list go by it, so that a film deleted while somebody reads the list moves no other.
    """
    return f"{ID_PREFIX}{time.time_ns():016x}{secrets.token_hex(8)}"


def is_job_id(text: str) -> bool:
    """Whether it can be an identifier at all; names of folders are made of it."""
    digits = text.removeprefix(ID_PREFIX)
    return (
        len(text) == len(ID_PREFIX) + 32
        and len(digits) == 32
        and all(c in "0123456789abcdef" for c in digits)
    )


EnqueueResult = tuple[Job, bool] | Exception
"""A film and whether it is new, or why there is none."""


def enqueue_many(database: Database, jobs: list[JobCreate], limits: Limits) -> list[EnqueueResult]:
    """Put films into the queue in one transaction, and say for each how it went."""
    answers: list[EnqueueResult] = []
    with database.transaction() as base:
        for order in jobs:
            try:
                answers.append(_insert_job(base, order, limits))
            except (QueueFull, IdempotencyConflict) as error:
                answers.append(error)
    return answers


def enqueue(database: Database, job: JobCreate, limits: Limits) -> tuple[Job, bool]:
    """Put a film into the queue; whether it is new, or the one taken before under the same Idempotency-Key.

    Raises:
        QueueFull: as many wait as may, of this owner or of all.
        Repeated: the Idempotency-Key came before with another request.
    """
    with database.transaction() as base:
        return _insert_job(base, job, limits)


def _insert_job(connection: sqlite3.Connection, job: JobCreate, limits: Limits) -> tuple[Job, bool]:
    if job.idempotency_key is not None:
        row = connection.execute(
            "SELECT * FROM videos WHERE owner = ? AND repeat_key = ?", (job.owner, job.idempotency_key)
        ).fetchone()
        if row is not None:
            if row["repeat_body"] != job.request_hash:
                raise IdempotencyConflict
            return job_from_row(row), False
    waiting = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE owner = ?) FROM videos WHERE status = 'queued'",
        (job.owner,),
    ).fetchone()
    if waiting[0] >= limits.max_queued or waiting[1] >= limits.max_queued_per_owner:
        raise QueueFull
    row = connection.execute(
        """INSERT INTO videos
               (id, owner, model, size, seconds, prompt, remixed_from, wanted, created_at,
                repeat_key, repeat_body)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *""",
        (
            job.id,
            job.owner,
            job.model,
            job.size,
            job.seconds,
            job.spec.prompt,
            job.remixed_from,
            to_json(job.spec),
            int(time.time()),
            job.idempotency_key,
            job.request_hash,
        ),
    ).fetchone()
    return job_from_row(row), True


def get_job(database: Database, owner: str, job_id: str) -> Job | None:
    """The owner's film of that name."""
    row = database.fetch_one(
        "SELECT * FROM videos WHERE id = :id AND owner = :owner", {"id": job_id, "owner": owner}
    )
    return None if row is None else job_from_row(row)


def list_page(
    database: Database, owner: str, *, after: str | None, limit: int, newest_first: bool
) -> tuple[list[Job], bool]:
    """Some of the owner's films, and whether more follow."""
    beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
    bound = "" if after is None else f"AND id {beyond} :after"
    rows = database.fetch_all(
        f"SELECT * FROM videos WHERE owner = :owner {bound} ORDER BY id {order} LIMIT :limit",
        {"owner": owner, "after": after, "limit": limit + 1},
    )
    return [job_from_row(row) for row in rows[:limit]], len(rows) > limit


def cancel(database: Database, owner: str, job_id: str) -> bool:
    """End a film that is not ended; its worker stops when it next looks. False if it was ended before."""
    with database.transaction() as base:
        return _fail_matching(base, "id = :id AND owner = :owner", "cancelled", "The film was cancelled.",
                     {"id": job_id, "owner": owner}) == [job_id]  # fmt: skip


def delete(database: Database, owner: str, job_id: str) -> bool:
    """Forget a film; False if there is none. Its worker stops when it next looks."""
    with database.transaction() as base:
        done = base.execute("DELETE FROM videos WHERE id = ? AND owner = ?", (job_id, owner))
        return done.rowcount == 1


def delete_expired(database: Database) -> list[str]:
    """Forget the films whose time is over, and say which."""
    with database.transaction() as base:
        rows = base.execute("DELETE FROM videos WHERE expires_at < ? RETURNING id", (time.time(),)).fetchall()
        base.execute("DELETE FROM events WHERE created_at < ?", (time.time() - 3 * 86400,))
    return [row["id"] for row in rows]


def fail_overdue(database: Database, timeout_s: float, *, retention_s: float) -> list[str]:
    """End the films that take longer than allowed, and say which."""
    with database.transaction() as base:
        return _fail_matching(
            base,
            "status = 'in_progress' AND started_at < :before",
            "time_limit",
            f"The film took longer than the {timeout_s:g} seconds allowed here; ask for fewer steps, a smaller "
            "size or a shorter film.",
            {"before": time.time() - timeout_s, "keep": retention_s},
        )


def fail_abandoned(database: Database, max_attempts: int, *, retention_s: float) -> list[str]:
    """End the films that were begun `max_attempts` times without getting on, and say which: they kill workers."""
    with database.transaction() as base:
        return _fail_matching(
            base,
            "status = 'in_progress' AND lease < :lapsed AND tries >= :tries",
            "worker_lost",
            f"The process that made this film died {max_attempts} times at the same place; it may need more memory "
            "than there is. Ask for a smaller or shorter film.",
            {"lapsed": time.time(), "tries": max_attempts, "keep": retention_s},
        )


def _fail_matching(
    connection: sqlite3.Connection, condition: str, code: str, message: str, parameters: dict[str, object]
) -> list[str]:
    now = int(time.time())
    rows = connection.execute(
        f"""UPDATE videos SET status = 'failed', error_code = :code, error_message = :message,
                completed_at = NULL, expires_at = CAST(:now + :keep AS INTEGER), worker = NULL,
                change = change + 1
            WHERE {condition} AND {_UNFINISHED} RETURNING id""",
        {"keep": 86400.0, **parameters, "code": code, "message": message, "now": now},
    ).fetchall()
    return [row["id"] for row in rows]


def list_failed(database: Database) -> list[str]:
    """The films that failed."""
    return [row["id"] for row in database.fetch_all("SELECT id FROM videos WHERE status = 'failed'", {})]


def existing_ids(database: Database, job_ids: list[str]) -> set[str]:
    """Which of these the store has."""
    found: set[str] = set()
    for identifier in job_ids:
        if database.fetch_one("SELECT 1 FROM videos WHERE id = :id", {"id": identifier}) is not None:
            found.add(identifier)
    return found


def count_by_status(database: Database) -> dict[str, int]:
    """How many films are in each state."""
    rows = database.fetch_all("SELECT status, count(*) AS number FROM videos GROUP BY status", {})
    return dict.fromkeys(("queued", "in_progress", "completed", "failed"), 0) | {
        row["status"]: row["number"] for row in rows
    }


def latest_model_info(database: Database) -> ModelInfo | None:
    """The model that workers last said they serve."""
    from kinema.models.formats.serialization import from_json

    row = database.fetch_one(
        "SELECT served FROM workers WHERE served IS NOT NULL ORDER BY beat DESC LIMIT 1", {}
    )
    return (
        None if row is None else from_json(ModelInfo, row["served"], source="a worker's model in the store")
    )
