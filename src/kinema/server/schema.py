"""Tables of the SQLite job store, and migrations from older versions of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

from kinema.server.job import normalise_search_text

SCHEMA_VERSION = 3

_SCHEMA = """
CREATE TABLE videos (
    id TEXT PRIMARY KEY,                    -- starts with the creation time: ids sort by time
    owner TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('queued', 'in_progress', 'completed', 'failed')),
    progress INTEGER NOT NULL CHECK (progress BETWEEN 0 AND 100),
    step INTEGER NOT NULL,
    total_steps INTEGER NOT NULL,
    stage TEXT NOT NULL,
    preview_count INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    change INTEGER NOT NULL,                -- number of the last change of any row
    model TEXT NOT NULL,
    served_model TEXT NOT NULL,
    task TEXT NOT NULL,
    seed INTEGER NOT NULL,
    width INTEGER,
    height INTEGER,
    size TEXT NOT NULL,
    seconds TEXT NOT NULL,
    prompt TEXT NOT NULL,
    search_text TEXT NOT NULL,              -- the prompt in lower case
    remixed_from TEXT,
    request_json TEXT NOT NULL,             -- VideoRequest.to_dict()
    created_at INTEGER NOT NULL,
    completed_at INTEGER,
    expires_at INTEGER,
    expires_uptime_s REAL,
    error_code TEXT,
    error_message TEXT,
    attempt TEXT NOT NULL,                  -- fencing token
    worker_id TEXT,
    heartbeat INTEGER NOT NULL,
    attempts INTEGER NOT NULL,              -- since the last checkpoint
    worked_s REAL NOT NULL,
    checkpoint TEXT NOT NULL,
    checkpoint_sha256 TEXT NOT NULL,
    files TEXT NOT NULL,                    -- JSON: name -> sha256 and size
    file_bytes INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,          -- file_bytes and the request
    labels TEXT NOT NULL,                   -- JSON
    deleted_at INTEGER,
    webhook_url TEXT,
    webhook_format TEXT NOT NULL,
    sources TEXT NOT NULL,                  -- JSON: list of role and id
    warnings TEXT NOT NULL,                 -- JSON: list
    num_frames INTEGER,
    fps REAL,
    damage TEXT NOT NULL,
    idempotency_key TEXT,
    request_hash TEXT                       -- of the HTTP request with that key
) WITHOUT ROWID;
CREATE INDEX videos_by_owner ON videos (owner, id);
CREATE INDEX videos_by_change ON videos (owner, change);
CREATE INDEX videos_totals ON videos (owner, status, stored_bytes);
CREATE INDEX queued_videos ON videos (owner, id, served_model)
    WHERE status = 'queued' AND deleted_at IS NULL;
