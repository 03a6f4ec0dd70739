"""The job store of one machine: an SQLite file in the data folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.errors import UserError
from kinema.models.formats.serialization import from_json, to_json
from kinema.server import job_states
from kinema.server.database import BUSY_TIMEOUT_S, DATABASE_FILE, Database, check_file
from kinema.server.job import (
    STATUSES,
    FileDigest,
    IdempotencyConflictError,
    Job,
    JobCreate,
    JobSource,
    Labels,
    QueueFullError,
    RequestTooLargeError,
    StorageQuotaError,
    new_attempt,
    new_job,
    normalise_search_text,
)
from kinema.server.job_states import Expiry, Progress
from kinema.server.job_store import (
    CreateResult,
    JobFilter,
    JobPage,
    Lease,
    OwnerTotals,
    WebhookEvent,
    WorkerRow,
)
from kinema.server.model_info import ModelInfo

if TYPE_CHECKING:
    from kinema.server.settings import Limits

MAX_TICK_S = 60.0
_FIELDS = tuple(field.name for field in dataclasses.fields(Job))
_INSERT = (
    f"INSERT INTO videos ({', '.join(_FIELDS)}, search_text, stored_bytes) "
    f"VALUES ({', '.join(f':{name}' for name in _FIELDS)}, :search_text, :stored_bytes)"
)
_VISIBLE = "id = :id AND (:owner IS NULL OR owner = :owner) AND (deleted_at IS NOT NULL) = :deleted"


class SqliteJobStore:
    """See `JobStore`.

    Args:
        data_dir: the data folder.
        durable: whether changes are on the disk when a method returns.
        busy_timeout_s: how long a writer waits for another one.
        file_name: of the database in the data folder.
        now: the wall clock, in Unix seconds.

    Raises:
        UserError: the database can't be used.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        durable: bool,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        file_name: str = DATABASE_FILE,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._now = data_dir / file_name, now
        self._database = Database(self._path, durable=durable, busy_timeout_s=busy_timeout_s)

    def close(self) -> None:
        """See `ServerOperations.close`."""
        self._database.close()

    # Clients

    def create(self, jobs: Sequence[JobCreate], limits: Limits) -> list[CreateResult]:
        """See `ClientOperations.create`."""
        results: list[CreateResult] = []
        with self._database.transaction() as connection:
            for job in jobs:
                try:
                    results.append(self._create(connection, job, limits))
                except (
                    QueueFullError, StorageQuotaError, RequestTooLargeError, IdempotencyConflictError
                ) as error:  # fmt: skip
                    results.append(error)
        return results

    def _create(self, connection: sqlite3.Connection, create: JobCreate, limits: Limits) -> tuple[Job, bool]:
        if create.idempotency_key is not None:
            row = connection.execute(
                "SELECT * FROM videos WHERE owner = ? AND idempotency_key = ?",
                (create.owner, create.idempotency_key),
            ).fetchone()
            if row is not None:
                if row["request_hash"] != create.request_hash:
                    raise IdempotencyConflictError
                return _job_from_row(row), False
        job = new_job(create, created_at=int(self._now()))
        _check_quotas(job, _totals(connection, None), _totals(connection, create.owner), limits)
        return self._insert(connection, job), True

    def get(self, job_id: str, *, owner: str | None, deleted: bool = False) -> Job | None:
        """See `ClientOperations.get`."""
        row = self._database.fetch_one(
            "SELECT * FROM videos WHERE id = :id AND (:owner IS NULL OR owner = :owner) "
            "AND (:deleted OR deleted_at IS NULL)",
            {"id": job_id, "owner": owner, "deleted": deleted},
        )
        return None if row is None else _job_from_row(row)

    def list_jobs(
        self, which: JobFilter, *, after: str | None = None, limit: int = 20, newest_first: bool = True
    ) -> JobPage:
        """See `ClientOperations.list_jobs`."""
        comparison, direction = ("<", "DESC") if newest_first else (">", "ASC")
        words = normalise_search_text(which.search).split(" ") if which.search.strip() else []
        conditions = [f"deleted_at IS {'NOT ' if which.deleted else ''}NULL"]
        conditions += [f"instr(search_text, :word{index}) > 0" for index in range(len(words))]
        for value, condition in (
            (which.owner, "owner = :owner"),
            (which.status, "status = :status"),
            (which.favourite, "json_extract(labels, '$.favourite') = :favourite"),
            (which.folder, "json_extract(labels, '$.folder') = :folder"),
            (which.tag, "EXISTS (SELECT 1 FROM json_each(labels, '$.tags') WHERE value = :tag)"),
            (after, f"id {comparison} :after"),
        ):
            if value is not None:
                conditions.append(condition)
        rows = self._database.fetch_all(
            f"SELECT * FROM videos WHERE {' AND '.join(conditions)} ORDER BY id {direction} LIMIT :limit",
            {
                "owner": which.owner, "status": which.status, "favourite": which.favourite,
                "folder": which.folder, "tag": which.tag, "after": after, "limit": limit + 1,
                **{f"word{index}": word for index, word in enumerate(words)},
            },
        )  # fmt: skip
        return JobPage(jobs=tuple(map(_job_from_row, rows[:limit])), has_more=len(rows) > limit)

    def cancel(self, job_id: str, *, owner: str | None, retention_s: float) -> bool:
        """See `ClientOperations.cancel`."""
        with self._change(job_id, owner=owner) as change:
            return change(
                lambda job: job_states.fail(
                    job, None, code="cancelled", message="The video was cancelled.",
                    expiry=change.expiry(retention_s),
                )
            )  # fmt: skip

    def delete(self, job_id: str, *, owner: str | None, grace_s: float) -> bool:
        """See `ClientOperations.delete`."""
        with self._change(job_id, owner=owner) as change:
            return change(
                lambda job: job_states.delete(job, now=int(self._now()), expiry=change.expiry(grace_s))
            )

    def restore(self, job_id: str, *, owner: str | None, retention_s: float) -> Job | None:
        """See `ClientOperations.restore`."""
        with self._change(job_id, owner=owner, deleted=True) as change:
            change(
                lambda job: job_states.restore(
                    job, uptime_s=change.expiry(0).uptime_s, expiry=change.expiry(retention_s)
                )
            )
            return change.result

    def set_labels(self, job_id: str, *, owner: str | None, labels: Labels) -> Job | None:
        """See `ClientOperations.set_labels`."""
        with self._change(job_id, owner=owner) as change:
            change(lambda job: dataclasses.replace(job, labels=labels))
            return change.result

    def changes(self, owner: str, *, since: int, limit: int = 500) -> list[Job]:
        """See `ClientOperations.changes`."""
        rows = self._database.fetch_all(
            "SELECT * FROM videos WHERE owner = :owner AND change > :since ORDER BY change LIMIT :limit",
            {"owner": owner, "since": since, "limit": limit},
        )
        return list(map(_job_from_row, rows))

    def derived(self, job_id: str, *, owner: str | None) -> list[Job]:
        """See `ClientOperations.derived`."""
        rows = self._database.fetch_all(
            """SELECT * FROM videos WHERE (:owner IS NULL OR owner = :owner) AND deleted_at IS NULL
                   AND sources <> '[]' AND EXISTS (
                       SELECT 1 FROM json_each(sources) WHERE json_extract(value, '$.id') = :id)
               ORDER BY id""",
            {"id": job_id, "owner": owner},
        )
        return list(map(_job_from_row, rows))

    def folders(self, owner: str) -> dict[str, int]:
        """See `ClientOperations.folders`."""
        rows = self._database.fetch_all(
            """SELECT json_extract(labels, '$.folder') AS folder, count(*) AS number FROM videos
               WHERE owner = :owner AND deleted_at IS NULL AND folder <> ''
               GROUP BY folder ORDER BY folder""",
            {"owner": owner},
        )
        return {row["folder"]: row["number"] for row in rows}

    def queue_position(self, job: Job) -> int | None:
        """See `ClientOperations.queue_position`."""
        row = self._database.fetch_one(
            """WITH waiting AS (
                   SELECT id, row_number() OVER (PARTITION BY owner ORDER BY videos.id) AS round,
                       coalesce(owners.last_turn, 0) AS turn
                   FROM videos LEFT JOIN owners USING (owner)
                   WHERE status = 'queued' AND deleted_at IS NULL AND served_model IN ('', :model))
               SELECT (SELECT count(*) FROM waiting AS other
                       WHERE (other.round, other.turn, other.id) < (this.round, this.turn, this.id))
               FROM waiting AS this WHERE id = :id""",
            {"id": job.id, "model": job.served_model},
        )
        return None if row is None else row[0]

    def mean_work_s(self, served_model: str) -> float | None:
        """See `ClientOperations.mean_work_s`."""
        row = self._database.fetch_one(
            """SELECT avg(worked_s) FROM (
                   SELECT worked_s FROM videos WHERE status = 'completed' AND served_model = :model
                       AND worked_s > 0 ORDER BY id DESC LIMIT 20)""",
            {"model": served_model},
        )
        return None if row is None else row[0]

    def totals(self, owner: str | None) -> OwnerTotals:
        """See `ClientOperations.totals`."""
        with self._database.read() as connection:
            return _totals(connection, owner)

    # Workers

    def register_worker(self) -> str:
        """See `WorkerOperations.register_worker`."""
        worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO workers VALUES (?, ?, ?, '', 0)", (worker_id, socket.gethostname(), os.getpid())
            )
        return worker_id

    def publish_model(self, worker_id: str, source: str, model_info: ModelInfo) -> None:
        """See `WorkerOperations.publish_model`."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE workers SET model = ? WHERE id = ?", (model_info.name, worker_id))
            connection.execute("INSERT OR REPLACE INTO models VALUES (?, ?)", (source, to_json(model_info)))

    def unregister_worker(self, worker_id: str) -> None:
        """See `WorkerOperations.unregister_worker`."""
        self._end_worker(worker_id, "stopped")

    def mark_worker_dead(self, worker_id: str) -> None:
        """See `WorkerOperations.mark_worker_dead`."""
        self._end_worker(worker_id, "dead")

    def _end_worker(self, worker_id: str, reason: job_states.ReleaseReason) -> None:
        with self._database.transaction() as connection:
            for row in connection.execute(
                "SELECT * FROM videos WHERE status = 'in_progress' AND worker_id = ?", (worker_id,)
            ).fetchall():
                job = _job_from_row(row)
                self._write(connection, job, job_states.release(job, job.attempt, reason=reason))
            connection.execute("DELETE FROM workers WHERE id = ?", (worker_id,))

    def claim(
        self, worker_id: str, model: str, *, expired: Collection[Lease], max_attempts: int
    ) -> Job | None:
        """See `WorkerOperations.claim`."""
        values: dict[str, object] = {"model": model}
        if not expired and self._database.fetch_one(
            """SELECT 1 FROM videos WHERE status = 'queued' AND deleted_at IS NULL
                   AND served_model IN ('', :model)
               UNION ALL SELECT 1 FROM videos WHERE status = 'in_progress' AND attempt = '' LIMIT 1""",
            values,
        ) is None:  # fmt: skip
            return None  # Most of the time there is no job, and no write lock is needed.
        silent = {lease.job_id: lease for lease in expired}
        with self._database.transaction() as connection:
            for row in _claimable_rows(connection, model):
                job = _job_from_row(row)
                lease = silent.get(job.id)
                is_silent = lease is not None and (lease.attempt, lease.heartbeat) == (
                    job.attempt, job.heartbeat)  # fmt: skip
                if not job_states.is_claimable(
                    job,
                    model=model,
                    expired_attempt=job.attempt if is_silent else None,
                    max_attempts=max_attempts,
                ):
                    continue
                claimed = job_states.claim(job, attempt=new_attempt(), worker_id=worker_id)
                connection.execute(
                    """INSERT INTO owners (owner, last_turn)
                       SELECT :owner, coalesce(max(last_turn), 0) + 1 FROM owners WHERE true
                       ON CONFLICT (owner) DO UPDATE SET last_turn = excluded.last_turn""",
                    {"owner": job.owner},
                )
                return self._write(connection, job, claimed)
        return None

    def heartbeat(self, worker_id: str, attempt: str, *, worked_s: float) -> bool:
        """See `WorkerOperations.heartbeat`."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE workers SET heartbeat = heartbeat + 1 WHERE id = ?", (worker_id,))
            if not attempt:
                return True
            row = connection.execute(
                "SELECT * FROM videos WHERE status = 'in_progress' AND attempt = ?", (attempt,)
            ).fetchone()
            if row is None:
                return False
            job = _job_from_row(row)
            alive = job_states.heartbeat(job, attempt, worked_s=worked_s)
            return self._write(connection, job, alive, revise=False) is not None

    def report_progress(self, job_id: str, attempt: str, progress: Progress) -> bool:
        """See `WorkerOperations.report_progress`."""
        with self._change(job_id) as change:
            return change(lambda job: job_states.report_progress(job, attempt, progress))

    def record_checkpoint(self, job_id: str, attempt: str, *, path: str, sha256: str) -> bool:
        """See `WorkerOperations.record_checkpoint`."""
        with self._change(job_id, revise=False) as change:
            return change(lambda job: job_states.record_checkpoint(job, attempt, path=path, sha256=sha256))

    def discard_checkpoint(self, job_id: str, attempt: str) -> bool:
        """See `WorkerOperations.discard_checkpoint`."""
        with self._change(job_id, revise=False) as change:
            return change(lambda job: job_states.discard_checkpoint(job, attempt))

    def complete(
        self,
        job_id: str,
        attempt: str,
        *,
        files: Mapping[str, FileDigest],
        retention_s: float,
        before_commit: Callable[[Job], None],
    ) -> bool:
        """See `WorkerOperations.complete`."""
        with self._change(job_id) as change:
            is_completed = change(
                lambda job: job_states.complete(
                    job, attempt, files=dict(files), now=int(self._now()), expiry=change.expiry(retention_s)
                )
            )
            if change.result is not None:
                before_commit(change.result)
            return is_completed

    def fail(self, job_id: str, attempt: str, *, code: str, message: str, retention_s: float) -> bool:
        """See `WorkerOperations.fail`."""
        with self._change(job_id) as change:
            return change(
                lambda job: job_states.fail(
                    job, attempt, code=code, message=message, expiry=change.expiry(retention_s)
                )
            )

    def holds(self, job_id: str, attempt: str) -> bool:
        """See `WorkerOperations.holds`."""
        job = self.get(job_id, owner=None)
        return job is not None and job_states.holds(job, attempt)

    # The server

    def tick(self) -> float:
        """See `ServerOperations.tick`."""
        now = self._now()
        with self._database.transaction() as connection:
            return connection.execute(
                """UPDATE clock SET uptime_s = uptime_s + CASE WHEN last_tick = 0 THEN 0
                       ELSE max(0.0, min(:now - last_tick, :max_tick)) END, last_tick = :now
                   RETURNING uptime_s""",
                {"now": now, "max_tick": MAX_TICK_S},
            ).fetchone()[0]

    def leases(self) -> list[Lease]:
        """See `ServerOperations.leases`."""
        rows = self._database.fetch_all(
            "SELECT id, attempt, heartbeat FROM videos WHERE status = 'in_progress' AND attempt <> ''", {}
        )
        return [Lease(job_id=row["id"], attempt=row["attempt"], heartbeat=row["heartbeat"]) for row in rows]

    def workers(self) -> list[WorkerRow]:
        """See `ServerOperations.workers`."""
        return [WorkerRow(**dict(row)) for row in self._database.fetch_all("SELECT * FROM workers", {})]

    def model_info(self, source: str) -> ModelInfo | None:
        """See `ServerOperations.model_info`."""
        row = self._database.fetch_one(
            "SELECT model_info FROM models WHERE source = :source", {"source": source}
        )
        if row is None:
            return None
        with contextlib.suppress(UserError):  # Another version wrote it, and this one will.
            return from_json(ModelInfo, row["model_info"], source="a worker's model in the database")
        return None

    def fail_overdue(self, timeout_s: float, *, retention_s: float) -> list[str]:
        """See `ServerOperations.fail_overdue`."""
        message = (
            f"The video took longer than the {timeout_s:g} seconds of work allowed here; request fewer "
            "steps, a smaller size or a shorter video."
        )
        return self._fail_running(
            lambda job: job.worked_s > timeout_s, "time_limit", message, retention_s=retention_s
        )

    def fail_abandoned(
        self, expired: Collection[Lease], max_attempts: int, *, retention_s: float
    ) -> list[str]:
        """See `ServerOperations.fail_abandoned`."""
        silent = {(lease.job_id, lease.attempt, lease.heartbeat) for lease in expired}
        message = (
            f"The worker process of this video died {max_attempts} times at the same point; the video may "
            "need more memory than there is. Request a smaller or shorter video."
        )
        return self._fail_running(
            lambda job: (
                job.attempts >= max_attempts
                and (job.attempt == "" or (job.id, job.attempt, job.heartbeat) in silent)
            ),
            "worker_lost",
            message,
            retention_s=retention_s,
        )

    def _fail_running(
        self, condition: Callable[[Job], bool], code: str, message: str, *, retention_s: float
    ) -> list[str]:
        query = "SELECT * FROM videos WHERE status = 'in_progress'"
        if not any(condition(_job_from_row(row)) for row in self._database.fetch_all(query, {})):
            return []
        failed = []
        with self._database.transaction() as connection:
            expiry = self._expiry(connection, retention_s)
            for row in connection.execute(query).fetchall():
                job = _job_from_row(row)
                if condition(job):
                    after = job_states.fail(job, None, code=code, message=message, expiry=expiry)
                    if self._write(connection, job, after) is not None:
                        failed.append(job.id)
        return failed

    def expired(self) -> list[str]:
        """See `ServerOperations.expired`."""
        with self._database.transaction() as connection:
            uptime_s, now = _uptime(connection), self._now()
            rows = connection.execute(
                "SELECT * FROM videos WHERE expires_uptime_s <= ?", (uptime_s,)
            ).fetchall()
            jobs = [
                job
                for job in map(_job_from_row, rows)
                if job_states.is_expired(job, now=now, uptime_s=uptime_s)
            ]
            for job in jobs:
                if job.deleted_at is None:
                    self._write(connection, job, dataclasses.replace(job, deleted_at=int(now)))
        return [job.id for job in jobs]

    def remove(self, job_ids: Collection[str]) -> None:
        """See `ServerOperations.remove`."""
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM videos WHERE id = ?", [(job_id,) for job_id in job_ids])

    def count_by_status(self) -> dict[str, int]:
        """See `ServerOperations.count_by_status`."""
        rows = self._database.fetch_all(
            "SELECT status, count(*) AS number FROM videos WHERE deleted_at IS NULL GROUP BY status", {}
        )
        return dict.fromkeys(STATUSES, 0) | {row["status"]: row["number"] for row in rows}

    def due_events(self, *, limit_per_endpoint: int) -> list[WebhookEvent]:
        """See `ServerOperations.due_events`."""
        # An event whose time is further away than its delay was scheduled before the clock was set back.
        rows = self._database.fetch_all(
            """SELECT id, kind, video_id, endpoint, body_format, created_at, attempts FROM (
                   SELECT *, row_number() OVER (PARTITION BY endpoint ORDER BY next_attempt_at) AS place
                   FROM events WHERE next_attempt_at <= :now OR next_attempt_at - delay_s > :now + 1
               ) WHERE place <= :limit""",
            {"now": self._now(), "limit": limit_per_endpoint},
        )
        return [WebhookEvent(**dict(row)) for row in rows]

    def record_delivery(self, event_id: str, *, retry_in_s: float | None) -> None:
        """See `ServerOperations.record_delivery`."""
        with self._database.transaction() as connection:
            if retry_in_s is None:
                connection.execute("DELETE FROM events WHERE id = ?", (event_id,))
                return
            connection.execute(
                "UPDATE events SET attempts = attempts + 1, next_attempt_at = ?, delay_s = ? WHERE id = ?",
                (self._now() + retry_in_s, retry_in_s, event_id),
            )

    def clear_events(self) -> None:
        """See `ServerOperations.clear_events`."""
        query = "FROM events WHERE endpoint = ''"
        if self._database.fetch_one(f"SELECT 1 {query} LIMIT 1", {}) is not None:
            with self._database.transaction() as connection:
                connection.execute(f"DELETE {query}")

    # Operators

    def all_ids(self) -> set[str]:
        """See `OperatorOperations.all_ids`."""
        return {row["id"] for row in self._database.fetch_all("SELECT id FROM videos", {})}

    def retry(self, job_id: str) -> Job | None:
        """See `OperatorOperations.retry`."""
        with self._change(job_id) as change:
            change(job_states.retry)
            return change.result

    def adopt(self, job: JobCreate, *, created_at: int) -> Job | None:
        """See `OperatorOperations.adopt`."""
        with self._database.transaction() as connection:
            if connection.execute("SELECT 1 FROM videos WHERE id = ?", (job.id,)).fetchone() is not None:
                return None
            return self._insert(connection, new_job(job, created_at=created_at))

    def adopt_result(
        self, job_id: str, attempt: str, *, files: Mapping[str, FileDigest], retention_s: float
    ) -> bool:
        """See `OperatorOperations.adopt_result`."""
        with self._change(job_id) as change:
            return change(
                lambda job: job_states.adopt_result(
                    job, attempt, files=dict(files), now=int(self._now()), expiry=change.expiry(retention_s)
                )
            )

    def set_damage(self, job_id: str, damage: str) -> None:
        """See `OperatorOperations.set_damage`."""
        with self._change(job_id) as change:
            change(lambda job: None if job.damage == damage else dataclasses.replace(job, damage=damage))

    def backup(self, target: Path) -> None:
        """See `OperatorOperations.backup`."""
        self._database.backup(target)

    def check_integrity(self) -> list[str]:
        """See `OperatorOperations.check_integrity`."""
        return check_file(self._path, quick=False)

    # One change of one row

    @contextlib.contextmanager
    def _change(
        self, job_id: str, *, owner: str | None = None, deleted: bool = False, revise: bool = True
    ) -> Iterator[_Change]:
        with self._database.transaction() as connection:
            row = connection.execute(
                f"SELECT * FROM videos WHERE {_VISIBLE}", {"id": job_id, "owner": owner, "deleted": deleted}
            ).fetchone()
            yield _Change(self, connection, None if row is None else _job_from_row(row), revise=revise)

    def _insert(self, connection: sqlite3.Connection, job: Job) -> Job:
        job = dataclasses.replace(job, change=_next_change(connection))
        connection.execute(_INSERT, _row_values(job))
        return job

    def _expiry(self, connection: sqlite3.Connection, seconds: float) -> Expiry:
        return Expiry(at=int(self._now() + seconds), uptime_s=_uptime(connection) + seconds)

    def _write(
        self, connection: sqlite3.Connection, before: Job, after: Job | None, *, revise: bool = True
    ) -> Job | None:
        """Write the changed columns; None: the change was not allowed."""
        if after is None:
            return None
        if revise:
            after = dataclasses.replace(after, revision=before.revision + 1, change=_next_change(connection))
        old, new = _row_values(before), _row_values(after)
        changed = {name: value for name, value in new.items() if value != old[name]}
        if changed:
            assignments = ", ".join(f"{name} = :{name}" for name in changed)
            connection.execute(
                f"UPDATE videos SET {assignments} WHERE id = :id", {**changed, "id": before.id}
            )
        if after.is_finished and not before.is_finished:
            connection.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0)",
                (
                    f"evt_{secrets.token_hex(16)}", f"video.{after.status}", after.id,
                    after.webhook_url or "", after.webhook_format, int(self._now()),
                ),
            )  # fmt: skip
        return after


