"""Generates the video of one job: progress, previews, checkpoints, files, and the job's error."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import UInt8

from kinema.atomic_io import file_sha256, write_bytes
from kinema.errors import ModelOutputError, UserError
from kinema.pipeline.request import VideoRequest
from kinema.server.backends.base import Backend, CheckpointError, JobProgress, JobResult
from kinema.server.file_store import (
    PREVIEW_FILE,
    SPRITESHEET_FILE,
    THUMBNAIL_FILE,
    UNFINISHED_VIDEO_FILE,
    VIDEO_FILE,
    FileStore,
)
from kinema.server.job import Job
from kinema.server.job_states import Progress
from kinema.server.job_store import JobStore, StoreBusyError
from kinema.server.storage import resolve_input_files
from kinema.server.tracing import Tracing

if TYPE_CHECKING:
    from kinema.provenance.certificates import SigningIdentity

log = logging.getLogger("kinema.worker")

T = TypeVar("T")

PREVIEW_INTERVAL_S = 0.4
"""Least time between two previews."""
PREVIEW_TIME_RATIO = 8
"""The next preview comes after this many times what the last one took: they cost a ninth of the time."""
PREVIEW_SIDE = 256
PREVIEW_FPS = 8
MIN_FREE_BYTES = 2**20
"""An error with less disk space than this is reported as a full disk."""
_RETRY_DELAYS_S = (0.1, 0.5, 2, 5)
_REMOTE_RETRY_DELAYS_S = (5, 5, 5, 5, 10, 10, 10, 10, 10, 10, 10, 10, 20, 20, 20, 20)
"""A video that is ready waits for a database or object store on another machine to come back."""
_OUT_OF_MEMORY_MESSAGE = "There is not enough memory for this video; request a smaller or shorter one."


class LeaseLostError(Exception):
    """The job is no longer this attempt's: cancelled, deleted, or taken over."""


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """A job that this worker has claimed.

    Attributes:
        job: as claimed; `job.attempt` is the fencing token of every change.
        folder: of this attempt's files; no other attempt writes there.
    """

    job: Job
    folder: Path


