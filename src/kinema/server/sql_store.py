"""The job store in SQL, for `sqlite_store` and `postgres_store`.

Where rows are locked one after the other, the row of `clock` comes last: a transaction that has it waits for
nothing else. It gives change numbers the order of commits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import secrets
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from kinema.errors import UserError
from kinema.models.formats.serialization import from_json, to_json
from kinema.server import job_states
from kinema.server.job import (
    STATUSES,
    FileDigest,
    IdempotencyConflictError,
    Job,
    JobCreate,
    Labels,
    QueueFullError,
    RequestTooLargeError,
    StorageQuotaError,
    new_attempt,
    new_job,
    normalise_search_text,
)
from kinema.server.job_rows import INSERT, job_from_row, row_values, stored_bytes
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
from kinema.server.sql_database import Connection, Dialect, Row, SqlDatabase

if TYPE_CHECKING:
    from kinema.server.settings import Limits

MAX_TICK_S = 60.0
_VISIBLE = (
    "id = :id AND (CAST(:owner AS TEXT) IS NULL OR owner = :owner) AND (deleted_at IS NOT NULL) = :deleted"
)
_CLAIMABLE = "status = 'queued' AND deleted_at IS NULL AND served_model IN ('', :model)"


class SqlJobStore:
    """What `JobStore` does on any SQL database.

    Args:
        database: with the tables.
        dialect: its SQL.
        now: the wall clock, in Unix seconds.
    """

    def __init__(
        self, database: SqlDatabase, dialect: Dialect, *, now: Callable[[], float] = time.time
    ) -> None:
        self._sql, self._dialect, self._now = database, dialect, now

    def close(self) -> None:
        """See `ServerOperations.close`."""
        self._sql.close()

    # Clients

    def create(self, jobs: Sequence[JobCreate], limits: Limits) -> list[CreateResult]:
        """See `ClientOperations.create`."""
        results: list[CreateResult] = []
        totals: dict[str | None, OwnerTotals] = {}
        with self._sql.transaction() as connection:
            # Limits hold across servers: their transactions follow one another.
            connection.execute(f"SELECT change FROM clock{self._dialect.for_update}")
            for job in jobs:
                try:
                    results.append(self._create(connection, job, limits, totals))
                except (
                    QueueFullError, StorageQuotaError, RequestTooLargeError, IdempotencyConflictError
                ) as error:  # fmt: skip
                    results.append(error)
        return results

    def _create(
        self,
        connection: Connection,
        create: JobCreate,
        limits: Limits,
        totals: dict[str | None, OwnerTotals],
    ) -> tuple[Job, bool]:
        """Add a job; `totals` are counted once for the jobs of a transaction."""
        if create.idempotency_key is not None:
            row = connection.execute(
                "SELECT * FROM videos WHERE owner = :owner AND idempotency_key = :key",
                {"owner": create.owner, "key": create.idempotency_key},
            ).fetchone()
            if row is not None:
                if row["request_hash"] != create.request_hash:
                    raise IdempotencyConflictError
                return job_from_row(row), False
        job = new_job(create, created_at=int(self._now()))
        for owner in (None, create.owner):
            if owner not in totals:
                totals[owner] = _totals(connection, owner)
        _check_quotas(job, totals[None], totals[create.owner], limits)
        job = self._insert(connection, job)
        for owner in (None, create.owner):
            before = totals[owner]
            totals[owner] = dataclasses.replace(
                before,
                videos=before.videos + 1,
                queued=before.queued + 1,
                stored_bytes=before.stored_bytes + stored_bytes(job),
            )
        return job, True

    def get(self, job_id: str, *, owner: str | None, deleted: bool = False) -> Job | None:
        """See `ClientOperations.get`."""
        row = self._sql.fetch_one(
            "SELECT * FROM videos WHERE id = :id AND (CAST(:owner AS TEXT) IS NULL OR owner = :owner) "
            "AND (:deleted OR deleted_at IS NULL)",
            {"id": job_id, "owner": owner, "deleted": deleted},
        )
        return None if row is None else job_from_row(row)

    def list_jobs(
        self, which: JobFilter, *, after: str | None = None, limit: int = 20, newest_first: bool = True
    ) -> JobPage:
        """See `ClientOperations.list_jobs`."""
        comparison, direction = ("<", "DESC") if newest_first else (">", "ASC")
        words = normalise_search_text(which.search).split(" ") if which.search.strip() else []
        conditions = [f"deleted_at IS {'NOT ' if which.deleted else ''}NULL"]
        conditions += [self._dialect.contains.format(word=f":word{index}") for index in range(len(words))]
        for value, condition in (
            (which.owner, "owner = :owner"),
            (which.status, "status = :status"),
            (which.favourite, f"{self._dialect.favourite} = :favourite"),
            (which.folder, f"{self._dialect.folder} = :folder"),
            (which.tag, self._dialect.has_tag),
            (after, f"id {comparison} :after"),
        ):
            if value is not None:
                conditions.append(condition)
        rows = self._sql.fetch_all(
            f"SELECT * FROM videos WHERE {' AND '.join(conditions)} ORDER BY id {direction} LIMIT :limit",
            {
                "owner": which.owner, "status": which.status, "favourite": which.favourite,
                "folder": which.folder, "tag": which.tag, "after": after, "limit": limit + 1,
                **{f"word{index}": word for index, word in enumerate(words)},
            },
        )  # fmt: skip
        return JobPage(jobs=tuple(map(job_from_row, rows[:limit])), has_more=len(rows) > limit)

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
        rows = self._sql.fetch_all(
            "SELECT * FROM videos WHERE owner = :owner AND change > :since ORDER BY change LIMIT :limit",
            {"owner": owner, "since": since, "limit": limit},
        )
        return list(map(job_from_row, rows))

    def derived(self, job_id: str, *, owner: str | None) -> list[Job]:
        """See `ClientOperations.derived`."""
        rows = self._sql.fetch_all(
            "SELECT * FROM videos WHERE (CAST(:owner AS TEXT) IS NULL OR owner = :owner) "
            f"AND deleted_at IS NULL AND sources <> '[]' AND {self._dialect.has_source} ORDER BY id",
            {"id": job_id, "owner": owner},
        )
        return list(map(job_from_row, rows))

    def folders(self, owner: str) -> dict[str, int]:
        """See `ClientOperations.folders`."""
        rows = self._sql.fetch_all(
            f"""SELECT {self._dialect.folder} AS folder, count(*) AS number FROM videos
                WHERE owner = :owner AND deleted_at IS NULL AND {self._dialect.folder} <> ''
                GROUP BY {self._dialect.folder} ORDER BY 1""",
            {"owner": owner},
        )
        return {row["folder"]: row["number"] for row in rows}

    def queue_position(self, job: Job) -> int | None:
        """See `ClientOperations.queue_position`."""
        # Owners take turns: in a round each has one job. The counts come from an index; a window over all
        # waiting jobs would take longer than the rest of a create.
        with self._sql.read() as connection:
            rows = connection.execute(
                f"""SELECT videos.owner AS owner, count(*) AS number,
                        coalesce(max(owners.last_turn), 0) AS turn,
                        sum(CASE WHEN videos.owner = :owner AND id <= :id THEN 1 ELSE 0 END) AS round,
                        sum(CASE WHEN id = :id THEN 1 ELSE 0 END) AS is_waiting
                    FROM videos LEFT JOIN owners ON owners.owner = videos.owner
                    WHERE {_CLAIMABLE} GROUP BY videos.owner""",
                {"owner": job.owner, "id": job.id, "model": job.served_model},
            ).fetchall()
            own = next((row for row in rows if row["is_waiting"]), None)
            if own is None:
                return None
            place, position = own["round"], own["round"] - 1
            for row in rows:
                if row["owner"] == job.owner:
                    continue
                position += min(row["number"], place - 1)
                if row["number"] < place or row["turn"] > own["turn"]:
                    continue
                is_first = row["turn"] < own["turn"]
                if not is_first:  # Neither had a turn: the older job of this round comes first.
                    rival = connection.execute(
                        f"SELECT id FROM videos WHERE owner = :owner AND {_CLAIMABLE} "
                        "ORDER BY id LIMIT 1 OFFSET :offset",
                        {"owner": row["owner"], "model": job.served_model, "offset": place - 1},
                    ).fetchone()
                    is_first = rival is not None and rival["id"] < job.id
                position += int(is_first)
        return position

    def mean_work_s(self, served_model: str) -> float | None:
        """See `ClientOperations.mean_work_s`."""
        row = self._sql.fetch_one(
            """SELECT avg(worked_s) FROM (
                   SELECT worked_s FROM videos WHERE status = 'completed' AND served_model = :model
                       AND worked_s > 0 ORDER BY id DESC LIMIT 20) AS latest""",
            {"model": served_model},
        )
        return None if row is None else row[0]

    def totals(self, owner: str | None) -> OwnerTotals:
        """See `ClientOperations.totals`."""
        with self._sql.read() as connection:
            return _totals(connection, owner)

    # Workers

    def register_worker(self) -> str:
        """See `WorkerOperations.register_worker`."""
        worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        with self._sql.transaction() as connection:
            connection.execute(
                "INSERT INTO workers VALUES (:id, :host, :pid, '', 0)",
                {"id": worker_id, "host": socket.gethostname(), "pid": os.getpid()},
            )
        return worker_id

    def publish_model(self, worker_id: str, source: str, model_info: ModelInfo) -> None:
        """See `WorkerOperations.publish_model`."""
        with self._sql.transaction() as connection:
            connection.execute(
                "UPDATE workers SET model = :model WHERE id = :id",
                {"model": model_info.name, "id": worker_id},
            )
            connection.execute(
                """INSERT INTO models VALUES (:source, :model_info)
                   ON CONFLICT (source) DO UPDATE SET model_info = excluded.model_info""",
                {"source": source, "model_info": to_json(model_info)},
            )

    def unregister_worker(self, worker_id: str) -> None:
        """See `WorkerOperations.unregister_worker`."""
        self._end_worker(worker_id, "stopped")

    def mark_worker_dead(self, worker_id: str) -> None:
        """See `WorkerOperations.mark_worker_dead`."""
        self._end_worker(worker_id, "dead")

    def _end_worker(self, worker_id: str, reason: job_states.ReleaseReason) -> None:
        with self._sql.transaction() as connection:
            for row in connection.execute(
                "SELECT * FROM videos WHERE status = 'in_progress' AND worker_id = :id ORDER BY id"
                f"{self._dialect.for_update}",
                {"id": worker_id},
            ).fetchall():
                job = job_from_row(row)
                self._write(connection, job, job_states.release(job, job.attempt, reason=reason))
            connection.execute("DELETE FROM workers WHERE id = :id", {"id": worker_id})

    def claim(
        self, worker_id: str, model: str, *, expired: Collection[Lease], max_attempts: int
    ) -> Job | None:
        """See `WorkerOperations.claim`."""
        if not expired and self._sql.fetch_one(
            f"""SELECT 1 FROM videos WHERE {_CLAIMABLE}
                UNION ALL SELECT 1 FROM videos WHERE status = 'in_progress' AND attempt = '' LIMIT 1""",
            {"model": model},
        ) is None:  # fmt: skip
            return None  # Most of the time there is no job, and no write lock is needed.
        silent = {lease.job_id: lease for lease in expired}
        with self._sql.transaction() as connection:
            for row in self._claimable_rows(connection, model, silent):
                job = job_from_row(row)
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
                       SELECT CAST(:owner AS TEXT), coalesce(max(last_turn), 0) + 1 FROM owners WHERE true
                       ON CONFLICT (owner) DO UPDATE SET last_turn = excluded.last_turn""",
                    {"owner": job.owner},
                )
                return self._write(connection, job, claimed)
        return None

    def _claimable_rows(self, connection: Connection, model: str, silent: Collection[str]) -> Iterator[Row]:
        """Locked rows to try in this order; `job_states.is_claimable` decides."""
        skip_locked = self._dialect.skip_locked
        for running in connection.execute(
            "SELECT id, attempt FROM videos WHERE status = 'in_progress' ORDER BY id"
        ).fetchall():
            if running["attempt"] == "" or running["id"] in silent:
                yield from connection.execute(
                    f"SELECT * FROM videos WHERE id = :id{skip_locked}", {"id": running["id"]}
                ).fetchall()
        owners = connection.execute(
            f"""SELECT videos.owner AS owner FROM videos LEFT JOIN owners ON owners.owner = videos.owner
                WHERE {_CLAIMABLE}
                GROUP BY videos.owner ORDER BY coalesce(max(owners.last_turn), 0), min(videos.id)""",
            {"model": model},
        ).fetchall()
        for turn in owners:
            yield from connection.execute(
                f"SELECT * FROM videos WHERE owner = :owner AND {_CLAIMABLE} ORDER BY id LIMIT 1"
                f"{skip_locked}",
                {"owner": turn["owner"], "model": model},
            ).fetchall()

    def heartbeat(self, worker_id: str, attempt: str, *, worked_s: float) -> bool:
        """See `WorkerOperations.heartbeat`."""
        with self._sql.transaction() as connection:
            self._allow_loss(connection)
            connection.execute(
                "UPDATE workers SET heartbeat = heartbeat + 1 WHERE id = :id", {"id": worker_id}
            )
            if not attempt:
                return True
            row = connection.execute(
                "SELECT * FROM videos WHERE status = 'in_progress' AND attempt = :attempt"
                f"{self._dialect.for_update}",
                {"attempt": attempt},
            ).fetchone()
            if row is None:
                return False
            job = job_from_row(row)
            alive = job_states.heartbeat(job, attempt, worked_s=worked_s)
            return self._write(connection, job, alive, revise=False) is not None

    def report_progress(self, job_id: str, attempt: str, progress: Progress) -> bool:
        """See `WorkerOperations.report_progress`."""
        with self._change(job_id, durable=False) as change:
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
            return change(
                lambda job: job_states.complete(
                    job, attempt, files=dict(files), now=int(self._now()), expiry=change.expiry(retention_s)
                ),
                before_write=before_commit,
            )

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
        with self._sql.transaction() as connection:
            return connection.execute(
                """UPDATE clock SET uptime_s = uptime_s + CASE
                       WHEN last_tick = 0 OR :now <= last_tick THEN 0
                       WHEN :now - last_tick > :max_tick THEN :max_tick
                       ELSE :now - last_tick END, last_tick = :now
                   RETURNING uptime_s""",
                {"now": now, "max_tick": MAX_TICK_S},
            ).fetchone()[0]

    def leases(self) -> list[Lease]:
        """See `ServerOperations.leases`."""
        rows = self._sql.fetch_all(
            "SELECT id, attempt, heartbeat FROM videos WHERE status = 'in_progress' AND attempt <> ''", {}
        )
        return [Lease(job_id=row["id"], attempt=row["attempt"], heartbeat=row["heartbeat"]) for row in rows]

    def workers(self) -> list[WorkerRow]:
        """See `ServerOperations.workers`."""
        return [WorkerRow(**dict(row)) for row in self._sql.fetch_all("SELECT * FROM workers", {})]

    def model_info(self, source: str) -> ModelInfo | None:
        """See `ServerOperations.model_info`."""
        row = self._sql.fetch_one("SELECT model_info FROM models WHERE source = :source", {"source": source})
        if row is None:
            return None
        with contextlib.suppress(UserError):  # Another version wrote it, and this one will.
            return _parse_model_info(row["model_info"])
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
        if not any(condition(job_from_row(row)) for row in self._sql.fetch_all(query, {})):
            return []
        failed = []
        with self._sql.transaction() as connection:
            expiry = self._expiry(connection, retention_s)
            for row in connection.execute(f"{query} ORDER BY id{self._dialect.for_update}").fetchall():
                job = job_from_row(row)
                if condition(job):
                    after = job_states.fail(job, None, code=code, message=message, expiry=expiry)
                    if self._write(connection, job, after) is not None:
                        failed.append(job.id)
        return failed

    def expired(self) -> list[str]:
        """See `ServerOperations.expired`."""
        with self._sql.transaction() as connection:
            uptime_s, now = _uptime(connection), self._now()
            rows = connection.execute(
                "SELECT * FROM videos WHERE expires_uptime_s <= :uptime_s ORDER BY id"
                f"{self._dialect.for_update}",
                {"uptime_s": uptime_s},
            ).fetchall()
            jobs = [
                job
                for job in map(job_from_row, rows)
                if job_states.is_expired(job, now=now, uptime_s=uptime_s)
            ]
            for job in jobs:
                if job.deleted_at is None:
                    self._write(connection, job, dataclasses.replace(job, deleted_at=int(now)))
        return [job.id for job in jobs]

    def remove(self, job_ids: Collection[str]) -> None:
        """See `ServerOperations.remove`."""
        with self._sql.transaction() as connection:
            for job_id in sorted(job_ids):
                connection.execute("DELETE FROM videos WHERE id = :id", {"id": job_id})

    def count_by_status(self) -> dict[str, int]:
        """See `ServerOperations.count_by_status`."""
        rows = self._sql.fetch_all(
            "SELECT status, count(*) AS number FROM videos WHERE deleted_at IS NULL GROUP BY status", {}
        )
        return dict.fromkeys(STATUSES, 0) | {row["status"]: row["number"] for row in rows}

    def due_events(self, *, limit_per_endpoint: int) -> list[WebhookEvent]:
        """See `ServerOperations.due_events`."""
        # An event whose time is further away than its delay was scheduled before the clock was set back.
        rows = self._sql.fetch_all(
            """SELECT id, kind, video_id, endpoint, body_format, created_at, attempts FROM (
                   SELECT *, row_number() OVER (PARTITION BY endpoint ORDER BY next_attempt_at) AS place
                   FROM events WHERE next_attempt_at <= :now OR next_attempt_at - delay_s > :now + 1
               ) AS due WHERE place <= :limit""",
            {"now": self._now(), "limit": limit_per_endpoint},
        )
        return [WebhookEvent(**dict(row)) for row in rows]

    def record_delivery(self, event_id: str, *, retry_in_s: float | None) -> None:
        """See `ServerOperations.record_delivery`."""
        with self._sql.transaction() as connection:
            if retry_in_s is None:
                connection.execute("DELETE FROM events WHERE id = :id", {"id": event_id})
                return
            connection.execute(
                """UPDATE events SET attempts = attempts + 1, next_attempt_at = :next, delay_s = :delay
                   WHERE id = :id""",
                {"next": self._now() + retry_in_s, "delay": retry_in_s, "id": event_id},
            )

    def clear_events(self) -> None:
        """See `ServerOperations.clear_events`."""
        query = "FROM events WHERE endpoint = ''"
        if self._sql.fetch_one(f"SELECT 1 {query} LIMIT 1", {}) is not None:
            with self._sql.transaction() as connection:
                connection.execute(f"DELETE {query}")

    # Operators

    def all_ids(self) -> set[str]:
        """See `OperatorOperations.all_ids`."""
        return {row["id"] for row in self._sql.fetch_all("SELECT id FROM videos", {})}

    def retry(self, job_id: str) -> Job | None:
        """See `OperatorOperations.retry`."""
        with self._change(job_id) as change:
            change(job_states.retry)
            return change.result

    def adopt(self, job: JobCreate, *, created_at: int) -> Job | None:
        """See `OperatorOperations.adopt`."""
        with self._sql.transaction() as connection:
            connection.execute(f"SELECT change FROM clock{self._dialect.for_update}")
            if connection.execute("SELECT 1 FROM videos WHERE id = :id", {"id": job.id}).fetchone():
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

    # One change of one row

    @contextlib.contextmanager
    def _change(
        self,
        job_id: str,
        *,
        owner: str | None = None,
        deleted: bool = False,
        revise: bool = True,
        durable: bool = True,
    ) -> Iterator[_Change]:
        with self._sql.transaction() as connection:
            if not durable:
                self._allow_loss(connection)
            row = connection.execute(
                f"SELECT * FROM videos WHERE {_VISIBLE}{self._dialect.for_update}",
                {"id": job_id, "owner": owner, "deleted": deleted},
            ).fetchone()
            yield _Change(self, connection, None if row is None else job_from_row(row), revise=revise)

    def _allow_loss(self, connection: Connection) -> None:
        """A power failure may undo this transaction."""
        if self._dialect.not_durable:
            connection.execute(self._dialect.not_durable)

    def _insert(self, connection: Connection, job: Job) -> Job:
        job = dataclasses.replace(job, change=_next_change(connection))
        connection.execute(INSERT, row_values(job))
        return job

    def _expiry(self, connection: Connection, seconds: float) -> Expiry:
        return Expiry(at=int(self._now() + seconds), uptime_s=_uptime(connection) + seconds)

    def _write(
        self, connection: Connection, before: Job, after: Job | None, *, revise: bool = True
    ) -> Job | None:
        """Write the changed columns; None: the change was not allowed."""
        if after is None:
            return None
        if revise:
            after = dataclasses.replace(after, revision=before.revision + 1, change=_next_change(connection))
        old, new = row_values(before), row_values(after)
        changed = {name: value for name, value in new.items() if value != old[name]}
        if changed:
            assignments = ", ".join(f"{name} = :{name}" for name in changed)
            connection.execute(
                f"UPDATE videos SET {assignments} WHERE id = :id", {**changed, "id": before.id}
            )
        if after.is_finished and not before.is_finished:
            connection.execute(
                """INSERT INTO events VALUES
                   (:id, :kind, :video_id, :endpoint, :body_format, :created_at, 0, 0, 0)""",
                {
                    "id": f"evt_{secrets.token_hex(16)}", "kind": f"video.{after.status}",
                    "video_id": after.id, "endpoint": after.webhook_url or "",
                    "body_format": after.webhook_format, "created_at": int(self._now()),
                },
            )  # fmt: skip
        return after


