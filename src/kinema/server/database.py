"""Connections to an SQLite database that the server and all workers share.

Readers have their own connections: in WAL mode they wait for no writer. A writer waits for a short time only,
so that a process that is frozen within a transaction does not block all others.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from kinema.errors import UserError
from kinema.server.job_store import StoreBusyError
from kinema.server.schema import SCHEMA_VERSION, UnknownSchemaError, upgrade_schema

DATABASE_FILE = "store.sqlite"
BUSY_TIMEOUT_S = 2.0
_OPEN_TIMEOUT_S = 30.0
_RETRY_S = 0.001
"""Time between two looks for the lock of another writer."""


class Database:
    """Connections to a database. Threads of one process share them.

    Args:
        path: the file; it is created if necessary, and migrated to this version's tables.
        durable: whether a commit is on the disk before it is acknowledged. A response to a client must
            survive a power failure; a worker's progress need not.
        busy_timeout_s: how long a writer waits for another one.

    Raises:
        UserError: the file is damaged, of a version that can't be migrated, or can't be opened.
    """

    def __init__(self, path: Path, *, durable: bool, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._path, self._busy_timeout_s = path, busy_timeout_s
        self._lock = threading.Lock()
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._is_closed = False
        try:
            self._writer = self._connect()
            # Several processes may open a new or an old database at the same time: they wait for the first.
            self._writer.execute(f"PRAGMA busy_timeout = {int(1000 * _OPEN_TIMEOUT_S)}")
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            if self._writer.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
                with self.transaction() as connection:
                    upgrade_schema(connection)
            self._writer.execute("PRAGMA busy_timeout = 0")  # `_begin` waits.
        except StoreBusyError as error:
            self._writer.close()
            raise UserError(f"can't use the database {path}: {error}; try again") from None
        except (sqlite3.DatabaseError, UnknownSchemaError) as error:
            with contextlib.suppress(AttributeError):
                self._writer.close()
            raise UserError(
                f"can't open the database {path}: {error}; restore a backup with `kinema jobs restore`, or "
                "give another --data"
            ) from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        return connection

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._is_closed = True
            with contextlib.suppress(queue.Empty):
                while True:
                    self._readers.get_nowait().close()
            self._writer.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: commits at the end of the block, rolls back if it raises.

        Raises:
            StoreBusyError: another process is writing, or the disk is full.
        """
        if not self._lock.acquire(timeout=self._busy_timeout_s):
            raise StoreBusyError("the database is locked")
        try:
            with _busy_errors():
                self._begin()
            try:
                with _busy_errors():
                    yield self._writer
                    self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        finally:
            self._lock.release()

    def _begin(self) -> None:
        """Wait for the other writers, and begin.

        SQLite's own wait looks again after 1, 2, 5, ... up to 100 ms. A worker that completes many videos
        holds the lock for a few milliseconds at a time, and is nearly always found holding it.
        """
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                is_locked = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # Extended codes are larger.
                if not is_locked or time.monotonic() >= deadline:
                    raise
            time.sleep(_RETRY_S)

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection for queries; it sees what is committed."""
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = self._connect()
            connection.execute("PRAGMA query_only = 1")
        try:
            with _busy_errors():
                yield connection
        finally:
            if self._is_closed:
                connection.close()
            else:
                self._readers.put(connection)

    def fetch_one(self, sql: str, parameters: dict[str, object]) -> sqlite3.Row | None:
        """The first row of a query, if any."""
        with self.read() as connection:
            return connection.execute(sql, parameters).fetchone()

    def fetch_all(self, sql: str, parameters: dict[str, object]) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self.read() as connection:
            return connection.execute(sql, parameters).fetchall()

    def backup(self, target: Path) -> None:
        """Copy the database to a file, while others write."""
        with self.read() as source, contextlib.closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
            # A single file: no WAL that could be left behind.
            copy.execute("PRAGMA journal_mode = DELETE")


@contextlib.contextmanager
def _busy_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreBusyError(str(error)) from error


def check_file(path: Path, *, quick: bool) -> list[str]:
    """What is wrong with a database file; empty: nothing.

    Args:
        path: the file.
        quick: leave out the check that indices match their tables.
    """
    pragma = "quick_check" if quick else "integrity_check"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as connection:
            rows = [row[0] for row in connection.execute(f"PRAGMA {pragma}(20)")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if rows == ["ok"] else rows
