"""What the HTTP API does with jobs, in SQL: see `kinema.server.job_store.ClientOperations`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinema.server import job_states
from kinema.server.job import (
    IdempotencyConflictError,
    Job,
    JobCreate,
    Labels,
    QueueFullError,
    RequestTooLargeError,
    StorageQuotaError,
    new_job,
    normalise_search_text,
)
from kinema.server.job_rows import job_from_row, stored_bytes
from kinema.server.job_store import CreateResult, JobFilter, JobPage, OwnerTotals
from kinema.server.sql_changes import CLAIMABLE, SqlChanges
from kinema.server.sql_database import Connection

if TYPE_CHECKING:
    from kinema.server.settings import Limits


class SqlClientOperations(SqlChanges):
    """See `ClientOperations`."""

    def create(self, jobs: Sequence[JobCreate], limits: Limits) -> list[CreateResult]:
        """See `ClientOperations.create`."""
        results: list[CreateResult] = []
        totals: dict[str | None, OwnerTotals] = {}
        with self.sql.transaction() as connection:
            # Limits hold across servers: their transactions follow one another.
            connection.execute(f"SELECT change FROM clock{self.dialect.for_update}")
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
        job = new_job(create, created_at=int(self.now()))
        for owner in (None, create.owner):
            if owner not in totals:
                totals[owner] = _totals(connection, owner)
        _check_quotas(job, totals[None], totals[create.owner], limits)
        job = self.insert(connection, job)
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
        row = self.sql.fetch_one(
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
        conditions += [self.dialect.contains.format(word=f":word{index}") for index in range(len(words))]
        for value, condition in (
            (which.owner, "owner = :owner"),
            (which.status, "status = :status"),
            (which.favourite, f"{self.dialect.favourite} = :favourite"),
            (which.folder, f"{self.dialect.folder} = :folder"),
            (which.tag, self.dialect.has_tag),
            (after, f"id {comparison} :after"),
        ):
            if value is not None:
                conditions.append(condition)
        rows = self.sql.fetch_all(
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
        with self.change(job_id, owner=owner) as change:
            return change(
                lambda job: job_states.fail(
                    job, None, code="cancelled", message="The video was cancelled.",
                    expiry=change.expiry(retention_s),
                )
            )  # fmt: skip

    def delete(self, job_id: str, *, owner: str | None, grace_s: float) -> bool:
        """See `ClientOperations.delete`."""
        with self.change(job_id, owner=owner) as change:
            return change(
                lambda job: job_states.delete(job, now=int(self.now()), expiry=change.expiry(grace_s))
            )

    def restore(self, job_id: str, *, owner: str | None, retention_s: float) -> Job | None:
        """See `ClientOperations.restore`."""
        with self.change(job_id, owner=owner, deleted=True) as change:
            change(
                lambda job: job_states.restore(
                    job, uptime_s=change.expiry(0).uptime_s, expiry=change.expiry(retention_s)
                )
            )
            return change.result

    def set_labels(self, job_id: str, *, owner: str | None, labels: Labels) -> Job | None:
        """See `ClientOperations.set_labels`."""
        with self.change(job_id, owner=owner) as change:
            change(lambda job: dataclasses.replace(job, labels=labels))
            return change.result

    def changes(self, owner: str, *, since: int, limit: int = 500) -> list[Job]:
        """See `ClientOperations.changes`."""
        rows = self.sql.fetch_all(
            "SELECT * FROM videos WHERE owner = :owner AND change > :since ORDER BY change LIMIT :limit",
            {"owner": owner, "since": since, "limit": limit},
        )
        return list(map(job_from_row, rows))

    def derived(self, job_id: str, *, owner: str | None) -> list[Job]:
        """See `ClientOperations.derived`."""
        rows = self.sql.fetch_all(
            "SELECT * FROM videos WHERE (CAST(:owner AS TEXT) IS NULL OR owner = :owner) "
            f"AND deleted_at IS NULL AND sources <> '[]' AND {self.dialect.has_source} ORDER BY id",
            {"id": job_id, "owner": owner},
        )
        return list(map(job_from_row, rows))

    def folders(self, owner: str) -> dict[str, int]:
        """See `ClientOperations.folders`."""
        rows = self.sql.fetch_all(
            f"""SELECT {self.dialect.folder} AS folder, count(*) AS number FROM videos
                WHERE owner = :owner AND deleted_at IS NULL AND {self.dialect.folder} <> ''
                GROUP BY {self.dialect.folder} ORDER BY 1""",
            {"owner": owner},
        )
        return {row["folder"]: row["number"] for row in rows}

    def queue_position(self, job: Job) -> int | None:
        """See `ClientOperations.queue_position`."""
        # Owners take turns: in a round each has one job. The counts come from an index; a window over all
        # waiting jobs would take longer than the rest of a create.
        with self.sql.read() as connection:
            rows = connection.execute(
                f"""SELECT videos.owner AS owner, count(*) AS number,
                        coalesce(max(owners.last_turn), 0) AS turn,
                        sum(CASE WHEN videos.owner = :owner AND id <= :id THEN 1 ELSE 0 END) AS round,
                        sum(CASE WHEN id = :id THEN 1 ELSE 0 END) AS is_waiting
                    FROM videos LEFT JOIN owners ON owners.owner = videos.owner
                    WHERE {CLAIMABLE} GROUP BY videos.owner""",
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
                        f"SELECT id FROM videos WHERE owner = :owner AND {CLAIMABLE} "
                        "ORDER BY id LIMIT 1 OFFSET :offset",
                        {"owner": row["owner"], "model": job.served_model, "offset": place - 1},
                    ).fetchone()
                    is_first = rival is not None and rival["id"] < job.id
                position += int(is_first)
        return position

    def mean_work_s(self, served_model: str) -> float | None:
        """See `ClientOperations.mean_work_s`."""
        row = self.sql.fetch_one(
            """SELECT avg(worked_s) FROM (
                   SELECT worked_s FROM videos WHERE status = 'completed' AND served_model = :model
                       AND worked_s > 0 ORDER BY id DESC LIMIT 20) AS latest""",
            {"model": served_model},
        )
        return None if row is None else row[0]

    def totals(self, owner: str | None) -> OwnerTotals:
        """See `ClientOperations.totals`."""
        with self.sql.read() as connection:
            return _totals(connection, owner)


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