class JobRunner:
    """Runs the jobs that a worker has claimed, one after the other.

    Args:
        store: of the jobs.
        files: of the jobs.
        tracing: of the worker.
        worker_id: for tracing.
        data_dir: whose path no error message shows.
        identity: that signs videos; None: they are not signed.
        checkpoint_interval_s: least time between two checkpoints.
        retention_s: how long a video is kept.
        is_remote: whether the stores are on another machine, which may be away for a while.
        should_stop: whether to save the job after the next step, and return.
    """

    def __init__(
        self,
        store: JobStore,
        files: FileStore,
        tracing: Tracing,
        *,
        worker_id: str,
        data_dir: Path,
        identity: SigningIdentity | None,
        checkpoint_interval_s: float,
        retention_s: float,
        is_remote: bool,
        should_stop: Callable[[], bool],
    ) -> None:
        self._store, self._files, self._tracing = store, files, tracing
        self._worker_id, self._data_dir, self._identity = worker_id, data_dir, identity
        self._checkpoint_interval_s, self._retention_s = checkpoint_interval_s, retention_s
        self._is_remote, self._should_stop = is_remote, should_stop

    def run(self, backend: Backend, job: Job) -> None:
        """Generate a job's video; every exception ends in the job's error."""
        try:
            self._retry(lambda: self._files.fetch(job))
            attempt = _Attempt(job=job, folder=self._files.open_attempt(job.id, job.attempt))
            self._generate_or_begin_again(backend, attempt)
        except LeaseLostError:
            log.info("%s is cancelled or taken over", job.id)
            self._remove_lost_work(job)
        except MemoryError:
            self._fail_job(job, "out_of_memory", _OUT_OF_MEMORY_MESSAGE)
        except Exception as error:
            if not self._holds(job):
                self._remove_lost_work(job)
                return
            is_user_error = isinstance(error, UserError)
            if _is_disk_full(error) or (is_user_error and self._files.free_bytes() < MIN_FREE_BYTES):
                self._fail_job(job, "disk_full", "The server's disk is full; try again later.")
            elif isinstance(error, ModelOutputError):
                log.error("%s failed: %s", job.id, error)
                self._fail_job(job, "server_error", str(error))
            elif is_user_error:
                self._fail_job(job, "invalid_request", self._without_server_paths(job, str(error)))
            else:
                # The client gets one sentence, the operator's log the traceback.
                log.error("%s failed:\n%s", job.id, traceback.format_exc())
                if "out of memory" in str(error).lower():
                    self._fail_job(job, "out_of_memory", _OUT_OF_MEMORY_MESSAGE)
                else:
                    message = (
                        f"Generating the video failed ({type(error).__name__}); the server's log has details."
                    )
                    self._fail_job(job, "server_error", message)

    def _generate_or_begin_again(self, backend: Backend, attempt: _Attempt) -> None:
        """Resume from the job's checkpoint, or begin at the first step where that is damaged."""
        job = attempt.job
        checkpoint = self._intact_checkpoint(job)
        if checkpoint is not None:
            try:
                self._generate(backend, attempt, checkpoint)
                return
            except CheckpointError as error:
                log.warning("the checkpoint of %s can't be used (%s); it begins again", job.id, error)
        if job.checkpoint and not self._retry(lambda: self._store.discard_checkpoint(job.id, job.attempt)):
            raise LeaseLostError
        self._generate(backend, attempt, None)

    def _intact_checkpoint(self, job: Job) -> Path | None:
        if not job.checkpoint:
            return None
        path = self._files.job_dir(job.id) / job.checkpoint
        try:
            if file_sha256(path) == job.checkpoint_sha256:
                return path
            problem = "damaged"
        except OSError as error:
            problem = error.strerror or "unreadable"
        log.warning("the checkpoint of %s is lost (%s); it begins again", job.id, problem)
        return None

    def _generate(self, backend: Backend, attempt: _Attempt, checkpoint: Path | None) -> None:
        job, folder = attempt.job, attempt.folder
        try:
            stored = job.request
        except UserError as error:
            raise ModelOutputError(
                f"The request was stored by another version of Kinema and can't be read: {error}"
            ) from None
        request = resolve_input_files(stored, self._files.job_dir(job.id))
        events = backend.generate(request, folder / UNFINISHED_VIDEO_FILE, resume_from=checkpoint)
        preview_count, total_steps = job.preview_count, job.total_steps
        next_preview_at, checkpoint_at = 0.0, time.monotonic()
        # Closing the generator removes a file that is not finished.
        with contextlib.closing(events), self._tracing.attempt(job, self._worker_id) as steps:
            for event in events:
                if isinstance(event, JobResult):
                    progress = JobProgress(
                        stage="write", fraction=0.99, step=total_steps, total_steps=total_steps
                    )
                    self._report_progress(job, progress, preview_count)
                    self._complete_job(attempt, request, event, backend.model_info.name)
                    return
                steps.report(event)
                now = time.monotonic()
                if event.preview is not None and now >= next_preview_at:
                    write_bytes(folder / PREVIEW_FILE, _encode_preview(event.preview()))
                    with contextlib.suppress(StoreBusyError):  # A preview is not worth a wait.
                        self._files.share(job.id, folder / PREVIEW_FILE)
                    preview_count += 1
                    spent = time.monotonic() - now
                    next_preview_at = now + max(PREVIEW_INTERVAL_S, PREVIEW_TIME_RATIO * spent)
                is_due = now - checkpoint_at >= self._checkpoint_interval_s
                if event.save_checkpoint is not None and (is_due or self._should_stop()):
                    self._save_checkpoint(attempt, event.step, event.save_checkpoint)
                    checkpoint_at = time.monotonic()
                total_steps = event.total_steps
                self._report_progress(job, event, preview_count)
                if self._should_stop():
                    return
        raise RuntimeError("a backend ended without a result")

    def _save_checkpoint(self, attempt: _Attempt, step: int, save: Callable[[Path], None]) -> None:
        """Save the state under a new name, then record it: the recorded one is always complete."""
        job = attempt.job
        path = attempt.folder / f"checkpoint-{step:06d}.npz"
        save(path)
        try:
            self._files.share(job.id, path)
        except StoreBusyError as error:  # The job goes on; the checkpoint before stays the recorded one.
            log.warning("the checkpoint of %s is not kept: %s", job.id, error)
            return
        recorded = self._retry(
            lambda: self._store.record_checkpoint(
                job.id, job.attempt, path=f"{attempt.folder.name}/{path.name}", sha256=file_sha256(path)
            )
        )
        if not recorded:
            raise LeaseLostError
        for older in attempt.folder.glob("checkpoint-*.npz"):
            if older != path:
                older.unlink(missing_ok=True)
        # What earlier attempts saved is no longer needed.
        self._files.remove_other_attempts(job.id, job.attempt)

    def _complete_job(self, attempt: _Attempt, request: VideoRequest, result: JobResult, model: str) -> None:
        """Write all files, then make them the job's: they are in the attempt's folder until then."""
        from kinema.media.contact_sheet import sprite_sheet
        from kinema.media.images import save_image, thumbnail

        job, folder, frames = attempt.job, attempt.folder, result.sample_frames
        write_bytes(folder / THUMBNAIL_FILE, thumbnail(frames[len(frames) // 2], max_side=512))
        save_image(folder / SPRITESHEET_FILE, sprite_sheet(frames).image)
        video = (folder / UNFINISHED_VIDEO_FILE).replace(folder / VIDEO_FILE)
        if self._identity is not None:
            from kinema.pipeline.content_credentials import build_provenance
            from kinema.provenance.manifest import sign

            sign(video, build_provenance(request, model=model), identity=self._identity)
        files = self._retry(lambda: self._files.publish(job.id, job.attempt))
        is_completed = self._retry(
            lambda: self._store.complete(
                job.id,
                job.attempt,
                files=files,
                warnings=result.warnings,
                retention_s=self._retention_s,
                before_commit=self._files.write_result,
            )
        )
        if not is_completed:
            raise LeaseLostError
        completed = self._store.get(job.id, owner=None)
        if completed is not None and completed.attempt == job.attempt:
            with contextlib.suppress(StoreBusyError):
                self._files.remove_work(completed)

    def _report_progress(self, job: Job, event: JobProgress, preview_count: int) -> None:
        progress = Progress(
            percent=max(1, int(100 * event.fraction)),
            stage=event.stage,
            step=event.step,
            total_steps=event.total_steps,
            preview_count=preview_count,
        )
        try:
            holds = self._store.report_progress(job.id, job.attempt, progress)
        except StoreBusyError as error:  # Progress is not worth a failed job.
            log.warning("database: %s", error)
            return
        if not holds:
            raise LeaseLostError

    def _holds(self, job: Job) -> bool:
        return self._retry(lambda: self._store.holds(job.id, job.attempt))

    def _remove_lost_work(self, job: Job) -> None:
        """Remove the files of a lost attempt, unless its checkpoint is what another one resumes from."""
        current = self._store.get(job.id, owner=None, deleted=True)
        if current is None or (current.is_finished and current.attempt != job.attempt):
            with contextlib.suppress(StoreBusyError):
                self._files.remove_attempt(job.id, job.attempt)

    def _fail_job(self, job: Job, code: str, message: str) -> None:
        # Files first: on a full disk the error message needs their space.
        if self._holds(job):
            self._files.remove_other_attempts(job.id, "")
        self._retry(
            lambda: self._store.fail(
                job.id, job.attempt, code=code, message=message, retention_s=self._retention_s
            )
        )

    def _without_server_paths(self, job: Job, message: str) -> str:
        for folder in (self._files.job_dir(job.id), self._data_dir):
            message = message.replace(f"{folder}/", "")
        return message

    def _retry(self, action: Callable[[], T]) -> T:
        return retry_while_busy(action, is_remote=self._is_remote)


def retry_while_busy(action: Callable[[], T], *, is_remote: bool) -> T:
    """Do something that the store refuses while it is locked or the disk is full.

    Args:
        action: to repeat.
        is_remote: whether the stores are on another machine, which may be away for longer.
    """
    for delay in (*_RETRY_DELAYS_S, *(_REMOTE_RETRY_DELAYS_S if is_remote else ())):
        try:
            return action()
        except StoreBusyError as error:
            log.warning("database: %s", error)
            time.sleep(delay)
    return action()


def _encode_preview(frames: UInt8[np.ndarray, "f h w 3"]) -> bytes:
    """The frames as an animated WebP, small ones enlarged so that a page can show them as they are."""
    from PIL import Image

    height, width = frames.shape[1:3]
    scale = max(1, PREVIEW_SIDE // 2 // max(height, width)) * min(1.0, PREVIEW_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    images = [Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "WEBP", save_all=True, append_images=images[1:], duration=1000 // PREVIEW_FPS, loop=0,
        quality=70, method=0,
    )  # fmt: skip
    return buffer.getvalue()


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