CREATE INDEX running_videos ON videos (id) WHERE status = 'in_progress';
CREATE INDEX videos_by_expiry ON videos (expires_uptime_s) WHERE expires_uptime_s IS NOT NULL;
CREATE UNIQUE INDEX videos_by_idempotency_key ON videos (owner, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE owners (owner TEXT PRIMARY KEY, last_turn INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    model TEXT NOT NULL,
    heartbeat INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE models (source TEXT PRIMARY KEY, model_info TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE clock (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    uptime_s REAL NOT NULL,                 -- seconds that a server was running
    last_tick REAL NOT NULL,                -- Unix seconds
    change INTEGER NOT NULL                 -- number of the last change of any job
);

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    video_id TEXT NOT NULL,
    endpoint TEXT NOT NULL,                 -- empty: the operator's
    body_format TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at REAL NOT NULL,
    delay_s REAL NOT NULL                   -- between the last attempt and the next one
) WITHOUT ROWID;
CREATE INDEX events_by_endpoint ON events (endpoint, next_attempt_at);
"""


class UnknownSchemaError(Exception):
    """The database is of a version that can't be migrated."""


def upgrade_schema(connection: sqlite3.Connection) -> None:
    """Create the tables, or migrate those of an older version; the caller's transaction contains it.

    Raises:
        UnknownSchemaError: the version is newer, or older than any that can be migrated.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    match version:
        case 3:
            return
        case 0:
            if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None:
                raise UnknownSchemaError("it is not a database of Kinema")
            _create_tables(connection)
        case 2:
            _migrate_from_2(connection)
        case _:
            writer = "a newer Kinema" if version > SCHEMA_VERSION else "Kinema 0.1"
            raise UnknownSchemaError(
                f"version {version} of {writer} can't be read; this Kinema reads versions 2 and 3"
            )
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _create_tables(connection: sqlite3.Connection) -> None:
    for statement in split_statements(_SCHEMA):
        connection.execute(statement)
    connection.execute("INSERT INTO clock VALUES (0, 0, 0, 0)")


def _migrate_from_2(connection: sqlite3.Connection) -> None:
    """Version 2: leases with wall clock times, no fencing tokens, no digests, no labels."""
    for name in ("videos_by_owner", "queued_videos", "running_videos", "videos_by_expiry",
                 "videos_by_idempotency_key", "events_by_next_attempt"):  # fmt: skip
        connection.execute(f"DROP INDEX {name}")
    connection.execute("DROP TRIGGER record_event")
    for table in ("videos", "owners", "workers", "events"):
        connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    _create_tables(connection)
    connection.create_function("search_text", 1, normalise_search_text, deterministic=True)
    connection.create_function("request_field", 2, _request_field, deterministic=True)
    # Jobs that run continue from their first step: their checkpoints have no digest. A finished job keeps its
    # time, counted from now.
    connection.execute(
        """INSERT INTO videos SELECT
               id, owner, status, progress, step, total_steps, stage, preview_count, revision, 0, model,
               CASE WHEN status IN ('queued', 'in_progress') THEN :served_model ELSE '' END,
               coalesce(request_field(request_json, 'task'), 'generate'),
               coalesce(request_field(request_json, 'seed'), 0),
               request_field(request_json, 'width'), request_field(request_json, 'height'),
               size, seconds, prompt, search_text(prompt), remixed_from, request_json, created_at,
               completed_at, expires_at,
               CASE WHEN expires_at IS NULL THEN NULL
                   ELSE max(0, expires_at - coalesce(completed_at, created_at)) END,
               error_code, error_message, '', NULL, 0, 0, 0, '', '', '{}', 0, length(request_json), '{}',
               NULL, NULL, 'openai', '[]', '[]', NULL, NULL, '', idempotency_key, request_hash
           FROM old_videos""",
        {"served_model": _only_model(connection)},
    )
    connection.execute("INSERT INTO owners SELECT owner, last_turn FROM old_owners")
    connection.execute(
        """INSERT INTO events
           SELECT id, kind, video_id, '', 'openai', created_at, attempts, next_attempt_at, 0
           FROM old_events"""
    )
    for table in ("videos", "owners", "workers", "events"):
        connection.execute(f"DROP TABLE old_{table}")


def _only_model(connection: sqlite3.Connection) -> str:
    """The model that the older server served; empty if it is unknown or there were several."""
    names = set()
    for (text,) in connection.execute("SELECT model_info FROM old_workers WHERE model_info IS NOT NULL"):
        names.add(str(json.loads(text).get("name", "")))
    return names.pop() if len(names) == 1 else ""


def _request_field(request_json: str, name: str) -> str | int | None:
    """A field of a stored request; None where it has none, or the request can't be read."""
    try:
        request = json.loads(request_json)
        size, upscale = request.get("size"), int(request.get("upscale") or 1)
        match name:
            case "task":
                return str((request.get("source") or {}).get("kind", "generate"))
            case "seed":
                return int(request.get("seed") or 0)
            case "width":
                return None if size is None else int(size[0]) * upscale
            case _:
                return None if size is None else int(size[1]) * upscale
    except (ValueError, TypeError, AttributeError, LookupError):
        return None


def split_statements(script: str) -> Iterator[str]:
    """The statements of a script one by one; `executescript` would commit between them."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
