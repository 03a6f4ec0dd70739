"""The job store of many machines: a PostgreSQL database.

Workers poll: a look for a job is one query on an index. `FOR UPDATE SKIP LOCKED` gives two workers that claim
at the same time different jobs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema.errors import UserError
from kinema.server.database import BUSY_TIMEOUT_S
from kinema.server.job_rows import job_from_row
from kinema.server.job_store import StoreBusyError
from kinema.server.postgres_database import PostgresDatabase
from kinema.server.sql_database import Dialect
from kinema.server.sql_store import SqlJobStore

if TYPE_CHECKING:
    import psycopg

_POSTGRES = Dialect(
    for_update=" FOR UPDATE",
    skip_locked=" FOR UPDATE SKIP LOCKED",
    not_durable="SET LOCAL synchronous_commit = off",
    contains="strpos(search_text, {word}) > 0",
    favourite="CAST(CAST(labels AS JSON) ->> 'favourite' AS BOOLEAN)",
    folder="(CAST(labels AS JSON) ->> 'folder')",
    has_tag="jsonb_exists(CAST(labels AS JSONB) -> 'tags', :tag)",
    has_source="CAST(sources AS JSONB) @> jsonb_build_array(jsonb_build_object('id', CAST(:id AS TEXT)))",
)
_PAGE = 1000


class PostgresJobStore(SqlJobStore):
    """See `JobStore`. Every change that a client sees survives a power failure.

    Args:
        url: `postgresql://USER:PASSWORD@HOST/DATABASE`.
        busy_timeout_s: how long a writer waits for another one.
        now: the wall clock, in Unix seconds; None: that of the database, so that all servers have one.

    Raises:
        UserError: psycopg is missing, or the database can't be used.
    """

    def __init__(
        self, url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S, now: Callable[[], float] | None = None
    ) -> None:
        self._database = PostgresDatabase(url, busy_timeout_s=busy_timeout_s)
        self._has_own_clock, self._clock_offset = now is None, 0.0
        self._leader: psycopg.Connection[Any] | None = None
        self._leader_lock = threading.Lock()
        super().__init__(self._database, _POSTGRES, now=self._database_time if now is None else now)
        self._read_clock()

    def close(self) -> None:
        """See `ServerOperations.close`."""
        self._resign()
        super().close()

    def tick(self) -> float:
        """See `ServerOperations.tick`."""
        self._read_clock()
        return super().tick()

    def lead(self) -> bool:
        """See `ServerOperations.lead`: the leader's connection holds a lock, which ends with it."""
        with self._leader_lock:
            return self._lead()

    def _lead(self) -> bool:
        try:
            if self._leader is not None:
                self._leader.execute("SELECT 1")
                return True
        except Exception:  # The connection is lost, and the lock with it.
            self._resign()
        leader = self._database.open_connection()
        try:
            query = "SELECT pg_try_advisory_lock(hashtext('kinema leader'), hashtext(current_schema()))"
            row = leader.execute(query).fetchone()
            if row is not None and row[0]:
                self._leader, leader = leader, None
                return True
        except Exception as error:
            raise StoreBusyError(str(error)) from error
        finally:
            if leader is not None:
                leader.close()
        return False

    def shared_secret(self, name: str, proposal: bytes) -> bytes:
        """See `ServerOperations.shared_secret`."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO secrets VALUES (:name, :value) ON CONFLICT (name) DO NOTHING",
                {"name": name, "value": proposal.hex()},
            )
            row = connection.execute(
                "SELECT value FROM secrets WHERE name = :name", {"name": name}
            ).fetchone()
        return bytes.fromhex(row["value"])

    def _resign(self) -> None:
        if self._leader is not None:
            with contextlib.suppress(Exception):
                self._leader.close()
            self._leader = None

    def backup(self, target: Path) -> None:
        """See `OperatorOperations.backup`.

        Raises:
            UserError: always; PostgreSQL has better means.
        """
        raise UserError(
            f"can't write {target}: back up a PostgreSQL database with pg_dump, or with the means of its host"
        )

    def check_integrity(self) -> list[str]:
        """See `OperatorOperations.check_integrity`: rows that can't be read."""
        problems, after = [], ""
        while True:
            rows = self._database.fetch_all(
                "SELECT * FROM videos WHERE id > :after ORDER BY id LIMIT :limit",
                {"after": after, "limit": _PAGE},
            )
            for row in rows:
                try:
                    job_from_row(row)
                except (ValueError, TypeError, AttributeError) as error:
                    problems.append(f"the row of {row['id']} can't be read ({error})")
            if len(rows) < _PAGE:
                return problems
            after = rows[-1]["id"]

    def _read_clock(self) -> None:
        if self._has_own_clock:
            row = self._database.fetch_one("SELECT extract(epoch FROM clock_timestamp()) AS now", {})
            if row is not None:
                self._clock_offset = float(row["now"]) - time.monotonic()

    def _database_time(self) -> float:
        return time.monotonic() + self._clock_offset
