"""A worker: a process that claims jobs from the database and generates their videos, one after the other.

It communicates with the server through the database and the data folder only, and runs without a server:
`kinema worker` with the same data folder is an additional worker. The one exception is standard input: a
server that starts a worker holds the other end of the pipe, so that the worker stops when the server dies.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import logging
import os
import signal
import sys
import threading
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
from kinema.memory import release_free_memory
from kinema.models.formats.serialization import from_json, to_json
from kinema.pipeline.request import VideoRequest
from kinema.server.backends.base import Backend, CheckpointError, JobProgress, JobResult
from kinema.server.backends.load import load_backend
from kinema.server.child_process import lower_priority
from kinema.server.data_dir import lock_for_worker
from kinema.server.database import BUSY_TIMEOUT_S
from kinema.server.job import Job
from kinema.server.job_states import Progress
from kinema.server.job_store import JobStore, StoreBusyError
from kinema.server.leases import SilenceMonitor
from kinema.server.live.worker_session import WorkerSession, claim_offer
from kinema.server.open_stores import DATABASE_VARIABLE, is_postgres, open_file_store, open_job_store
from kinema.server.storage import (
    PREVIEW_FILE,
    SPRITESHEET_FILE,
    THUMBNAIL_FILE,
    UNFINISHED_VIDEO_FILE,
    VIDEO_FILE,
    resolve_input_files,
)
from kinema.server.tracing import open_tracing

if TYPE_CHECKING:
    from kinema.server.settings import Settings

log = logging.getLogger("kinema.worker")

T = TypeVar("T")

PREVIEW_INTERVAL_S = 0.4
"""Least time between two previews."""
PREVIEW_TIME_RATIO = 8
"""The next preview comes after this many times what the last one took: they cost a ninth of the time."""
PREVIEW_SIDE = 256
PREVIEW_FPS = 8
POLL_INTERVAL_S = 0.1
"""Time between two looks for a job."""
STUCK_TIMEOUT_S = 30.0
"""A worker that continues with a lost job for this long exits."""
MIN_FREE_BYTES = 2**20
"""An error with less disk space than this is reported as a full disk."""
_RETRY_DELAYS_S = (0.1, 0.5, 2, 5)
_REMOTE_RETRY_DELAYS_S = (5, 5, 5, 5, 10, 10, 10, 10, 10, 10, 10, 10, 20, 20, 20, 20)
"""A video that is ready waits for a database or object store on another machine to come back."""
_OUT_OF_MEMORY_MESSAGE = "There is not enough memory for this video; request a smaller or shorter one."


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """Configuration of a worker process; settings as in `kinema.server.settings.Settings`."""

    data_dir: str
    model: str
    device: str
    lease_s: float
    max_attempts: int
    checkpoint_interval_s: float
    retention_s: float
    worker_index: int = 0
    """Number of this worker; with several GPUs worker n uses the n-th."""
    sign: bool = False
    certificate: str = ""
    certificate_key: str = ""
    loras: tuple[tuple[str, str], ...] = ()
    """Names and paths of the LoRAs that requests may use."""
    database: str = ""
    """Not part of the command line: it may hold a password."""
    storage: str = ""
    tracing: bool = False
    attached: bool = True
    """Whether the end of standard input means that the server is gone."""


def worker_config(settings: Settings, *, worker_index: int, attached: bool) -> WorkerConfig:
    """A worker with a server's settings."""
    return WorkerConfig(
        data_dir=str(settings.data_dir),
        storage=settings.storage,
        model=settings.model,
        device=settings.device,
        worker_index=worker_index,
        lease_s=settings.lease_s,
        max_attempts=settings.max_attempts,
        checkpoint_interval_s=settings.checkpoint_interval_s,
        retention_s=settings.retention_s,
        sign=settings.sign,
        certificate=settings.certificate,
        certificate_key=settings.certificate_key,
        loras=tuple((lora.name, str(lora.path.expanduser().absolute())) for lora in settings.loras),
        tracing=settings.tracing,
        attached=attached,
    )


def worker_command(config: WorkerConfig) -> list[str]:
    """The command that starts a worker; servers recognise workers by it."""
    return [sys.executable, "-m", "kinema.server.worker", to_json(config)]


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


