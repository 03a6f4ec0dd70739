"""The database: one SQLite file that the server and all workers share. They communicate in no other way.

Each change of a job's state is one guarded `UPDATE ... WHERE` in one transaction: of two processes that want
the same change exactly one gets it, and a process that dies leaves no partial change.

    queued ── claim ──> in_progress ── complete ──> completed
       └── cancel ──────────┴────────── fail ─────> failed

A worker that dies leaves its job in progress with a lease that expires; another worker then claims it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from kinema.errors import UserError

SCHEMA_VERSION = 2

_SCHEMA = """
CREATE TABLE videos (
    id TEXT PRIMARY KEY,                -- starts with the creation time: ids sort by time
    owner TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'in_progress', 'completed', 'failed')),
    progress INTEGER NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    step INTEGER NOT NULL DEFAULT 0,
    total_steps INTEGER NOT NULL DEFAULT 0,
    stage TEXT NOT NULL DEFAULT '',
    preview_count INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0,    -- how many times this row was changed
    model TEXT NOT NULL,
    size TEXT NOT NULL,
    seconds TEXT NOT NULL,
    prompt TEXT NOT NULL,
    remixed_from TEXT,
    request_json TEXT NOT NULL,             -- VideoRequest.to_dict()
    created_at INTEGER NOT NULL,
    started_at REAL,
    completed_at INTEGER,
    expires_at INTEGER,
    error_code TEXT,
    error_message TEXT,
    worker_id TEXT,
    lease_expires_at REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,    -- since the last checkpoint
    idempotency_key TEXT,
    request_hash TEXT                       -- of the HTTP request with that key
) WITHOUT ROWID;
CREATE INDEX videos_by_owner ON videos (owner, id);
CREATE INDEX queued_videos ON videos (owner, id) WHERE status = 'queued';
CREATE INDEX running_videos ON videos (lease_expires_at) WHERE status = 'in_progress';
CREATE INDEX videos_by_expiry ON videos (expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX videos_by_idempotency_key ON videos (owner, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE owners (owner TEXT PRIMARY KEY, last_turn INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    last_heartbeat_at REAL NOT NULL,
    model_info TEXT
) WITHOUT ROWID;

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    video_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX events_by_next_attempt ON events (next_attempt_at);

CREATE TRIGGER record_event AFTER UPDATE OF status ON videos
WHEN new.status IN ('completed', 'failed') AND old.status NOT IN ('completed', 'failed')
BEGIN
    INSERT INTO events (id, kind, video_id, created_at, next_attempt_at)
    VALUES ('evt_' || lower(hex(randomblob(16))), 'video.' || new.status, new.id, unixepoch(), 0);
END;
"""


class Database:
    """A connection to the database. Threads of one process share it; one uses it at a time.

    Args:
        data_dir: the data folder; the file is created in it if necessary.
        durable: whether a commit is on the disk before it is acknowledged. A response to a client must
            survive a power failure; a worker's progress need not.

    Raises:
        UserError: the file is of another version, or can't be opened.
    """

    def __init__(self, data_dir: Path, *, durable: bool) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                data_dir / "store.sqlite", timeout=30, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with self.transaction() as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    for statement in _split_statements(_SCHEMA):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except sqlite3.DatabaseError as error:
            raise UserError(f"can't open the database in {data_dir}: {error}; give another --data") from None
        if version not in (0, SCHEMA_VERSION):
            self.close()
            raise UserError(
                f"the database in {data_dir} has version {version} and this Kinema needs version "
                f"{SCHEMA_VERSION}; give another --data, or delete {data_dir} with its videos"
            )

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: commits at the end of the block, rolls back if it raises."""
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
        """The first row of a query, if any."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchone()

    def fetch_all(self, sql: str, parameters: dict[str, object]) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()


def _split_statements(script: str) -> Iterator[str]:
    """The statements of a script one by one; `executescript` would commit between them."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