class _Change:
    """Applies a function of `job_states` to one row within a transaction."""

    def __init__(
        self, store: SqliteJobStore, connection: sqlite3.Connection, job: Job | None, *, revise: bool
    ) -> None:
        self._store, self._connection, self._job, self._revise = store, connection, job, revise
        self.result: Job | None = None
        """The changed job; None: the change was not allowed."""

    def __call__(self, transition: Callable[[Job], Job | None]) -> bool:
        if self._job is not None:
            after = transition(self._job)
            self.result = self._store._write(self._connection, self._job, after, revise=self._revise)
        return self.result is not None

    def expiry(self, seconds: float) -> Expiry:
        """The time in so many seconds."""
        return self._store._expiry(self._connection, seconds)


def _claimable_rows(connection: sqlite3.Connection, model: str) -> Iterator[sqlite3.Row]:
    """Rows to try in this order; `job_states.is_claimable` decides."""
    yield from connection.execute("SELECT * FROM videos WHERE status = 'in_progress' ORDER BY id").fetchall()
    ids = connection.execute(
        """SELECT min(videos.id) FROM videos LEFT JOIN owners USING (owner)
           WHERE status = 'queued' AND deleted_at IS NULL AND served_model IN ('', :model)
           GROUP BY videos.owner ORDER BY coalesce(owners.last_turn, 0), min(videos.id)""",
        {"model": model},
    ).fetchall()
    for (job_id,) in ids:
        yield connection.execute("SELECT * FROM videos WHERE id = ?", (job_id,)).fetchone()