class Worker:
    """The worker of a process: the main thread generates videos, another one sends heartbeats.

    Raises:
        UserError: the certificate can't sign, or the database can't be opened.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._data_dir = Path(config.data_dir)
        self._identity = None
        if config.sign:
            # First of all: an invalid certificate is reported at the start.
            from kinema.provenance.certificates import load_identity

            self._identity = load_identity(config.certificate, config.certificate_key)
        self._tracing = open_tracing(config.tracing, "kinema-worker")
        self._files = open_file_store(self._data_dir, config.storage)
        self._store = self._open_store()
        self._worker_id = self._retry_while_busy(self._store.register_worker)
        self._expired = SilenceMonitor(config.lease_s)
        self._stop = threading.Event()
        self._current: Job | None = None
        self._lost_since: float | None = None

    def _open_store(self) -> JobStore:
        # Heartbeats must not wait for a lock for as long as a lease.
        timeout_s = min(BUSY_TIMEOUT_S, self._config.lease_s / 4)
        return open_job_store(self._data_dir, self._config.database, durable=False, busy_timeout_s=timeout_s)

    def stop(self) -> None:
        """Save the current job after its next step, and end."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop` is called."""
        sign = self._data_dir / "workers" / self._worker_id
        with contextlib.suppress(OSError):
            sign.touch()
        threading.Thread(target=self._heartbeat_loop, daemon=True).start()
        if self._config.attached:
            threading.Thread(target=self._stop_on_stdin_eof, daemon=True).start()
        try:
            backend = _load_backend(self._config)
            if _is_in_group():
                from kinema.server.backends.group import GroupBackend

                backend = GroupBackend(backend)
            self._retry_while_busy(
                lambda: self._store.publish_model(self._worker_id, self._config.model, backend.model_info)
            )
            self._claim_loop(backend)
        finally:
            end = self._store.unregister_worker if self._stop.is_set() else self._store.mark_worker_dead
            with contextlib.suppress(StoreBusyError):
                self._retry_while_busy(lambda: end(self._worker_id))
            with contextlib.suppress(OSError):
                sign.unlink(missing_ok=True)
            self._tracing.close()
            self._store.close()

    def _claim_loop(self, backend: Backend) -> None:
        model = backend.model_info.name
        while not self._stop.is_set():
            self._run_live_session(backend)
            try:
                job = self._store.claim(
                    self._worker_id,
                    model,
                    expired=self._expired.expired(self._store.leases()),
                    max_attempts=self._config.max_attempts,
                )
            except StoreBusyError as error:
                log.warning("database: %s", error)
                job = None
            if job is None:
                self._stop.wait(POLL_INTERVAL_S)
                continue
            self._current = job
            try:
                self._run_job(backend, job)
            finally:
                self._current, self._lost_since = None, None
            release_free_memory()

    def _run_live_session(self, backend: Backend) -> None:
        """Run a live session, if one waits; it has this worker until it ends."""
        offer = claim_offer(self._data_dir, backend.model_info.name)
        if offer is None:
            return
        WorkerSession(offer, backend, should_stop=self._stop.is_set, run_save=self._run_save).run()
        release_free_memory()

    def _run_save(self, backend: Backend, served_model: str) -> None:
        """Complete the job that saves a part of a live session."""
        job = self._retry_while_busy(
            lambda: self._store.claim(
                self._worker_id, served_model, expired=(), max_attempts=self._config.max_attempts
            )
        )
        if job is None:
            return
        self._current = job
        try:
            self._run_job(backend, job)
        finally:
            self._current, self._lost_since = None, None

    def _run_job(self, backend: Backend, job: Job) -> None:
        """Generate a job's video; every exception ends in the job's error."""
        try:
            self._retry_while_busy(lambda: self._files.fetch(job))
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
        if job.checkpoint and not self._retry_while_busy(
            lambda: self._store.discard_checkpoint(job.id, job.attempt)
        ):
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
                is_due = now - checkpoint_at >= self._config.checkpoint_interval_s
                if event.save_checkpoint is not None and (is_due or self._stop.is_set()):
                    self._save_checkpoint(attempt, event.step, event.save_checkpoint)
                    checkpoint_at = time.monotonic()
                total_steps = event.total_steps
                self._report_progress(job, event, preview_count)
                if self._stop.is_set():
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
        recorded = self._retry_while_busy(
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
        files = self._retry_while_busy(lambda: self._files.publish(job.id, job.attempt))
        is_completed = self._retry_while_busy(
            lambda: self._store.complete(
                job.id,
                job.attempt,
                files=files,
                warnings=result.warnings,
                retention_s=self._config.retention_s,
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
        return self._retry_while_busy(lambda: self._store.holds(job.id, job.attempt))

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
        self._retry_while_busy(
            lambda: self._store.fail(
                job.id, job.attempt, code=code, message=message, retention_s=self._config.retention_s
            )
        )

    def _without_server_paths(self, job: Job, message: str) -> str:
        for folder in (self._files.job_dir(job.id), self._data_dir):
            message = message.replace(f"{folder}/", "")
        return message

    def _retry_while_busy(self, action: Callable[[], T]) -> T:
        """Do something that the store refuses while it is locked or the disk is full."""
        is_remote = is_postgres(self._config.database) or self._config.storage.startswith("s3://")
        for delay in (*_RETRY_DELAYS_S, *(_REMOTE_RETRY_DELAYS_S if is_remote else ())):
            try:
                return action()
            except StoreBusyError as error:
                log.warning("database: %s", error)
                time.sleep(delay)
        return action()

    def _heartbeat_loop(self) -> None:
        """Send heartbeats. Exit if the current job is lost and its generation does not stop."""
        store, interval_s = self._open_store(), self._config.lease_s / 5
        sign = self._data_dir / "workers" / self._worker_id
        last_beat_at, worked_on = time.monotonic(), ""
        while True:
            now = time.monotonic()
            job = self._current
            attempt = "" if job is None else job.attempt
            # Time in which this process was frozen is no work.
            worked_s = min(now - last_beat_at, 3 * interval_s) if attempt and attempt == worked_on else 0.0
            with contextlib.suppress(OSError):
                os.utime(sign)
            with contextlib.suppress(StoreBusyError):
                is_alive = store.heartbeat(self._worker_id, attempt, worked_s=worked_s)
                last_beat_at, worked_on = now, attempt
                if job is not None and not is_alive and self._current is job:
                    self._lost_since = self._lost_since or now
                    if now - self._lost_since > STUCK_TIMEOUT_S:
                        log.error("%s is lost, and its generation does not stop", job.id)
                        os._exit(3)
                else:
                    self._lost_since = None
            time.sleep(interval_s)

    def _stop_on_stdin_eof(self) -> None:
        """Stop when the server that started this worker is gone."""
        while os.read(0, 1):
            pass
        self._stop.set()
        # A server that shuts down waits and then kills its workers; one that was killed can't.
        time.sleep(2 * STUCK_TIMEOUT_S)
        os._exit(4)


def _load_backend(config: WorkerConfig) -> Backend:
    return load_backend(
        config.model,
        config.device,
        config.worker_index,
        loras={name: Path(path) for name, path in config.loras},
    )


def _is_in_group() -> bool:
    """Whether several processes generate each video together."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _follow(config: WorkerConfig) -> bool:
    """Join the group of processes, and follow its first one until it ends; False: this is the first one."""
    if not _is_in_group():
        return False
    from kinema.server.backends.group import follow, join_group

    if join_group(config.device) == 0:
        return False
    backend = _load_backend(config)
    threading.Thread(target=_exit_on_stdin_eof, daemon=True).start()
    follow(backend)
    return True


def _exit_on_stdin_eof() -> None:
    while os.read(0, 1):
        pass
    # The first process saves its job meanwhile, and needs this one for its next step.
    time.sleep(STUCK_TIMEOUT_S)
    os._exit(0)


def sign_of_life(data_dir: Path, worker_id: str) -> int | None:
    """A number that a worker on this machine changes while it runs, also when the database is locked."""
    try:
        return (data_dir / "workers" / worker_id).stat().st_mtime_ns
    except OSError:
        return None


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


def main() -> None:
    """`python -m kinema.server.worker CONFIG`; the configuration is JSON."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        if len(sys.argv) != 2:
            raise UserError("start a worker with: kinema worker --data DIR")
        config = from_json(WorkerConfig, sys.argv[1], source="the worker's configuration")
        config = dataclasses.replace(config, database=os.environ.get(DATABASE_VARIABLE, ""))
        if config.attached:
            lower_priority()
        if _follow(config):
            return
        with lock_for_worker(Path(config.data_dir)):
            worker = Worker(config)
            for signal_number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signal_number, lambda *_: worker.stop())
            worker.run()
    except (UserError, StoreBusyError) as error:
        print(f"kinema: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
