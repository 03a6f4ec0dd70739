"""The state machine of jobs: every change of a job's state is one function of this module.

    queued ── claim ──> in_progress ── complete ──> completed
       │                  │     ^ │
       │                  │     │ └── fail, cancel ──> failed ── retry ──> queued
       └── cancel ──> failed    └ release, then claim by another worker

A function takes the job as it is stored and returns it as it shall be stored, or None where the change is
not allowed. It reads no clock and no file. A store calls it between reading the row under a lock and writing
it in the same transaction; the state machine is therefore the same for every store.

Each start of a job is an *attempt* with a random fencing token. Whatever a worker changes it changes with its
token: after another worker has claimed the job, or a client has cancelled it, the token is no longer the
job's and the change is refused. `docs/concepts/jobs.md` states what follows from this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kinema.server.job import FileDigest, Job

ReleaseReason = Literal["stopped", "dead"]


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """When a job is removed: both clocks must have passed, so that a clock that is set removes nothing.

    Attributes:
        at: Unix seconds, as reported to clients.
        uptime_s: of the server clock (`JobStore.tick`).
    """

    at: int
    uptime_s: float


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a running attempt.

    Attributes:
        percent: a lower value than before is ignored, and 100 is kept for the end.
        stage: of the generation.
        step: solver steps that are done.
        total_steps: of the solver.
        preview_count: previews written so far.
    """

    percent: int
    stage: str
    step: int
    total_steps: int
    preview_count: int


def holds(job: Job, attempt: str) -> bool:
    """Whether the job is still this attempt's."""
    return bool(attempt) and job.status == "in_progress" and job.attempt == attempt and not job.deleted_at


def is_claimable(job: Job, *, model: str, expired_attempt: str | None, max_attempts: int) -> bool:
    """Whether a worker of `model` may start the job.

    Args:
        job: queued, released, or of an attempt that counts as dead.
        model: the worker's model.
        expired_attempt: the attempt that the caller observed to be silent for a whole lease.
        max_attempts: starts without a checkpoint.
    """
    if job.deleted_at is not None or job.served_model not in ("", model) or job.attempts >= max_attempts:
        return False
    if job.status == "queued":
        return True
    return job.status == "in_progress" and (job.attempt == "" or job.attempt == expired_attempt)


def claim(job: Job, *, attempt: str, worker_id: str) -> Job:
    """Start an attempt; the caller has checked `is_claimable`."""
    return replace(job, status="in_progress", attempt=attempt, worker_id=worker_id, attempts=job.attempts + 1)


def heartbeat(job: Job, attempt: str, *, worked_s: float) -> Job | None:
    """The attempt is alive, and has worked for some more seconds."""
    if not holds(job, attempt):
        return None
    return replace(job, heartbeat=job.heartbeat + 1, worked_s=job.worked_s + max(0.0, worked_s))


def report_progress(job: Job, attempt: str, progress: Progress) -> Job | None:
    """The attempt has come further."""
    if not holds(job, attempt):
        return None
    return replace(
        job,
        progress=max(job.progress, min(99, progress.percent)),
        stage=progress.stage,
        step=progress.step,
        total_steps=progress.total_steps,
        preview_count=progress.preview_count,
    )


def record_checkpoint(job: Job, attempt: str, *, path: str, sha256: str) -> Job | None:
    """The attempt has saved its state: earlier attempts no longer count."""
    if not holds(job, attempt):
        return None
    return replace(job, checkpoint=path, checkpoint_sha256=sha256, attempts=1)


def discard_checkpoint(job: Job, attempt: str) -> Job | None:
    """The checkpoint is damaged: the attempt begins at the first step."""
    return replace(job, checkpoint="", checkpoint_sha256="") if holds(job, attempt) else None


def complete(
    job: Job,
    attempt: str,
    *,
    files: dict[str, FileDigest],
    warnings: tuple[str, ...] = (),
    now: int,
    expiry: Expiry,
) -> Job | None:
    """The attempt's files are the job's video; `warnings` are added to those of the job."""
    if not holds(job, attempt):
        return None
    completed = _completed(job, attempt, files=files, now=now, expiry=expiry)
    return replace(completed, warnings=(*job.warnings, *warnings))


