"""What supervisors and operators do with jobs, in SQL: see `kinema.server.job_store`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping

from kinema.errors import UserError
from kinema.models.formats.serialization import from_json
from kinema.server import job_states
from kinema.server.job import STATUSES, FileDigest, Job, JobCreate, new_job
from kinema.server.job_rows import job_from_row
from kinema.server.job_store import Demand, Lease, WebhookEvent, WorkerRow
from kinema.server.model_info import ModelInfo
from kinema.server.sql_changes import SqlChanges, uptime

MAX_TICK_S = 60.0


class SqlServerOperations(SqlChanges):
    """See `ServerOperations`."""

    def tick(self) -> float:
        """See `ServerOperations.tick`."""
        now = self.now()
        with self.sql.transaction() as connection:
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
        rows = self.sql.fetch_all(
            "SELECT id, attempt, heartbeat FROM videos WHERE status = 'in_progress' AND attempt <> ''", {}
        )
        return [Lease(job_id=row["id"], attempt=row["attempt"], heartbeat=row["heartbeat"]) for row in rows]

    def workers(self) -> list[WorkerRow]:
        """See `ServerOperations.workers`."""
        return [WorkerRow(**dict(row)) for row in self.sql.fetch_all("SELECT * FROM workers", {})]

    def model_info(self, source: str) -> ModelInfo | None:
        """See `ServerOperations.model_info`."""
        row = self.sql.fetch_one("SELECT model_info FROM models WHERE source = :source", {"source": source})
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
        if not any(condition(job_from_row(row)) for row in self.sql.fetch_all(query, {})):
            return []
        failed = []
        with self.sql.transaction() as connection:
            expiry = self.expiry(connection, retention_s)
            for row in connection.execute(f"{query} ORDER BY id{self.dialect.for_update}").fetchall():
                job = job_from_row(row)
                if condition(job):
                    after = job_states.fail(job, None, code=code, message=message, expiry=expiry)
                    if self.write(connection, job, after) is not None:
                        failed.append(job.id)
        return failed

    def expired(self) -> list[str]:
        """See `ServerOperations.expired`."""
        with self.sql.transaction() as connection:
            uptime_s, now = uptime(connection), self.now()
            rows = connection.execute(
                "SELECT * FROM videos WHERE expires_uptime_s <= :uptime_s ORDER BY id"
                f"{self.dialect.for_update}",
                {"uptime_s": uptime_s},
            ).fetchall()
            jobs = [
                job
                for job in map(job_from_row, rows)
                if job_states.is_expired(job, now=now, uptime_s=uptime_s)
            ]
            for job in jobs:
                if job.deleted_at is None:
                    self.write(connection, job, dataclasses.replace(job, deleted_at=int(now)))
        return [job.id for job in jobs]

    def remove(self, job_ids: Collection[str]) -> None:
        """See `ServerOperations.remove`."""
        with self.sql.transaction() as connection:
            for job_id in sorted(job_ids):
                connection.execute("DELETE FROM videos WHERE id = :id", {"id": job_id})

    def demand(self, model: str) -> Demand:
        """See `ServerOperations.demand`."""
        rows = self.sql.fetch_all(
            """SELECT status, attempt, worker_id FROM videos WHERE deleted_at IS NULL
               AND status IN ('queued', 'in_progress') AND served_model IN ('', :model)""",
            {"model": model},
        )
        busy = [row["worker_id"] for row in rows if row["status"] == "in_progress" and row["attempt"]]
        return Demand(waiting=len(rows) - len(busy), busy_workers=frozenset(busy))

    def count_by_status(self) -> dict[str, int]:
        """See `ServerOperations.count_by_status`."""
        rows = self.sql.fetch_all(
            "SELECT status, count(*) AS number FROM videos WHERE deleted_at IS NULL GROUP BY status", {}
        )
        return dict.fromkeys(STATUSES, 0) | {row["status"]: row["number"] for row in rows}

    def due_events(self, *, limit_per_endpoint: int) -> list[WebhookEvent]:
        """See `ServerOperations.due_events`."""
        # An event whose time is further away than its delay was scheduled before the clock was set back.
        rows = self.sql.fetch_all(
            """SELECT id, kind, video_id, endpoint, body_format, created_at, attempts FROM (
                   SELECT *, row_number() OVER (PARTITION BY endpoint ORDER BY next_attempt_at) AS place
                   FROM events WHERE next_attempt_at <= :now OR next_attempt_at - delay_s > :now + 1
               ) AS due WHERE place <= :limit""",
            {"now": self.now(), "limit": limit_per_endpoint},
        )
        return [WebhookEvent(**dict(row)) for row in rows]

    def record_delivery(self, event_id: str, *, retry_in_s: float | None) -> None:
        """See `ServerOperations.record_delivery`."""
        with self.sql.transaction() as connection:
            if retry_in_s is None:
                connection.execute("DELETE FROM events WHERE id = :id", {"id": event_id})
                return
            connection.execute(
                """UPDATE events SET attempts = attempts + 1, next_attempt_at = :next, delay_s = :delay
                   WHERE id = :id""",
                {"next": self.now() + retry_in_s, "delay": retry_in_s, "id": event_id},
            )

    def clear_events(self) -> None:
        """See `ServerOperations.clear_events`."""
        query = "FROM events WHERE endpoint = ''"
        if self.sql.fetch_one(f"SELECT 1 {query} LIMIT 1", {}) is not None:
            with self.sql.transaction() as connection:
                connection.execute(f"DELETE {query}")


class SqlOperatorOperations(SqlChanges):
    """See `OperatorOperations`."""

    def all_ids(self) -> set[str]:
        """See `OperatorOperations.all_ids`."""
        return {row["id"] for row in self.sql.fetch_all("SELECT id FROM videos", {})}

    def retry(self, job_id: str) -> Job | None:
        """See `OperatorOperations.retry`."""
        with self.change(job_id) as change:
            change(job_states.retry)
            return change.result

    def adopt(self, job: JobCreate, *, created_at: int) -> Job | None:
        """See `OperatorOperations.adopt`."""
        with self.sql.transaction() as connection:
            connection.execute(f"SELECT change FROM clock{self.dialect.for_update}")
            if connection.execute("SELECT 1 FROM videos WHERE id = :id", {"id": job.id}).fetchone():
                return None
            return self.insert(connection, new_job(job, created_at=created_at))

    def adopt_result(
        self, job_id: str, attempt: str, *, files: Mapping[str, FileDigest], retention_s: float
    ) -> bool:
        """See `OperatorOperations.adopt_result`."""
        with self.change(job_id) as change:
            return change(
                lambda job: job_states.adopt_result(
                    job, attempt, files=dict(files), now=int(self.now()), expiry=change.expiry(retention_s)
                )
            )

    def set_damage(self, job_id: str, damage: str) -> None:
        """See `OperatorOperations.set_damage`."""
        with self.change(job_id) as change:
            change(lambda job: None if job.damage == damage else dataclasses.replace(job, damage=damage))


@functools.lru_cache(maxsize=8)
def _parse_model_info(text: str) -> ModelInfo:
    """The model in a row; each request reads it, and it seldom changes."""
    return from_json(ModelInfo, text, source="a worker's model in the database")
