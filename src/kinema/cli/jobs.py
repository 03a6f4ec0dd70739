"""`kinema jobs`: what the operator of a server does with its jobs, while it runs or not."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import subcommand

from kinema.errors import UserError, missing_extra

if TYPE_CHECKING:
    from kinema.server.file_store import FileStore
    from kinema.server.job import Job
    from kinema.server.job_store import JobStore

RETENTION_S = 24 * 3600.0
"""How long jobs that these commands end or adopt are kept."""


@dataclass(frozen=True, kw_only=True)
class _DataArgs:
    """Options of all commands."""

    data: Path = Path("kinema-data")
    """Folder of the videos and the queue."""
    database: str = ""
    """postgresql://... of many servers; also KINEMA_DATABASE. By default the one in `data`."""
    storage: str = ""
    """With --database: where files are, a folder or s3://BUCKET/PREFIX. By default `data`."""

    @property
    def database_url(self) -> str:
        """The database of many servers; empty: the one in the data folder."""
        return self.database or os.environ.get("KINEMA_DATABASE", "")

    @property
    def folder(self) -> Path:
        """The data folder.

        Raises:
            UserError: it is none.
        """
        folder = self.data.expanduser().absolute()
        if not (folder / "videos").is_dir():
            raise UserError(f"{folder} is not a data folder of `kinema serve`; give its --data")
        return folder

    @contextlib.contextmanager
    def open_store(self) -> Iterator[tuple[JobStore, FileStore]]:
        """The jobs and their files.

        Raises:
            UserError: there is no database, or it can't be used now.
        """
        with _server_packages():
            from kinema.server.data_dir import ensure_data_dir
            from kinema.server.database import DATABASE_FILE
            from kinema.server.job_store import StoreBusyError
            from kinema.server.open_stores import is_postgres, open_file_store, open_job_store
        url = self.database_url
        if is_postgres(url):
            folder = ensure_data_dir(self.data)
        else:
            folder = self.folder
            if not url and not (folder / DATABASE_FILE).is_file():
                raise UserError(
                    f"there is no database in {folder}; start `kinema serve --data {folder}` first"
                )
        store = open_job_store(folder, url, durable=True, busy_timeout_s=10)
        try:
            yield store, open_file_store(folder, self.storage)
        except StoreBusyError as error:
            raise UserError(f"the database can't be written now ({error}); try again") from None
        finally:
            store.close()


@dataclass(frozen=True, kw_only=True)
class ListJobs(_DataArgs):
    """List jobs, newest first."""

    status: Literal["queued", "in_progress", "completed", "failed"] | None = None
    """Only jobs with this status."""
    owner: str | None = None
    """Only jobs of this owner."""
    search: str = ""
    """Only jobs whose prompt has all of these words."""
    limit: int = 50
    """The most jobs to list."""

    def run(self) -> None:
        """Print a line for each job, and the totals."""
        if self.limit < 1:
            raise UserError("--limit is at least 1")
        with self.open_store() as (store, _):
            from kinema.server.job_store import JobFilter

            which = JobFilter(owner=self.owner, status=self.status, search=self.search)
            page = store.list_jobs(which, limit=self.limit)
            for job in page.jobs:
                print(_line(job))
            if page.has_more:
                print(f"... (the first {self.limit}; more with --limit)")
            counts = ", ".join(f"{number} {status}" for status, number in store.count_by_status().items())
            print(f"{counts}; {store.totals(None).stored_bytes / 2**20:.1f} MiB")


@dataclass(frozen=True, kw_only=True)
class ShowJob(_DataArgs):
    """Show everything that is stored of a job."""

    id: tyro.conf.Positional[str]
    """Of the job."""

    def run(self) -> None:
        """Print the row as JSON, and the files."""
        with self.open_store() as (store, files):
            import dataclasses

            job = _require_job(store, self.id)
            values = dataclasses.asdict(job)
            values["request"] = json.loads(values.pop("request_json"))
            print(json.dumps(values, indent=2, ensure_ascii=False))
            for name, size in files.list_files(job.id):
                print(f"{size:>12,}  {name}")


@dataclass(frozen=True, kw_only=True)
class RetryJob(_DataArgs):
    """Generate a failed or damaged video again."""

    id: tyro.conf.Positional[str]
    """Of the job."""

    def run(self) -> None:
        """Put the job into the queue again, with the same id and request."""
        with self.open_store() as (store, files):
            job = _require_job(store, self.id)
            stored = {name for name, _ in files.list_files(job.id)}
            missing = [name for name in job.request.files() if name not in stored]
            if missing:
                raise UserError(f"the input {missing[0]} of {job.id} is no longer there; submit it again")
            # Without a result, a start that comes between these two changes generates it again too.
            files.remove_result(job.id)
            if store.retry(job.id) is None:
                if job.status == "completed":
                    files.write_result(job)
                raise UserError(f"{job.id} is {job.status}; only failed or damaged videos can be retried")
            print(f"{job.id} is queued")


@dataclass(frozen=True, kw_only=True)
class CancelJob(_DataArgs):
    """End a queued or running job."""

    id: tyro.conf.Positional[str]
    """Of the job."""

    def run(self) -> None:
        """Its worker stops at its next step."""
        with self.open_store() as (store, files):
            job = _require_job(store, self.id)
            if not store.cancel(job.id, owner=None, retention_s=RETENTION_S):
                raise UserError(f"{job.id} is {job.status} already")
            files.remove_other_attempts(job.id, "")
            print(f"{job.id} is cancelled")


