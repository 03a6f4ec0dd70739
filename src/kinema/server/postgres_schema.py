"""Tables of the PostgreSQL job store. Migrations are a list that only grows: the version is its length."""

from __future__ import annotations

from kinema.errors import UserError
from kinema.server.sql_database import Connection

_TABLES = """
CREATE TABLE videos (
    id TEXT COLLATE "C" PRIMARY KEY,
    owner TEXT COLLATE "C" NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('queued', 'in_progress', 'completed', 'failed')),
    progress INTEGER NOT NULL CHECK (progress BETWEEN 0 AND 100),
    step INTEGER NOT NULL,
    total_steps INTEGER NOT NULL,
    stage TEXT NOT NULL,
    preview_count INTEGER NOT NULL,
    revision BIGINT NOT NULL,
    change BIGINT NOT NULL,
    model TEXT NOT NULL,
    served_model TEXT NOT NULL,
    task TEXT NOT NULL,
    seed BIGINT NOT NULL,
    width INTEGER,
    height INTEGER,
    size TEXT NOT NULL,
    seconds TEXT NOT NULL,
    prompt TEXT NOT NULL,
    search_text TEXT NOT NULL,
    remixed_from TEXT,
    request_json TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    completed_at BIGINT,
    expires_at BIGINT,
    expires_uptime_s DOUBLE PRECISION,
    error_code TEXT,
    error_message TEXT,
    attempt TEXT NOT NULL,
    worker_id TEXT,
    heartbeat BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    worked_s DOUBLE PRECISION NOT NULL,
    checkpoint TEXT NOT NULL,
    checkpoint_sha256 TEXT NOT NULL,
    files TEXT NOT NULL,
    file_bytes BIGINT NOT NULL,
    stored_bytes BIGINT NOT NULL,
    labels TEXT NOT NULL,
    deleted_at BIGINT,
    webhook_url TEXT,
    webhook_format TEXT NOT NULL,
    sources TEXT NOT NULL,
    warnings TEXT NOT NULL,
    num_frames INTEGER,
    fps DOUBLE PRECISION,
    damage TEXT NOT NULL,
    idempotency_key TEXT,
    request_hash TEXT
) WITH (fillfactor = 70);
CREATE INDEX videos_by_owner ON videos (owner, id);
CREATE INDEX videos_by_change ON videos (owner, change);
CREATE INDEX videos_totals ON videos (owner, status, stored_bytes);
CREATE INDEX queued_videos ON videos (owner, id, served_model)
    WHERE status = 'queued' AND deleted_at IS NULL;
CREATE INDEX running_videos ON videos (id) WHERE status = 'in_progress';
CREATE INDEX videos_by_expiry ON videos (expires_uptime_s) WHERE expires_uptime_s IS NOT NULL;
CREATE UNIQUE INDEX videos_by_idempotency_key ON videos (owner, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE TABLE owners (owner TEXT COLLATE "C" PRIMARY KEY, last_turn BIGINT NOT NULL);
CREATE TABLE workers (
    id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, model TEXT NOT NULL,
    heartbeat BIGINT NOT NULL
);
CREATE TABLE models (source TEXT PRIMARY KEY, model_info TEXT NOT NULL);
CREATE TABLE clock (
    id INTEGER PRIMARY KEY CHECK (id = 0), uptime_s DOUBLE PRECISION NOT NULL,
    last_tick DOUBLE PRECISION NOT NULL, change BIGINT NOT NULL
);
INSERT INTO clock VALUES (0, 0, 0, 0);
CREATE TABLE events (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, video_id TEXT NOT NULL, endpoint TEXT NOT NULL,
    body_format TEXT NOT NULL, created_at BIGINT NOT NULL, attempts INTEGER NOT NULL,
    next_attempt_at DOUBLE PRECISION NOT NULL, delay_s DOUBLE PRECISION NOT NULL
);
CREATE INDEX events_by_endpoint ON events (endpoint, next_attempt_at);
"""
_SECRETS = "CREATE TABLE secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
MIGRATIONS = (_TABLES, _SECRETS)
"""Migration n makes version n + 1 from version n; 0 is an empty database."""
SCHEMA_VERSION = len(MIGRATIONS)


def upgrade_schema(connection: Connection) -> None:
    """Create the tables, or bring those of an older version up to date; one process at a time does.

    Raises:
        UserError: a newer Kinema made the tables, or those of something else have their names.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('kinema schema'))")
    found = connection.execute("SELECT to_regclass('kinema_schema') IS NOT NULL AS found").fetchone()[0]
    version = connection.execute("SELECT version FROM kinema_schema").fetchone()[0] if found else 0
    if version > SCHEMA_VERSION:
        raise UserError(
            f"version {version} of the PostgreSQL tables is of a newer Kinema; this one reads up to "
            f"{SCHEMA_VERSION}"
        )
    if version == SCHEMA_VERSION:
        return
    if not found:
        if connection.execute("SELECT to_regclass('videos') IS NOT NULL AS found").fetchone()[0]:
            raise UserError(
                "the PostgreSQL database has a table `videos` of something else; give another one"
            )
        connection.execute("CREATE TABLE kinema_schema (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO kinema_schema VALUES (0)")
    for migration in MIGRATIONS[version:]:
        for statement in filter(None, map(str.strip, migration.split(";"))):
            connection.execute(statement)
    connection.execute("UPDATE kinema_schema SET version = :version", {"version": SCHEMA_VERSION})
