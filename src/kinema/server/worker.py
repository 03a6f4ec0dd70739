"""A worker: a process that claims jobs from the database and generates their videos, one after the other.

It communicates with the server through the database and the data folder only, and runs without a server:
`kinema worker` with the same data folder is an additional worker. The one exception is standard input: a
server that starts a worker holds the other end of the pipe, so that the worker stops when the server dies.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from kinema.atomic_io import write_bytes
from kinema.errors import UserError
from kinema.memory import release_free_memory
from kinema.models.formats.serialization import from_json, to_json
from kinema.pipeline.request import VideoRequest
from kinema.server import leases
from kinema.server.backends.base import Backend, JobProgress, JobResult
from kinema.server.backends.load import load_backend
from kinema.server.database import Database
from kinema.server.job import Job
from kinema.server.storage import (
    PREVIEW_FILE,
    SAMPLER_STATE_FILE,
    SPRITESHEET_FILE,
    THUMBNAIL_FILE,
    UNFINISHED_VIDEO_FILE,
    VIDEO_FILE,
    free_bytes,
    get_job_dir,
    remove_all_files,
    remove_intermediates,
    resolve_input_files,
)

if TYPE_CHECKING:
    from kinema.server.settings import Settings

log = logging.getLogger("kinema.worker")

PREVIEW_INTERVAL_S = 0.4
"""Least time between two previews."""
POLL_INTERVAL_S = 0.1
"""Time between two looks for a job."""
STUCK_TIMEOUT_S = 30.0
"""A worker that continues with a lost job for this long exits."""
MIN_FREE_BYTES = 2**20
"""An error with less disk space than this is reported as a full disk."""
_FAIL_RETRY_DELAYS_S = (0.1, 0.5, 2, 5, 0)
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
    attached: bool = True
    """Whether the end of standard input means that the server is gone."""


def worker_command(settings: Settings, *, worker_index: int, attached: bool) -> list[str]:
    """The command that starts a worker with a server's settings; servers recognise workers by it."""
    config = WorkerConfig(
        data_dir=str(settings.data_dir),
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
        attached=attached,
    )
    return [sys.executable, "-m", "kinema.server.worker", to_json(config)]


