"""Connections to a PostgreSQL database that servers and workers on many machines share.

A connection that a restart of the database has ended is replaced; what was begun on it raises
`StoreBusyError`, which is answered with 503 and a time to wait. Waiting is bounded: for a lock by
`busy_timeout_s`, and a process that is frozen within a transaction loses its connection after
`IDLE_TIMEOUT_S`.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import re
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kinema.errors import UserError, missing_extra
from kinema.server.job_store import CommitUnknownError, StoreBusyError
from kinema.server.postgres_schema import upgrade_schema
from kinema.server.sql_database import Connection, Row

if TYPE_CHECKING:
    import psycopg

MAX_CONNECTIONS = 8
"""Connections of a process."""
IDLE_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 3
STATEMENT_TIMEOUT_S = 30.0


class PostgresDatabase:
    """Connections to a database. Threads of one process share them.

    Args:
        url: `postgresql://USER:PASSWORD@HOST/DATABASE`; the tables are created or migrated.
        busy_timeout_s: how long a writer waits for another one.

    Raises:
        UserError: psycopg is missing, or the database can't be opened.
    """

    def __init__(self, url: str, *, busy_timeout_s: float) -> None:
        try:
            import psycopg
        except ModuleNotFoundError:
            raise missing_extra("PostgreSQL", "postgres") from None
        self._psycopg, self._url, self._busy_timeout_s = psycopg, url, busy_timeout_s
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._idle: queue.SimpleQueue[psycopg.Connection[Any]] = queue.SimpleQueue()
        self._is_closed = False
        try:
            with self.transaction() as connection:
                upgrade_schema(connection)
        except StoreBusyError as error:
            raise UserError(f"can't use the PostgreSQL database: {error}") from None
        except psycopg.Error as error:
            raise UserError(f"can't use the PostgreSQL database: {_one_line(error)}") from None
        except UserError:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        self._close_idle()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A write transaction: commits at the end of the block, rolls back if it raises.

        Raises:
            StoreBusyError: the database can't be reached, or another transaction holds a lock.
        """
        with self._begun("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction for queries."""
        with self._begun("BEGIN READ ONLY") as connection:
            yield connection

    @contextlib.contextmanager
    def _begun(self, begin: str) -> Iterator[Connection]:
        with self._slot(), self._busy_errors():
            connection = self._connected(begin)
            try:
                yield _NamedParameters(connection)
                try:
                    connection.execute("COMMIT")
                except self._psycopg.OperationalError as error:
                    raise CommitUnknownError(_one_line(error)) from error
            except BaseException:
                with contextlib.suppress(self._psycopg.Error):
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._put_back(connection)

    def fetch_one(self, sql: str, parameters: dict[str, object]) -> Row | None:
        """The first row of a query, if any."""
        rows = self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    def fetch_all(self, sql: str, parameters: dict[str, object]) -> list[Row]:
        """All rows of a query."""
        with self._slot(), self._busy_errors():
            while True:
                connection, is_new = self._take()
                try:
                    return _NamedParameters(connection).execute(sql, parameters).fetchall()
                except self._psycopg.OperationalError:
                    # A query may be repeated: an old connection was ended by a restart of the database.
                    if is_new or not connection.closed:
                        raise
                    self._close_idle()
                finally:
                    self._put_back(connection)

    def open_connection(self) -> psycopg.Connection[Any]:
        """A connection for the caller alone.

        Raises:
            StoreBusyError: the database can't be reached.
        """
        with self._busy_errors():
            connection = self._psycopg.connect(
                self._url, autocommit=True, row_factory=_row_factory, connect_timeout=CONNECT_TIMEOUT_S,
                application_name="kinema", tcp_user_timeout=int(1000 * IDLE_TIMEOUT_S),
            )  # fmt: skip
            for name, seconds in (
                ("lock_timeout", self._busy_timeout_s),
                ("idle_in_transaction_session_timeout", IDLE_TIMEOUT_S),
                ("statement_timeout", STATEMENT_TIMEOUT_S),
            ):
                connection.execute(f"SET {name} = {int(1000 * seconds)}".encode())
        return connection

    def _take(self) -> tuple[psycopg.Connection[Any], bool]:
        try:
            return self._idle.get_nowait(), False
        except queue.Empty:
            return self.open_connection(), True

    def _connected(self, begin: str) -> psycopg.Connection[Any]:
        """A connection on which a transaction has begun."""
        while True:
            connection, is_new = self._take()
            try:
                _NamedParameters(connection).execute(begin)
                return connection
            except self._psycopg.Error:
                connection.close()
                if is_new:
                    raise
                self._close_idle()

    def _put_back(self, connection: psycopg.Connection[Any]) -> None:
        is_usable = not connection.closed and connection.info.transaction_status == 0
        if self._is_closed or not is_usable:
            connection.close()
        else:
            self._idle.put(connection)

    def _close_idle(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=self._busy_timeout_s):
            raise StoreBusyError("all connections to the database are in use")
        try:
            yield
        finally:
            self._slots.release()

    @contextlib.contextmanager
    def _busy_errors(self) -> Iterator[None]:
        errors = self._psycopg
        try:
            yield
        # An internal error is that of a transaction which was ended, or of a database that is read-only.
        except (errors.OperationalError, errors.InterfaceError, errors.InternalError) as error:
            raise StoreBusyError(_one_line(error)) from error


class _NamedParameters:
    """A connection whose statements have parameters `:name`."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Mapping[str, object] | None = None, /) -> Any:
        """Run a statement."""
        return self._connection.execute(_translated(sql).encode(), parameters or {})


class _Row(tuple[Any, ...]):
    """A row whose columns are found by name or place, as those of SQLite."""

    names: dict[str, int]

    def __getitem__(self, key: Any, /) -> Any:
        return super().__getitem__(self.names[key] if isinstance(key, str) else key)

    def keys(self) -> list[str]:
        """Names of the columns."""
        return list(self.names)


def _row_factory(cursor: psycopg.Cursor[Any]) -> Any:
    names = {column.name: place for place, column in enumerate(cursor.description or ())}
    return type("NamedRow", (_Row,), {"names": names})


@functools.lru_cache(maxsize=512)
def _translated(sql: str) -> str:
    """The statement with psycopg's parameters."""
    return re.sub(r":([a-z_]\w*)", r"%(\1)s", sql.replace("%", "%%"))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
