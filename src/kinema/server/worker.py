"""A worker: a process that claims films from the store and makes them, one after the other.

It speaks with the server through the store and the data folder alone, and needs no server to be there:
`kinema work` with the same data folder is one worker more. The one exception is its standard input: a server
that starts it holds the other end, so that the worker ends when the server does.
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

import numpy as np

from kinema.atomic_io import write_bytes
from kinema.errors import UserError
from kinema.memory import release_free_memory
from kinema.models.formats.serialization import from_json, to_json
from kinema.provenance.certificates import load_identity
from kinema.server import leases
from kinema.server.backends.base import Backend, JobProgress, JobResult, load_backend
from kinema.server.database import Database
from kinema.server.job import Job
from kinema.server.settings import Settings
from kinema.server.sign_job import sign_job_video
from kinema.server.storage import (
    PREVIEW_FILE,
    SAMPLER_STATE_FILE,
    SPRITESHEET_FILE,
    THUMBNAIL_FILE,
    VIDEO_FILE,
    free_bytes,
    get_job_dir,
    remove_all_files,
    remove_intermediates,
)

log = logging.getLogger("kinema.worker")

PREVIEW_INTERVAL_S = 0.4
"""Between two previews; people see no more."""
POLL_INTERVAL_S = 0.1
"""Between two looks for work."""
STUCK_TIMEOUT_S = 30.0
"""How long a worker may go on with a film that is no longer its own, before it ends itself."""
_OUT_OF_MEMORY_MESSAGE = "There is not enough memory for this film; ask for a smaller or shorter one."


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What a worker is told when it is started; see `GenerationArgs`."""

    data_dir: str
    model: str
    device: str
    lease_s: float
    max_attempts: int
    checkpoint_interval_s: float
    retention_s: float
    worker_index: int = 0
    """Which of several workers this is; with several GPUs it takes the one in that place."""
    sign: bool = False
    certificate: str = ""
    certificate_key: str = ""
    attached: bool = True
    """Whether standard input is held by a server, and its end means: stop."""