@dataclass(frozen=True, kw_only=True)
class BackupJobs(_DataArgs):
    """Copy the database to a file, while the server runs."""

    output: tyro.conf.Positional[Path]
    """File to write."""

    def run(self) -> None:
        """Write a consistent copy, and check it. The videos themselves are not in it."""
        with self.open_store() as (store, _):
            from kinema.atomic_io import atomic_write
            from kinema.server.database import check_file

            with atomic_write(self.output) as temporary:
                store.backup(temporary)
                if findings := check_file(temporary, quick=False):
                    raise UserError(f"the database is damaged ({findings[0]}); nothing was written")
            self.output.chmod(0o600)
            print(f"{len(store.all_ids())} jobs in {self.output}")


@dataclass(frozen=True, kw_only=True)
class RestoreJobs(_DataArgs):
    """Replace the database by a backup; the server must be stopped."""

    backup: tyro.conf.Positional[Path]
    """File that `kinema jobs backup` wrote."""

    def run(self) -> None:
        """Bring rows and files into agreement: see docs/concepts/jobs.md."""
        if self.database_url:
            raise UserError("restore a PostgreSQL database with pg_restore; then start a server")
        folder = self.folder
        with _server_packages():
            from kinema.atomic_io import atomic_write, require_readable
            from kinema.server.data_dir import ensure_data_dir, lock_for_restore
            from kinema.server.database import DATABASE_FILE, check_file
            from kinema.server.recovery import reconcile
            from kinema.server.sqlite_store import SqliteJobStore
        ensure_data_dir(folder)
        source = require_readable(self.backup)
        if findings := check_file(source, quick=False):
            raise UserError(f"{source} is not an intact backup ({findings[0]}); give another one")
        with lock_for_restore(folder):
            database = folder / DATABASE_FILE
            with atomic_write(database) as temporary:
                shutil.copyfile(source, temporary)
                # Opened once under its temporary name: a file that is no job store replaces nothing.
                SqliteJobStore(temporary.parent, durable=True, file_name=temporary.name).close()
                for suffix in ("-wal", "-shm"):
                    database.with_name(database.name + suffix).unlink(missing_ok=True)
                    temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
            with self.open_store() as (store, files):
                for worker in store.workers():
                    store.mark_worker_dead(worker.id)
                report = reconcile(store, files, retention_s=RETENTION_S, remove_missing=True)
        print(
            f"restored {source}: {report.adopted} jobs that are newer than it adopted, "
            f"{report.completed} finished videos kept, {report.removed} deleted jobs removed"
        )


@dataclass(frozen=True, kw_only=True)
class VerifyJobs(_DataArgs):
    """Check the database, and each stored video against its digest."""

    def run(self) -> None:
        """Print what is damaged.

        Raises:
            UserError: something is.
        """
        with self.open_store() as (store, files):
            from kinema.server.scrub import check_job, completed_jobs

            problems = [f"database: {finding}" for finding in store.check_integrity()]
            videos = without_digest = 0
            for job in completed_jobs(store):
                videos += 1
                without_digest += not job.files
                problems += [
                    f"{finding.job_id}: {finding.file_name} is {finding.problem}"
                    for finding in check_job(store, files, job)
                ]
            for problem in problems:
                print(problem)
            note = f" ({without_digest} of Kinema 0.2 have no digest)" if without_digest else ""
            if problems:
                raise UserError(
                    f"{len(problems)} problems in {videos} videos{note}; `kinema jobs retry ID` generates a "
                    "damaged video again"
                )
            print(f"the database and {videos} videos are intact{note}")


AnyJobsCommand = (
    Annotated[ListJobs, subcommand("list")]
    | Annotated[ShowJob, subcommand("show")]
    | Annotated[RetryJob, subcommand("retry")]
    | Annotated[CancelJob, subcommand("cancel")]
    | Annotated[BackupJobs, subcommand("backup")]
    | Annotated[RestoreJobs, subcommand("restore")]
    | Annotated[VerifyJobs, subcommand("verify")]
)


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Inspect and repair the jobs of a server."""

    command: tyro.conf.OmitSubcommandPrefixes[AnyJobsCommand]

    def run(self) -> None:
        """Run the chosen command."""
        self.command.run()


@contextlib.contextmanager
def _server_packages() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError:
        raise missing_extra("this command", "serve") from None


def _require_job(store: JobStore, job_id: str) -> Job:
    job = store.get(job_id, owner=None)
    if job is None:
        raise UserError(f"there is no job {job_id!r}; `kinema jobs list` shows them")
    return job


def _line(job: Job) -> str:
    created = datetime.fromtimestamp(job.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    state = f"{job.status} {job.progress}%" if job.status == "in_progress" else job.status
    detail = job.damage or job.error_code or ""
    prompt = " ".join(job.prompt.split())
    text = f"{job.id}  {created}  {job.owner:<12.12}  {state:<16} {detail:<14} {prompt}"
    return text if len(text) <= 160 else f"{text[:157]}..."
