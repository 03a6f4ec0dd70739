"""What the SQL of the job store needs from a database: rows, connections and transactions.

Statements have named parameters (`:name`) and run on SQLite and PostgreSQL; what differs is a `Dialect`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol


class Row(Protocol):
    """A row; columns are found by name or place."""

    def __getitem__(self, key: Any, /) -> Any:
        """A column."""
        ...

    def keys(self) -> Iterable[str]:
        """Names of the columns."""
        ...


class Cursor(Protocol):
    """Result of a statement."""

    def fetchone(self) -> Any:
        """The next row; None: there is none."""
        ...

    def fetchall(self) -> list[Any]:
        """The remaining rows."""
        ...


class Connection(Protocol):
    """A connection within a transaction."""

    def execute(self, sql: str, parameters: Mapping[str, object] = ..., /) -> Cursor:
        """Run a statement."""
        ...


class SqlDatabase(Protocol):
    """Connections that the threads of a process share. Each method raises `StoreBusyError`."""

    def transaction(self) -> AbstractContextManager[Connection]:
        """A write transaction: commits at the end of the block, rolls back if it raises."""
        ...

    def read(self) -> AbstractContextManager[Connection]:
        """A connection for queries."""
        ...

    def fetch_one(self, sql: str, parameters: dict[str, object]) -> Row | None:
        """The first row of a query, if any."""
        ...

    def fetch_all(self, sql: str, parameters: dict[str, object]) -> list[Any]:
        """All rows of a query."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Expressions that differ between databases.

    Attributes:
        for_update: ends a query whose rows are locked until the transaction ends. SQLite locks everything.
        skip_locked: the same, without rows that are locked.
        not_durable: statement of a transaction that a power failure may undo; empty: none is needed.
        contains: whether the prompt contains a word; `{word}` is its parameter.
        favourite, folder: labels.
        has_tag: whether there is a label `:tag`.
        has_source: whether `:id` is a source.
    """

    for_update: str
    skip_locked: str
    not_durable: str
    contains: str
    favourite: str
    folder: str
    has_tag: str
    has_source: str
