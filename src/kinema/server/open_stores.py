"""The job store and the file store that the settings name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from kinema.errors import UserError
from kinema.server.data_dir import ensure_data_dir
from kinema.server.database import BUSY_TIMEOUT_S, DATABASE_FILE
from kinema.server.file_store import FileStore
from kinema.server.job_store import JobStore
from kinema.server.sqlite_store import SqliteJobStore
from kinema.server.storage import LocalFileStore

DATABASE_VARIABLE = "KINEMA_DATABASE"
"""A worker gets the database's URL from this variable: a command line is visible to everybody."""


def is_postgres(database: str) -> bool:
    """Whether the URL is that of a database that other machines use too."""
    return database.startswith(("postgresql://", "postgres://"))


def check_database(database: str) -> None:
    """Refuse a URL of another kind.

    Raises:
        UserError: it is neither empty, nor sqlite:///, nor postgresql://. The message has no password.
    """
    if database and not is_postgres(database) and not database.startswith("sqlite:///"):
        scheme = urlsplit(database).scheme
        raise UserError(
            f"the database can't be {scheme or 'a path'!r}; give sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
        )


def check_storage(storage: str) -> None:
    """Refuse a URL of another kind.

    Raises:
        UserError: it is neither empty, nor a folder, nor s3://BUCKET.
    """
    if "://" in storage and not (storage.startswith("s3://") and urlsplit(storage).netloc):
        raise UserError(f"the storage can't be {storage!r}; give a folder or s3://BUCKET/PREFIX")


def open_job_store(
    data_dir: Path, database: str, *, durable: bool, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> JobStore:
    """The job store.

    Args:
        data_dir: the data folder.
        database: `Settings.database`.
        durable: whether changes are on the disk when a method returns; always, with PostgreSQL.
        busy_timeout_s: how long a writer waits for another one.

    Raises:
        UserError: it can't be opened.
    """
    check_database(database)
    if is_postgres(database):
        from kinema.server.postgres_store import PostgresJobStore

        return PostgresJobStore(database, busy_timeout_s=busy_timeout_s)
    file = Path(database.removeprefix("sqlite:///")) if database else data_dir / DATABASE_FILE
    return SqliteJobStore(
        file.expanduser().parent, durable=durable, busy_timeout_s=busy_timeout_s, file_name=file.name
    )


def open_file_store(data_dir: Path, storage: str) -> FileStore:
    """The file store.

    Args:
        data_dir: the data folder.
        storage: `Settings.storage`.

    Raises:
        UserError: it can't be used.
    """
    check_storage(storage)
    if storage.startswith("s3://"):
        from kinema.server.s3_store import S3FileStore

        return S3FileStore(data_dir, storage)
    return LocalFileStore(ensure_data_dir(storage) if storage else data_dir)