class _Change:
    """Applies a function of `job_states` to one row within a transaction."""

    def __init__(self, store: SqlJobStore, connection: Connection, job: Job | None, *, revise: bool) -> None:
        self._store, self._connection, self._job, self._revise = store, connection, job, revise
        self.result: Job | None = None
        """The changed job; None: the change was not allowed."""

    def __call__(
        self, transition: Callable[[Job], Job | None], *, before_write: Callable[[Job], None] | None = None
    ) -> bool:
        if self._job is not None:
            after = transition(self._job)
            if after is not None and before_write is not None:
                before_write(after)
            self.result = self._store._write(self._connection, self._job, after, revise=self._revise)
        return self.result is not None

    def expiry(self, seconds: float) -> Expiry:
        """The time in so many seconds."""
        return self._store._expiry(self._connection, seconds)


@functools.lru_cache(maxsize=8)
def _parse_model_info(text: str) -> ModelInfo:
    """The model in a row; each request reads it, and it seldom changes."""
    return from_json(ModelInfo, text, source="a worker's model in the database")


def _next_change(connection: Connection) -> int:
    return connection.execute("UPDATE clock SET change = change + 1 RETURNING change").fetchone()[0]


def _uptime(connection: Connection) -> float:
    return connection.execute("SELECT uptime_s FROM clock").fetchone()[0]


def _totals(connection: Connection, owner: str | None) -> OwnerTotals:
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