def adopt_result(
    job: Job, attempt: str, *, files: dict[str, FileDigest], now: int, expiry: Expiry
) -> Job | None:
    """Complete a job whose finished files were found, although its row does not know of them.

    This is the case after the database was restored from a backup, or has lost its last transactions.
    """
    if job.is_finished:
        return None
    return _completed(job, attempt, files=files, now=now, expiry=expiry)


def _completed(job: Job, attempt: str, *, files: dict[str, FileDigest], now: int, expiry: Expiry) -> Job:
    return replace(
        job,
        status="completed",
        progress=100,
        completed_at=now,
        expires_at=expiry.at,
        expires_uptime_s=expiry.uptime_s,
        attempt=attempt,
        worker_id=None,
        checkpoint="",
        checkpoint_sha256="",
        files=files,
        file_bytes=sum(file.size for file in files.values()),
        damage="",
    )


def fail(job: Job, attempt: str | None, *, code: str, message: str, expiry: Expiry) -> Job | None:
    """End the job without a video.

    Args:
        job: queued or in progress.
        attempt: whose failure it is; None: the server ends the job whoever has it (cancelled, time limit).
        code: identifier of the reason.
        message: one sentence.
        expiry: when the row is removed.
    """
    if job.is_finished or job.deleted_at is not None or (attempt is not None and not holds(job, attempt)):
        return None
    return replace(
        _without_attempt(job),
        status="failed",
        error_code=code,
        error_message=message,
        completed_at=None,
        expires_at=expiry.at,
        expires_uptime_s=expiry.uptime_s,
        checkpoint="",
        checkpoint_sha256="",
    )


def release(job: Job, attempt: str, *, reason: ReleaseReason) -> Job | None:
    """The worker stops in good order, or is dead: the next one may claim the job at once.

    An attempt that ends in good order is not counted.
    """
    if not holds(job, attempt):
        return None
    return replace(
        _without_attempt(job), attempts=max(0, job.attempts - 1) if reason == "stopped" else job.attempts
    )


def delete(job: Job, *, now: int, expiry: Expiry) -> Job | None:
    """Hide the job; it can be restored until it expires. A running attempt loses it, its checkpoint stays."""
    if job.deleted_at is not None:
        return None
    hidden = replace(job, deleted_at=now, expires_uptime_s=_earlier(job, expiry))
    if job.is_finished:
        return hidden
    return replace(_without_attempt(hidden), status="queued")


def restore(job: Job, *, uptime_s: float, expiry: Expiry) -> Job | None:
    """Undo `delete` in time: a finished job is kept for the usual time, another one continues."""
    if job.deleted_at is None or job.expires_uptime_s is None or job.expires_uptime_s <= uptime_s:
        return None
    return replace(job, deleted_at=None, expires_uptime_s=expiry.uptime_s if job.is_finished else None)


def retry(job: Job) -> Job | None:
    """Generate a failed or damaged video again, from the first step."""
    if job.deleted_at is not None or not (job.status == "failed" or (job.is_finished and job.damage)):
        return None
    return replace(
        _without_attempt(job), status="queued", progress=0, step=0, stage="", error_code=None,
        error_message=None, completed_at=None, expires_at=None, expires_uptime_s=None, attempts=0,
        worked_s=0.0, checkpoint="", checkpoint_sha256="", files={}, damage="",
    )  # fmt: skip


def is_expired(job: Job, *, now: float, uptime_s: float) -> bool:
    """Whether a finished or deleted job is removed: see `Expiry`."""
    if job.expires_uptime_s is None or job.expires_uptime_s > uptime_s:
        return False
    return job.deleted_at is not None or (job.expires_at is not None and job.expires_at <= now)


def _without_attempt(job: Job) -> Job:
    return replace(job, attempt="", worker_id=None)


def _earlier(job: Job, expiry: Expiry) -> float:
    return expiry.uptime_s if job.expires_uptime_s is None else min(job.expires_uptime_s, expiry.uptime_s)
