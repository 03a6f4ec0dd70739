"""What workers do with jobs, in SQL: see `kinema.server.job_store.WorkerOperations`."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Collection, Iterator, Mapping

from kinema.models.formats.serialization import to_json
from kinema.server import job_states
from kinema.server.job import FileDigest, Job, new_attempt
from kinema.server.job_rows import job_from_row
from kinema.server.job_states import Progress
from kinema.server.job_store import Lease
from kinema.server.model_info import ModelInfo
from kinema.server.sql_changes import CLAIMABLE, SqlChanges
from kinema.server.sql_database import Connection, Row


class SqlWorkerOperations(SqlChanges):
    """See `WorkerOperations`."""

    def register_worker(self) -> str:
        """See `WorkerOperations.register_worker`."""
        worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        with self.sql.transaction() as connection:
            connection.execute(
                "INSERT INTO workers VALUES (:id, :host, :pid, '', 0)",
                {"id": worker_id, "host": socket.gethostname(), "pid": os.getpid()},
            )
        return worker_id

    def publish_model(self, worker_id: str, source: str, model_info: ModelInfo) -> None:
        """See `WorkerOperations.publish_model`."""
        with self.sql.transaction() as connection:
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
        with self.sql.transaction() as connection:
            for row in connection.execute(
                "SELECT * FROM videos WHERE status = 'in_progress' AND worker_id = :id ORDER BY id"
                f"{self.dialect.for_update}",
                {"id": worker_id},
            ).fetchall():
                job = job_from_row(row)
                self.write(connection, job, job_states.release(job, job.attempt, reason=reason))
            connection.execute("DELETE FROM workers WHERE id = :id", {"id": worker_id})

    def claim(
        self, worker_id: str, model: str, *, expired: Collection[Lease], max_attempts: int
    ) -> Job | None:
        """See `WorkerOperations.claim`."""
        if not expired and self.sql.fetch_one(
            f"""SELECT 1 FROM videos WHERE {CLAIMABLE}
                UNION ALL SELECT 1 FROM videos WHERE status = 'in_progress' AND attempt = '' LIMIT 1""",
            {"model": model},
        ) is None:  # fmt: skip
            return None  # Most of the time there is no job, and no write lock is needed.
        silent = {lease.job_id: lease for lease in expired}
        with self.sql.transaction() as connection:
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
                return self.write(connection, job, claimed)
        return None

    def _claimable_rows(self, connection: Connection, model: str, silent: Collection[str]) -> Iterator[Row]:
        """Locked rows to try in this order; `job_states.is_claimable` decides."""
        skip_locked = self.dialect.skip_locked
        for running in connection.execute(
            "SELECT id, attempt FROM videos WHERE status = 'in_progress' ORDER BY id"
        ).fetchall():
            if running["attempt"] == "" or running["id"] in silent:
                yield from connection.execute(
                    f"SELECT * FROM videos WHERE id = :id{skip_locked}", {"id": running["id"]}
                ).fetchall()
        owners = connection.execute(
            f"""SELECT videos.owner AS owner FROM videos LEFT JOIN owners ON owners.owner = videos.owner
                WHERE {CLAIMABLE}
                GROUP BY videos.owner ORDER BY coalesce(max(owners.last_turn), 0), min(videos.id)""",
            {"model": model},
        ).fetchall()
        for turn in owners:
            yield from connection.execute(
                f"SELECT * FROM videos WHERE owner = :owner AND {CLAIMABLE} ORDER BY id LIMIT 1{skip_locked}",
                {"owner": turn["owner"], "model": model},
            ).fetchall()

    def heartbeat(self, worker_id: str, attempt: str, *, worked_s: float) -> bool:
        """See `WorkerOperations.heartbeat`."""
        with self.sql.transaction() as connection:
            self.allow_loss(connection)
            connection.execute(
                "UPDATE workers SET heartbeat = heartbeat + 1 WHERE id = :id", {"id": worker_id}
            )
            if not attempt:
                return True
            row = connection.execute(
                "SELECT * FROM videos WHERE status = 'in_progress' AND attempt = :attempt"
                f"{self.dialect.for_update}",
                {"attempt": attempt},
            ).fetchone()
            if row is None:
                return False
            job = job_from_row(row)
            alive = job_states.heartbeat(job, attempt, worked_s=worked_s)
            return self.write(connection, job, alive, revise=False) is not None

    def report_progress(self, job_id: str, attempt: str, progress: Progress) -> bool:
        """See `WorkerOperations.report_progress`."""
        with self.change(job_id, durable=False) as change:
            return change(lambda job: job_states.report_progress(job, attempt, progress))

    def record_checkpoint(self, job_id: str, attempt: str, *, path: str, sha256: str) -> bool:
        """See `WorkerOperations.record_checkpoint`."""
        with self.change(job_id, revise=False) as change:
            return change(lambda job: job_states.record_checkpoint(job, attempt, path=path, sha256=sha256))

    def discard_checkpoint(self, job_id: str, attempt: str) -> bool:
        """See `WorkerOperations.discard_checkpoint`."""
        with self.change(job_id, revise=False) as change:
            return change(lambda job: job_states.discard_checkpoint(job, attempt))

    def complete(
        self,
        job_id: str,
        attempt: str,
        *,
        files: Mapping[str, FileDigest],
        warnings: tuple[str, ...] = (),
        retention_s: float,
        before_commit: Callable[[Job], None],
    ) -> bool:
        """See `WorkerOperations.complete`."""
        with self.change(job_id) as change:
            return change(
                lambda job: job_states.complete(
                    job,
                    attempt,
                    files=dict(files),
                    warnings=warnings,
                    now=int(self.now()),
                    expiry=change.expiry(retention_s),
                ),
                before_write=before_commit,
            )

    def fail(self, job_id: str, attempt: str, *, code: str, message: str, retention_s: float) -> bool:
        """See `WorkerOperations.fail`."""
        with self.change(job_id) as change:
            return change(
                lambda job: job_states.fail(
                    job, attempt, code=code, message=message, expiry=change.expiry(retention_s)
                )
            )

    def holds(self, job_id: str, attempt: str) -> bool:
        """See `WorkerOperations.holds`."""
        row = self.sql.fetch_one("SELECT * FROM videos WHERE id = :id", {"id": job_id})
        return row is not None and job_states.holds(job_from_row(row), attempt)
