"""Interface of the job store: where the server and its workers keep jobs, and the only way they communicate.

`SqliteJobStore` implements it for one machine. An implementation has these properties, which
`tests/server/test_job_store.py` and `tests/server/test_job_store_model.py` check for each:

- Each method is one transaction. When a method of a *durable* store returns, its change survives a power
  failure.
- Changes of a job's state are those of `kinema.server.job_states`, applied to the row under a lock.
- Everything that a worker changes carries the fencing token of its attempt; with a token that is no longer
  the job's, nothing changes and the method returns None or False.
- A reader never waits for a writer. A writer waits a few seconds and then raises `StoreBusyError`.
- No decision depends on a difference between two machines' clocks, or on a clock that is set. Leases are
  counters: see `Lease`. Retention counts the server's uptime: see `tick`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kinema.server.job import FileDigest, Job, JobCreate, JobStatus, Labels
from kinema.server.job_states import Progress
from kinema.server.model_info import ModelInfo

if TYPE_CHECKING:
    from kinema.server.settings import Limits


class StoreBusyError(Exception):
    """The store can't be written now: another process has it locked, or its disk is full. Try again later."""


class CommitUnknownError(StoreBusyError):
    """The connection was lost while a transaction was committed: its changes may be there."""


CreateResult = tuple[Job, bool] | Exception
"""The job and whether it is new, or the reason why there is none."""


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs a list holds.

    Attributes:
        owner: whose; None: of all (operator).
        status: only these; None: any.
        search: words that all occur in the prompt, in any case and order.
        favourite, folder, tag: only jobs with that label; None: any.
        deleted: the deleted jobs that can still be restored, instead of the others.
    """

    owner: str | None = None
    status: JobStatus | None = None
    search: str = ""
    favourite: bool | None = None
    folder: str | None = None
    tag: str | None = None
    deleted: bool = False


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """A page of a list.

    Attributes:
        jobs: in order of their ids, which is the order of their creation.
        has_more: whether more follow.
    """

    jobs: tuple[Job, ...]
    has_more: bool


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The sign of life of a running attempt.

    An observer that sees the same lease for `lease_s` seconds of its own monotonic clock
    (`leases.SilenceMonitor`) may treat the attempt as dead.
    """

    job_id: str
    attempt: str
    heartbeat: int


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """A registered worker.

    Attributes:
        id: of the worker.
        host: name of its machine.
        pid: its process there; 0: it has ended.
        model: name of the model that it has loaded; empty: none yet.
        heartbeat: how many times it reported that it is alive.
    """

    id: str
    host: str
    pid: int
    model: str
    heartbeat: int


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What the workers of a model have to do.

    Attributes:
        waiting: jobs that no worker has.
        busy_workers: ids of the workers that have one.
    """

    waiting: int
    busy_workers: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class OwnerTotals:
    """What an owner has in the store, deleted jobs that can be restored included.

    Attributes:
        owner: empty: all owners together.
        videos: rows.
        queued: of them, waiting.
        stored_bytes: requests, inputs and finished files.
    """

    owner: str
    videos: int
    queued: int
    stored_bytes: int


@dataclass(frozen=True, kw_only=True)
class WebhookEvent:
    """An event that is to be delivered.

    Attributes:
        id: the same in each attempt.
        kind: video.completed or video.failed.
        video_id: of the video.
        endpoint: its receiver; empty: the operator's.
        body_format: whose shape its body has.
        created_at: Unix seconds.
        attempts: deliveries that failed.
    """

    id: str
    kind: str
    video_id: str
    endpoint: str
    body_format: str
    created_at: int
    attempts: int


class ClientOperations(Protocol):
    """What the HTTP API does. `owner` restricts a method to one owner's jobs; None is the operator."""

    def create(self, jobs: Sequence[JobCreate], limits: Limits) -> list[CreateResult]:
        """Add jobs in one transaction.

        Returns:
            For each job the job and True; with a repeated Idempotency-Key the earlier job and False;
            IdempotencyConflictError where the key was used with another request; QueueFullError,
            StorageQuotaError or RequestTooLargeError where a limit is reached, of this owner or of all.
        """
        ...

    def get(self, job_id: str, *, owner: str | None, deleted: bool = False) -> Job | None:
        """A job; with `deleted` also one that is deleted and can be restored."""
        ...

    def list_jobs(
        self, which: JobFilter, *, after: str | None = None, limit: int = 20, newest_first: bool = True
    ) -> JobPage:
        """A page of jobs.

        Args:
            which: jobs of the list.
            after: the last id of the page before; None: the first page.
            limit: the most jobs of the page.
            newest_first: the order.
        """
        ...

    def cancel(self, job_id: str, *, owner: str | None, retention_s: float) -> bool:
        """End an unfinished job; its worker stops at its next report. False: it was finished."""
        ...

    def delete(self, job_id: str, *, owner: str | None, grace_s: float) -> bool:
        """Hide a job for `grace_s` seconds, after which `expired` returns it. False: there is none."""
        ...

    def restore(self, job_id: str, *, owner: str | None, retention_s: float) -> Job | None:
        """Undo `delete`; None: there is no such deleted job."""
        ...

    def set_labels(self, job_id: str, *, owner: str | None, labels: Labels) -> Job | None:
        """Replace the labels of a job."""
        ...

    def changes(self, owner: str, *, since: int, limit: int = 500) -> list[Job]:
        """The owner's jobs that changed after change number `since`, deleted ones included, in that order."""
        ...

    def derived(self, job_id: str, *, owner: str | None) -> list[Job]:
        """Jobs that have this one as a source."""
        ...

    def folders(self, owner: str) -> dict[str, int]:
        """The owner's folders by name, with the number of videos in each."""
        ...

    def queue_position(self, job: Job) -> int | None:
        """How many queued jobs start before this one if no more arrive; None: it is not queued."""
        ...

    def mean_work_s(self, served_model: str) -> float | None:
        """Mean seconds of work of the last videos of a model; None: there are none."""
        ...

    def totals(self, owner: str | None) -> OwnerTotals:
        """What an owner, or all of them, have stored."""
        ...


