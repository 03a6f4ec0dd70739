"""The job store of one machine: an SQLite file in the data folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from kinema.server.database import BUSY_TIMEOUT_S, DATABASE_FILE, Database, check_file
from kinema.server.sql_database import Dialect
from kinema.server.sql_store import SqlJobStore

_SQLITE = Dialect(
    for_update="",
    skip_locked="",
    not_durable="",
    contains="instr(search_text, {word}) > 0",
    favourite="json_extract(labels, '$.favourite')",
    folder="json_extract(labels, '$.folder')",
    has_tag="EXISTS (SELECT 1 FROM json_each(labels, '$.tags') WHERE value = :tag)",
    has_source="EXISTS (SELECT 1 FROM json_each(sources) WHERE json_extract(value, '$.id') = :id)",
)


class SqliteJobStore(SqlJobStore):
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
        self._path = data_dir / file_name
        self._database = Database(self._path, durable=durable, busy_timeout_s=busy_timeout_s)
        super().__init__(self._database, _SQLITE, now=now)

    def lead(self) -> bool:
        """See `ServerOperations.lead`: one server uses a data folder."""
        return True

    def shared_secret(self, name: str, proposal: bytes) -> bytes:
        """See `ServerOperations.shared_secret`: servers of a data folder have its files."""
        del name
        return proposal

    def backup(self, target: Path) -> None:
        """See `OperatorOperations.backup`."""
        self._database.backup(target)

    def check_integrity(self) -> list[str]:
        """See `OperatorOperations.check_integrity`."""
        return check_file(self._path, quick=False)