class LeaseLostError(Exception):
    """The job is no longer this worker's: cancelled, deleted, or taken over."""


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
        self._database = Database(self._data_dir, durable=False)
        self._worker_id = leases.register_worker(self._database)
        self._stop = threading.Event()
        self._current_job_id: str | None = None
        self._lost_since: float | None = None

    def stop(self) -> None:
        """Save the current job after its next step, and end."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop` is called."""
        threading.Thread(target=self._heartbeat_loop, daemon=True).start()
        if self._config.attached:
            threading.Thread(target=self._stop_on_stdin_eof, daemon=True).start()
        try:
            backend = load_backend(self._config.model, self._config.device, self._config.worker_index)
            leases.publish_model_info(self._database, self._worker_id, backend.model_info)
            self._claim_loop(backend)
        finally:
            end = leases.unregister_worker if self._stop.is_set() else leases.mark_worker_dead
            end(self._database, self._worker_id)
            self._database.close()

    def _claim_loop(self, backend: Backend) -> None:
        while not self._stop.is_set():
            try:
                job = leases.claim_job(
                    self._database,
                    self._worker_id,
                    lease_s=self._config.lease_s,
                    max_attempts=self._config.max_attempts,
                )
            except sqlite3.OperationalError as error:  # The disk is full, or the database is locked.
                log.warning("database: %s", error)
                job = None
            if job is None:
                self._stop.wait(POLL_INTERVAL_S)
                continue
            self._current_job_id = job.id
            try:
                self._run_job(backend, job)
            finally:
                self._current_job_id, self._lost_since = None, None
            release_free_memory()

    def _run_job(self, backend: Backend, job: Job) -> None:
        """Generate a job's video; every exception ends in the job's error."""
        job_dir = get_job_dir(self._data_dir, job.id)
        try:
            self._generate(backend, job, job_dir)
        except LeaseLostError:
            log.info("%s is cancelled or taken over", job.id)
            if not (job_dir / VIDEO_FILE).exists() and not self._is_taken_over(job):
                remove_all_files(job_dir)
        except MemoryError:
            self._fail_job(job, job_dir, "out_of_memory", _OUT_OF_MEMORY_MESSAGE)
        except Exception as error:
            is_user_error = isinstance(error, UserError)
            if _is_disk_full(error) or (is_user_error and free_bytes(self._data_dir) < MIN_FREE_BYTES):
                self._fail_job(job, job_dir, "disk_full", "The server's disk is full; try again later.")
            elif is_user_error:
                self._fail_job(job, job_dir, "invalid_request", str(error))
            else:
                # The client gets one sentence, the operator's log the traceback.
                log.error("%s failed:\n%s", job.id, traceback.format_exc())
                if "out of memory" in str(error).lower():
                    self._fail_job(job, job_dir, "out_of_memory", _OUT_OF_MEMORY_MESSAGE)
                else:
                    message = (
                        f"Generating the video failed ({type(error).__name__}); the server's log has details."
                    )
                    self._fail_job(job, job_dir, "server_error", message)

    def _generate(self, backend: Backend, job: Job, job_dir: Path) -> None:
        job_dir.mkdir(exist_ok=True)
        request = resolve_input_files(job.request, job_dir)
        checkpoint = job_dir / SAMPLER_STATE_FILE
        events = backend.generate(
            request,
            job_dir / UNFINISHED_VIDEO_FILE,
            resume_from=checkpoint if checkpoint.is_file() else None,
        )
        preview_count, total_steps = job.preview_count, job.total_steps
        preview_at, checkpoint_at = 0.0, time.monotonic()
        # Closing the generator removes a file that is not finished.
        with contextlib.closing(events):
            for event in events:
                if isinstance(event, JobResult):
                    progress = JobProgress(
                        stage="write", fraction=0.99, step=total_steps, total_steps=total_steps
                    )
                    self._report_progress(job, progress, preview_count)
                    self._complete_job(job, request, job_dir, event, backend.model_info.name)
                    return
                now = time.monotonic()
                if event.preview is not None and now - preview_at >= PREVIEW_INTERVAL_S:
                    write_bytes(job_dir / PREVIEW_FILE, _encode_preview(event.preview()))
                    preview_count, preview_at = preview_count + 1, now
                is_due = now - checkpoint_at >= self._config.checkpoint_interval_s
                if event.save_checkpoint is not None and is_due:
                    event.save_checkpoint(checkpoint)
                    leases.mark_checkpointed(self._database, self._worker_id, job.id)
                    checkpoint_at = time.monotonic()
                total_steps = event.total_steps
                self._report_progress(job, event, preview_count)
                if self._stop.is_set():
                    if event.save_checkpoint is not None:
                        event.save_checkpoint(checkpoint)
                    return
        raise RuntimeError("a backend ended without a result")

    def _complete_job(
        self, job: Job, request: VideoRequest, job_dir: Path, result: JobResult, model: str
    ) -> None:
        """Write thumbnail and sprite sheet first: where the video exists under its name, all files do."""
        from kinema.media.contact_sheet import sprite_sheet
        from kinema.media.images import save_image, thumbnail

        frames, video = result.sample_frames, job_dir / VIDEO_FILE
        write_bytes(job_dir / THUMBNAIL_FILE, thumbnail(frames[len(frames) // 2], max_side=512))
        save_image(job_dir / SPRITESHEET_FILE, sprite_sheet(frames).image)
        (job_dir / UNFINISHED_VIDEO_FILE).replace(video)
        if self._identity is not None:
            from kinema.pipeline.content_credentials import build_provenance
            from kinema.provenance.manifest import sign

            sign(video, build_provenance(request, model=model), identity=self._identity)
        if not leases.complete_job(
            self._database, self._worker_id, job.id, retention_s=self._config.retention_s
        ):
            raise LeaseLostError
        remove_intermediates(job_dir)

    def _report_progress(self, job: Job, event: JobProgress, preview_count: int) -> None:
        holds_lease = leases.update_progress(
            self._database,
            self._worker_id,
            job.id,
            progress=max(1, int(100 * event.fraction)),
            stage=event.stage,
            step=event.step,
            total_steps=event.total_steps,
            preview_count=preview_count,
        )
        if not holds_lease:
            raise LeaseLostError

    def _is_taken_over(self, job: Job) -> bool:
        row = self._database.fetch_one("SELECT status FROM videos WHERE id = :id", {"id": job.id})
        return row is not None and row["status"] != "failed"

    def _fail_job(self, job: Job, job_dir: Path, code: str, message: str) -> None:
        if self._is_taken_over(job) and not leases.holds_lease(self._database, self._worker_id, job.id):
            return
        # Files first: on a full disk the error message needs their space.
        remove_all_files(job_dir)
        for delay in _FAIL_RETRY_DELAYS_S:
            try:
                leases.fail_job(
                    self._database,
                    self._worker_id,
                    job.id,
                    code=code,
                    message=message,
                    retention_s=self._config.retention_s,
                )
                return
            except sqlite3.OperationalError as error:
                log.warning("database: %s", error)
                time.sleep(delay)

    def _heartbeat_loop(self) -> None:
        """Send heartbeats. Exit if the current job is lost and its generation does not stop."""
        database = Database(self._data_dir, durable=False)
        while True:
            with contextlib.suppress(sqlite3.OperationalError):
                leases.heartbeat(database, self._worker_id, self._config.lease_s)
                job_id = self._current_job_id
                if job_id is not None and not leases.holds_lease(database, self._worker_id, job_id):
                    self._lost_since = self._lost_since or time.monotonic()
                    is_stuck = time.monotonic() - self._lost_since > STUCK_TIMEOUT_S
                    if self._current_job_id == job_id and is_stuck:
                        log.error("%s is lost, and its generation does not stop", job_id)
                        os._exit(3)
                else:
                    self._lost_since = None
            time.sleep(self._config.lease_s / 5)

    def _stop_on_stdin_eof(self) -> None:
        """Stop when the server that started this worker is gone."""
        while os.read(0, 1):
            pass
        self._stop.set()
        # A server that shuts down waits and then kills its workers; one that was killed can't.
        time.sleep(2 * STUCK_TIMEOUT_S)
        os._exit(4)


def _encode_preview(frames: UInt8[np.ndarray, "f h w 3"]) -> bytes:
    """The middle frame as WebP, enlarged so that a page can show it as it is."""
    from kinema.media.images import resize, thumbnail

    image = frames[len(frames) // 2]
    scale = max(1, 128 // max(image.shape[:2]))
    return thumbnail(resize(image, (image.shape[1] * scale, image.shape[0] * scale)))


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
        worker = Worker(from_json(WorkerConfig, sys.argv[1], source="the worker's configuration"))
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda *_: worker.stop())
        worker.run()
    except UserError as error:
        print(f"kinema: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
