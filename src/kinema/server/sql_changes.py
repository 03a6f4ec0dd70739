"""One change of one row: what the operations of `sql_store` have in common.

Where rows are locked one after the other, the row of `clock` comes last: a transaction that has it waits for
nothing else. It gives change numbers the order of commits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import time
from collections.abc import Callable, Iterator

from kinema.server.job import Job
from kinema.server.job_rows import INSERT, job_from_row, row_values
from kinema.server.job_states import Expiry
from kinema.server.sql_database import Connection, Dialect, SqlDatabase

CLAIMABLE = "status = 'queued' AND deleted_at IS NULL AND served_model IN ('', :model)"
_VISIBLE = (
    "id = :id AND (CAST(:owner AS TEXT) IS NULL OR owner = :owner) AND (deleted_at IS NOT NULL) = :deleted"
)


class SqlChanges:
    """Rows of a database, and how one is changed.

    Args:
        database: with the tables.
        dialect: its SQL.
        now: the wall clock, in Unix seconds.
    """

    def __init__(
        self, database: SqlDatabase, dialect: Dialect, *, now: Callable[[], float] = time.time
    ) -> None:
        self.sql, self.dialect, self.now = database, dialect, now

    @contextlib.contextmanager
    def change(
        self,
        job_id: str,
        *,
        owner: str | None = None,
        deleted: bool = False,
        revise: bool = True,
        durable: bool = True,
    ) -> Iterator[Change]:
        """A transaction with a row's job under a lock; the arguments say which row and what is counted."""
        with self.sql.transaction() as connection:
            if not durable:
                self.allow_loss(connection)
            row = connection.execute(
                f"SELECT * FROM videos WHERE {_VISIBLE}{self.dialect.for_update}",
                {"id": job_id, "owner": owner, "deleted": deleted},
            ).fetchone()
            yield Change(self, connection, None if row is None else job_from_row(row), revise=revise)

    def allow_loss(self, connection: Connection) -> None:
        """A power failure may undo this transaction."""
        if self.dialect.not_durable:
            connection.execute(self.dialect.not_durable)

    def insert(self, connection: Connection, job: Job) -> Job:
        """Add a row, with the next change number."""
        job = dataclasses.replace(job, change=_next_change(connection))
        connection.execute(INSERT, row_values(job))
        return job

    def expiry(self, connection: Connection, seconds: float) -> Expiry:
        """The time in so many seconds, on both clocks."""
        return Expiry(at=int(self.now() + seconds), uptime_s=uptime(connection) + seconds)

    def write(
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
                    "body_format": after.webhook_format, "created_at": int(self.now()),
                },
            )  # fmt: skip
        return after


class Change:
    """Applies a function of `job_states` to one row within a transaction."""

    def __init__(self, store: SqlChanges, connection: Connection, job: Job | None, *, revise: bool) -> None:
        self._store, self._connection, self._job, self._revise = store, connection, job, revise
        self.result: Job | None = None
        """The changed job; None: the change was not allowed."""

    def __call__(
        self, transition: Callable[[Job], Job | None], *, before_write: Callable[[Job], None] | None = None
    ) -> bool:
        """Apply the function and write what it changes; False: it is not allowed."""
        if self._job is not None:
            after = transition(self._job)
            if after is not None and before_write is not None:
                before_write(after)
            self.result = self._store.write(self._connection, self._job, after, revise=self._revise)
        return self.result is not None

    def expiry(self, seconds: float) -> Expiry:
        """The time in so many seconds."""
        return self._store.expiry(self._connection, seconds)


def _next_change(connection: Connection) -> int:
    return connection.execute("UPDATE clock SET change = change + 1 RETURNING change").fetchone()[0]


def uptime(connection: Connection) -> float:
    """The server clock (`ServerOperations.tick`)."""
    return connection.execute("SELECT uptime_s FROM clock").fetchone()[0]