class WorkerOperations(Protocol):
    """What a worker does. `attempt` is the fencing token that `claim` returned with the job."""

    def register_worker(self) -> str:
        """Register this process as a worker; its id."""
        ...

    def publish_model(self, worker_id: str, source: str, model_info: ModelInfo) -> None:
        """The worker has loaded its model.

        Args:
            worker_id: of the worker.
            source: the model as the operator names it (`Settings.model`).
            model_info: what it can generate.
        """
        ...

    def unregister_worker(self, worker_id: str) -> None:
        """The worker ends in good order: its job is free at once, and the attempt is not counted."""
        ...

    def mark_worker_dead(self, worker_id: str) -> None:
        """The worker has died: its job is free at once."""
        ...

    def claim(
        self, worker_id: str, model: str, *, expired: Collection[Lease], max_attempts: int
    ) -> Job | None:
        """Start an attempt of the next job, with a new fencing token.

        First come jobs whose worker died, oldest first; then the oldest job of the owner whose turn it is.

        Args:
            worker_id: the claiming worker.
            model: name of its model; jobs of other models are left alone.
            expired: leases that were silent for a whole lease; one that has changed since is ignored.
            max_attempts: starts without a checkpoint, after which a job is not started again.
        """
        ...

    def heartbeat(self, worker_id: str, attempt: str, *, worked_s: float) -> bool:
        """The worker is alive. With an attempt (not empty), so is that, and it has worked for `worked_s`
        seconds since the last report. False: the attempt no longer has its job.
        """
        ...

    def report_progress(self, job_id: str, attempt: str, progress: Progress) -> bool:
        """The attempt has come further."""
        ...

    def record_checkpoint(self, job_id: str, attempt: str, *, path: str, sha256: str) -> bool:
        """The attempt has saved its state in a file of the job's folder."""
        ...

    def discard_checkpoint(self, job_id: str, attempt: str) -> bool:
        """The checkpoint is damaged, and the attempt begins at the first step."""
        ...

    def complete(
        self,
        job_id: str,
        attempt: str,
        *,
        files: Mapping[str, FileDigest],
        warnings: tuple[str, ...] = (),
        retention_s: float,
        before_commit: Callable[[Job], None],
    ) -> bool:
        """Complete a job with the attempt's files.

        Args:
            job_id: of the job.
            attempt: whose files they are.
            files: their digests by name.
            warnings: added to those of the job.
            retention_s: how long they are kept.
            before_commit: called with the completed job within the transaction, after the token was checked;
                what it raises rolls the transaction back.
        """
        ...

    def fail(self, job_id: str, attempt: str, *, code: str, message: str, retention_s: float) -> bool:
        """End the attempt's job without a video."""
        ...

    def holds(self, job_id: str, attempt: str) -> bool:
        """Whether the job is still this attempt's."""
        ...