def worker_command(settings: Settings, *, worker_index: int, attached: bool) -> list[str]:
    """What starts a worker with a server's settings. It is known by its command among the processes."""
    duty = WorkerConfig(
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
    return [sys.executable, "-m", "kinema.server.worker", to_json(duty)]


class LeaseLost(Exception):  # noqa: N818 - no error: somebody cancelled, or another worker has it
    """The film is no longer this worker's."""


class Worker:
    """The process's one worker: a main thread that makes films, and one that says it lives."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._data_dir = Path(config.data_dir)
        # Before anything else: a certificate that does not do is told at the start.
        self._identity = load_identity(config.certificate, config.certificate_key) if config.sign else None
        self._database = Database(self._data_dir, durable=False)
        self._worker_id = leases.register_worker(self._database)
        self._stop = threading.Event()
        self._current_job_id: str | None = None
        self._lost_since: float | None = None

    def stop(self) -> None:
        """Save what is under way at its next step, and end."""
        self._stop.set()

    def run(self) -> None:
        """Work until told to stop."""
        threading.Thread(target=self._heartbeat_loop, daemon=True).start()
        if self._config.attached:
            threading.Thread(target=self._stop_on_stdin_eof, daemon=True).start()
        try:
            maker = load_backend(self._config.model, self._config.device, self._config.worker_index)
            leases.publish_model_info(self._database, self._worker_id, maker.model_info)
            self._claim_loop(maker)
        finally:
            end = leases.unregister_worker if self._stop.is_set() else leases.mark_worker_dead
            end(self._database, self._worker_id)
            self._database.close()

    def _claim_loop(self, backend: Backend) -> None:
        while not self._stop.is_set():
            try:
                video = leases.claim_job(
                    self._database,
                    self._worker_id,
                    lease_s=self._config.lease_s,
                    max_attempts=self._config.max_attempts,
                )
            except sqlite3.OperationalError as error:  # the disk is full, or the store locked for long
                log.warning("the store: %s", error)
                video = None
            if video is None:
                self._stop.wait(POLL_INTERVAL_S)
                continue
            self._current_job_id = video.id
            try:
                self._run_job(backend, video)
            finally:
                self._current_job_id, self._lost_since = None, None
            release_free_memory()

    def _run_job(self, backend: Backend, job: Job) -> None:
        folder = get_job_dir(self._data_dir, job.id)
        try:
            self._generate(backend, job, folder)
        except LeaseLost:
            log.info("%s is no longer wanted", job.id)
            if not (folder / VIDEO_FILE).exists() and not self._is_taken_over(job):
                remove_all_files(folder)
        except MemoryError:
            self._fail_job(job, folder, "out_of_memory", _OUT_OF_MEMORY_MESSAGE)
        except Exception as error:
            full = _is_disk_full(error) or (
                isinstance(error, UserError) and free_bytes(self._data_dir) < 2**20
            )
            if full:
                self._fail_job(job, folder, "disk_full", "The server's disk is full; try again later.")
            elif isinstance(error, UserError):
                self._fail_job(job, folder, "invalid_request", str(error))
            else:
                # The store gets a sentence, the log what its keeper needs.
                log.error("%s failed:\n%s", job.id, traceback.format_exc())
                small = "out of memory" in str(error).lower()
                self._fail_job(
                    job, folder,
                    "out_of_memory" if small else "server_error",
                    _OUT_OF_MEMORY_MESSAGE if small
                    else f"The film could not be made ({type(error).__name__}); the server's log says more.",
                )  # fmt: skip

    def _generate(self, backend: Backend, job: Job, job_dir: Path) -> None:
        job_dir.mkdir(exist_ok=True)
        state = job_dir / SAMPLER_STATE_FILE
        start = state if state.is_file() else None
        shown, previews, kept, steps = 0.0, job.preview_count, time.monotonic(), job.total_steps
        for event in backend.generate(job.spec, job_dir, resume_from=start):
            if isinstance(event, JobResult):
                self._report_progress(
                    job, JobProgress(stage="write", fraction=0.99, step=steps, total_steps=steps), previews
                )
                _write_outputs(job_dir, event)
                if self._identity is not None:
                    sign_job_video(job_dir / VIDEO_FILE, job.spec, backend.model_info.name, self._identity)
                if not leases.complete_job(
                    self._database, self._worker_id, job.id, retention_s=self._config.retention_s
                ):
                    raise LeaseLost
                remove_intermediates(job_dir)
                return
            now = time.monotonic()
            if event.preview is not None and now - shown >= PREVIEW_INTERVAL_S:
                write_bytes(job_dir / PREVIEW_FILE, _encode_preview(event.preview()))
                previews, shown = previews + 1, now
            if event.save_checkpoint is not None and now - kept >= self._config.checkpoint_interval_s:
                event.save_checkpoint(state)
                leases.mark_checkpointed(self._database, self._worker_id, job.id)
                kept = time.monotonic()
            steps = event.total_steps
            self._report_progress(job, event, previews)
            if self._stop.is_set():
                if event.save_checkpoint is not None:
                    event.save_checkpoint(state)
                return
        raise RuntimeError("a maker ended without a film")

    def _report_progress(self, job: Job, event: JobProgress, preview_count: int) -> None:
        mine = leases.update_progress(
            self._database, self._worker_id, job.id,
            progress=max(1, int(100 * event.fraction)), stage=event.stage, step=event.step, total_steps=event.total_steps,
            preview_count=preview_count,
        )  # fmt: skip
        if not mine:
            raise LeaseLost

    def _is_taken_over(self, job: Job) -> bool:
        row = self._database.fetch_one("SELECT status FROM videos WHERE id = :id", {"id": job.id})
        return row is not None and row["status"] != "failed"

    def _fail_job(self, job: Job, job_dir: Path, code: str, message: str) -> None:
        # First the disk, then the store: a full disk must have room for the sentence that says so.
        if self._is_taken_over(job) and not leases.holds_lease(self._database, self._worker_id, job.id):
            return
        remove_all_files(job_dir)
        for pause in (0.1, 0.5, 2, 5, 0):
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
                log.warning("the store: %s", error)
                time.sleep(pause)

    def _heartbeat_loop(self) -> None:
        """Say that the worker lives. End the process if its film is gone and the making won't stop."""
        store = Database(self._data_dir, durable=False)
        while True:
            with contextlib.suppress(sqlite3.OperationalError):
                leases.heartbeat(store, self._worker_id, self._config.lease_s)
                now = self._current_job_id
                if now is not None and not leases.holds_lease(store, self._worker_id, now):
                    self._lost_since = self._lost_since or time.monotonic()
                    if self._current_job_id == now and time.monotonic() - self._lost_since > STUCK_TIMEOUT_S:
                        log.error("%s is no longer wanted, and its making does not stop", now)
                        os._exit(3)
                else:
                    self._lost_since = None
            time.sleep(self._config.lease_s / 5)

    def _stop_on_stdin_eof(self) -> None:
        """Stop when the server that started this worker is gone."""
        while os.read(0, 1):
            pass
        self._stop.set()
        # A server that was killed can't wait; one that drains waits and then kills.
        time.sleep(2 * STUCK_TIMEOUT_S)
        os._exit(4)


def _write_outputs(job_dir: Path, result: JobResult) -> None:
    """The film last: whoever sees it sees all."""
    from kinema.media.contact_sheet import sprite_sheet
    from kinema.media.images import save_image, thumbnail

    write_bytes(job_dir / THUMBNAIL_FILE, thumbnail(result.frames[len(result.frames) // 2], max_side=512))
    save_image(job_dir / SPRITESHEET_FILE, sprite_sheet(result.frames).image)
    result.write_video(job_dir / VIDEO_FILE)


def _encode_preview(frames: np.ndarray) -> bytes:
    """The middle frame, enlarged so that a page can show it as it is."""
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
    """`python -m kinema.server.worker DUTY`, the duty in JSON."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        if len(sys.argv) != 2:
            raise UserError("a worker is started with: kinema work --data DIR")
        worker = Worker(from_json(WorkerConfig, sys.argv[1], source="the worker's duty"))
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: worker.stop())
        worker.run()
    except UserError as error:
        print(f"kinema: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
