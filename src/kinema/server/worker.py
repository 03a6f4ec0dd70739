"""A worker: a process that claims jobs from the database and generates their videos, one after the other.

It communicates with the server through the database and the data folder only, and runs without a server:
`kinema worker` with the same data folder is an additional worker. The one exception is standard input: a
server that starts a worker holds the other end of the pipe, so that the worker stops when the server dies.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kinema.errors import UserError
from kinema.memory import release_free_memory
from kinema.models.formats.serialization import from_json
from kinema.server.backends.base import Backend
from kinema.server.backends.load import load_backend
from kinema.server.child_process import lower_priority
from kinema.server.data_dir import lock_for_worker
from kinema.server.database import BUSY_TIMEOUT_S
from kinema.server.job import Job
from kinema.server.job_runner import JobRunner, retry_while_busy
from kinema.server.job_store import JobStore, StoreBusyError
from kinema.server.leases import SilenceMonitor
from kinema.server.live.worker_session import WorkerSession, claim_offer
from kinema.server.open_stores import DATABASE_VARIABLE, is_postgres, open_file_store, open_job_store
from kinema.server.tracing import open_tracing
from kinema.server.worker_config import WorkerConfig

log = logging.getLogger("kinema.worker")

T = TypeVar("T")

POLL_INTERVAL_S = 0.1
"""Time between two looks for a job."""
STUCK_TIMEOUT_S = 30.0
"""A worker that continues with a lost job for this long exits."""


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
        self._runner = JobRunner(
            self._store,
            self._files,
            self._tracing,
            worker_id=self._worker_id,
            data_dir=self._data_dir,
            identity=self._identity,
            checkpoint_interval_s=config.checkpoint_interval_s,
            retention_s=config.retention_s,
            is_remote=self._is_remote,
            should_stop=self._stop.is_set,
        )
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
                self._runner.run(backend, job)
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
            self._runner.run(backend, job)
        finally:
            self._current, self._lost_since = None, None

    @property
    def _is_remote(self) -> bool:
        return is_postgres(self._config.database) or self._config.storage.startswith("s3://")

    def _retry_while_busy(self, action: Callable[[], T]) -> T:
        return retry_while_busy(action, is_remote=self._is_remote)

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