class ServerOperations(Protocol):
    """What the supervisor of a server does."""

    def tick(self) -> float:
        """Advance the server clock, and return it; retention and grace periods are measured with it.

        It counts seconds between two ticks, at most 60: it stands still while no server runs, and hardly
        moves when the wall clock jumps.
        """
        ...

    def lead(self) -> bool:
        """Whether this server removes files and delivers webhooks: one of all servers does at a time."""
        ...

    def shared_secret(self, name: str, proposal: bytes) -> bytes:
        """A secret that all servers of the store have: that of the first one which proposed any."""
        ...

    def leases(self) -> list[Lease]:
        """The running attempts."""
        ...

    def workers(self) -> list[WorkerRow]:
        """The registered workers."""
        ...

    def model_info(self, source: str) -> ModelInfo | None:
        """What the served model can generate; None before a worker has loaded it for the first time."""
        ...

    def fail_overdue(self, timeout_s: float, *, retention_s: float) -> list[str]:
        """Fail jobs that were worked on for longer than `timeout_s` seconds; their ids."""
        ...

    def fail_abandoned(
        self, expired: Collection[Lease], max_attempts: int, *, retention_s: float
    ) -> list[str]:
        """Fail jobs that were started `max_attempts` times without a checkpoint; their ids."""
        ...

    def expired(self) -> list[str]:
        """Ids of the finished and deleted jobs whose time is over. They are hidden from now on."""
        ...

    def remove(self, job_ids: Collection[str]) -> None:
        """Remove rows of `expired`, after their files."""
        ...

    def demand(self, model: str) -> Demand:
        """What the workers of a model (`ModelInfo.name`) have to do."""
        ...

    def count_by_status(self) -> dict[str, int]:
        """Number of jobs with each status."""
        ...

    def due_events(self, *, limit_per_endpoint: int) -> list[WebhookEvent]:
        """Webhook events that are to be delivered now."""
        ...

    def record_delivery(self, event_id: str, *, retry_in_s: float | None) -> None:
        """An event was delivered or given up (None), or is to be delivered again."""
        ...

    def clear_events(self) -> None:
        """Forget the events for the operator's receiver: none is configured."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class OperatorOperations(Protocol):
    """What `kinema jobs` and the recovery at a start do."""

    def all_ids(self) -> set[str]:
        """Ids of all rows, deleted ones included."""
        ...

    def retry(self, job_id: str) -> Job | None:
        """Generate a failed or damaged video again; None: it is neither."""
        ...

    def adopt(self, job: JobCreate, *, created_at: int) -> Job | None:
        """Add a job whose row was lost and whose folder was found; None: there is a row."""
        ...

    def adopt_result(
        self, job_id: str, attempt: str, *, files: Mapping[str, FileDigest], retention_s: float
    ) -> bool:
        """Complete a job whose finished files were found."""
        ...

    def set_damage(self, job_id: str, damage: str) -> None:
        """Record what a check of a completed job's files found; empty: nothing."""
        ...

    def backup(self, target: Path) -> None:
        """Write a consistent copy of the store to a file, while servers and workers run."""
        ...

    def check_integrity(self) -> list[str]:
        """What is wrong with the store itself; empty: nothing."""
        ...


class JobStore(ClientOperations, WorkerOperations, ServerOperations, OperatorOperations, Protocol):
    """All operations. A connection may be shared by the threads of a process, not by processes."""
