"""The store: one SQLite file that the server and all workers share, and nothing else between them.

Every change of a film's state is one guarded `UPDATE ... WHERE` in one transaction, so that of two processes
that want the same change exactly one gets it, and a process that dies leaves no half of one.

    queued ── claim ──> in_progress ── finish ──> completed
       └── cancel ──────────┴─────── fail ──────> failed

A worker that dies leaves its film in progress with a lease that runs out; another then claims it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from kinema.errors import UserError

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE videos (
    id TEXT PRIMARY KEY,            -- begins with the moment of creation: the order of ids is that of time
    owner TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'in_progress', 'completed', 'failed')),
    progress INTEGER NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    step INTEGER NOT NULL DEFAULT 0,
    steps INTEGER NOT NULL DEFAULT 0,
    stage TEXT NOT NULL DEFAULT '',
    preview INTEGER NOT NULL DEFAULT 0,     -- how many previews were written
    change INTEGER NOT NULL DEFAULT 0,      -- how many times this row was changed
    model TEXT NOT NULL,
    size TEXT NOT NULL,
    seconds TEXT NOT NULL,
    prompt TEXT NOT NULL,
    remixed_from TEXT,
    wanted TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    started_at REAL,
    completed_at INTEGER,
    expires_at INTEGER,
    error_code TEXT,
    error_message TEXT,
    worker TEXT,
    lease REAL NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,       -- since it last got on
    repeat_key TEXT,                        -- the caller's Idempotency-Key
    repeat_body TEXT                        -- and the hash of what came with it
) WITHOUT ROWID;
CREATE INDEX of_owner ON videos (owner, id);
CREATE INDEX waiting ON videos (owner, id) WHERE status = 'queued';
CREATE INDEX running ON videos (lease) WHERE status = 'in_progress';
CREATE INDEX ending ON videos (expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX repeated ON videos (owner, repeat_key) WHERE repeat_key IS NOT NULL;

CREATE TABLE owners (owner TEXT PRIMARY KEY, turn INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    beat REAL NOT NULL,
    served TEXT
) WITHOUT ROWID;

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    video TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX next_event ON events (due);

CREATE TRIGGER told AFTER UPDATE OF status ON videos
WHEN new.status IN ('completed', 'failed') AND old.status NOT IN ('completed', 'failed')
BEGIN
    INSERT INTO events (id, kind, video, created_at, due)
    VALUES ('evt_' || lower(hex(randomblob(16))), 'video.' || new.status, new.id, unixepoch(), 0);
END;
"""


class Database:
    """A connection to the store; threads of one process share it, one at a time."""

    def __init__(self, data_dir: Path, *, durable: bool) -> None:
        """Open the store of a data folder, made if it is not there.

        Args:
            data_dir: the data folder.
            durable: whether every commit reaches the disk before it is acknowledged. What a caller was told
                must outlive a power cut; how far a film has come need not.

        Raises:
            UserError: the store was made by another version, or can't be opened.
        """
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                data_dir / "store.sqlite", timeout=30, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with self.transaction() as base:
                version = base.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    for statement in _split_statements(_SCHEMA):
                        base.execute(statement)
                    base.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except sqlite3.DatabaseError as error:
            raise UserError(f"can't open the store in {data_dir}: {error}; give another --data") from None
        if version not in (0, SCHEMA_VERSION):
            raise UserError(
                f"the store in {data_dir} is of version {version}, this Kinema's is {SCHEMA_VERSION}"
            )

    def close(self) -> None:
        """Close it; what was committed stays."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes: all of it, or nothing."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def fetch_one(self, sql: str, parameters: dict[str, object]) -> sqlite3.Row | None:
        """The first row of an answer."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchone()

    def fetch_all(self, sql: str, parameters: dict[str, object]) -> list[sqlite3.Row]:
        """All rows of an answer."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()


def _split_statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: sqlite3's own way would commit in between."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