def _next_change(connection: sqlite3.Connection) -> int:
    return connection.execute("UPDATE clock SET change = change + 1 RETURNING change").fetchone()[0]


def _uptime(connection: sqlite3.Connection) -> float:
    return connection.execute("SELECT uptime_s FROM clock").fetchone()[0]


def _totals(connection: sqlite3.Connection, owner: str | None) -> OwnerTotals:
    condition = "" if owner is None else "WHERE owner = :owner"
    row = connection.execute(
        f"""SELECT count(*), count(*) FILTER (WHERE status = 'queued'), coalesce(sum(stored_bytes), 0)
            FROM videos {condition}""",
        {"owner": owner},
    ).fetchone()
    return OwnerTotals(owner=owner or "", videos=row[0], queued=row[1], stored_bytes=row[2])


def _check_quotas(job: Job, everybody: OwnerTotals, owner: OwnerTotals, limits: Limits) -> None:
    request_bytes = len(job.request_json.encode())
    if request_bytes > limits.max_request_bytes:
        raise RequestTooLargeError(
            f"The request takes {request_bytes:,} bytes and {limits.max_request_bytes:,} are allowed; use "
            "fewer shots or shorter prompts."
        )
    if everybody.queued >= limits.max_queued or owner.queued >= limits.max_queued_per_owner:
        raise QueueFullError
    added = request_bytes + job.file_bytes
    for totals, videos, stored, who in (
        (owner, limits.max_videos_per_owner, limits.max_stored_bytes_per_owner, "your"),
        (everybody, limits.max_videos, limits.max_stored_bytes, "the server's"),
    ):
        if totals.videos >= videos:
            raise StorageQuotaError(f"All of {who} {videos:,} places for videos are taken; delete some.")
        if totals.stored_bytes + added > stored:
            raise StorageQuotaError(f"All of {who} {stored:,} bytes for videos are taken; delete some.")


def _job_from_row(row: sqlite3.Row) -> Job:
    """The job of a row; columns have the names of the fields."""
    return Job(
        id=row["id"],
        owner=row["owner"],
        status=row["status"],
        progress=row["progress"],
        step=row["step"],
        total_steps=row["total_steps"],
        stage=row["stage"],
        preview_count=row["preview_count"],
        revision=row["revision"],
        change=row["change"],
        model=row["model"],
        served_model=row["served_model"],
        task=row["task"],
        seed=row["seed"],
        width=row["width"],
        height=row["height"],
        size=row["size"],
        seconds=row["seconds"],
        prompt=row["prompt"],
        remixed_from=row["remixed_from"],
        request_json=row["request_json"],
        created_at=row["created_at"],
        completed_at=row["completed_at"],
        expires_at=row["expires_at"],
        expires_uptime_s=row["expires_uptime_s"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        attempt=row["attempt"],
        worker_id=row["worker_id"],
        heartbeat=row["heartbeat"],
        attempts=row["attempts"],
        worked_s=row["worked_s"],
        checkpoint=row["checkpoint"],
        checkpoint_sha256=row["checkpoint_sha256"],
        file_bytes=row["file_bytes"],
        deleted_at=row["deleted_at"],
        webhook_url=row["webhook_url"],
        webhook_format=row["webhook_format"],
        num_frames=row["num_frames"],
        fps=row["fps"],
        damage=row["damage"],
        idempotency_key=row["idempotency_key"],
        request_hash=row["request_hash"],
        files={name: FileDigest(**digest) for name, digest in json.loads(row["files"]).items()},
        labels=Labels.from_json(row["labels"]),
        sources=tuple(JobSource(**source) for source in json.loads(row["sources"])),
        warnings=tuple(json.loads(row["warnings"])),
    )


def _row_values(job: Job) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(job, name) for name in _FIELDS}
    values["files"] = json.dumps({name: dataclasses.asdict(file) for name, file in job.files.items()})
    values["labels"] = job.labels.to_json()
    values["sources"] = json.dumps([dataclasses.asdict(source) for source in job.sources])
    values["warnings"] = json.dumps(job.warnings)
    values["search_text"] = normalise_search_text(job.prompt)
    values["stored_bytes"] = job.file_bytes + len(job.request_json.encode())
    return values
