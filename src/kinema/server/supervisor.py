"""The supervisor, a thread of the server: ends frozen workers, restarts dead ones, removes old files."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kinema.process_pool import single_threaded
from kinema.server.file_store import FileStore
from kinema.server.job_store import JobStore, Lease, StoreBusyError, WorkerRow
from kinema.server.leases import SilenceMonitor
from kinema.server.model_info import ModelInfo
from kinema.server.open_stores import DATABASE_VARIABLE, is_postgres
from kinema.server.ray_workers import ray_workers_command
from kinema.server.recovery import reconcile
from kinema.server.scrub import Scrubber
from kinema.server.settings import Settings
from kinema.server.worker import sign_of_life
from kinema.server.worker_config import worker_command, worker_config

log = logging.getLogger("kinema.server")

POLL_INTERVAL_S = 0.25
SWEEP_INTERVAL_S = 10.0
ORPHAN_GRACE_S = 900.0
"""A younger folder without a job may belong to a request that is still being received."""
RAPID_EXIT_S = 5.0
"""A worker that ends within this time is restarted with increasing delays."""
STUCK_LEASES = 30
"""A worker that is busy, but gives no sign of life for this many leases, is ended too."""
MAX_RESTART_BACKOFF_S = 30.0
"""Longest delay before a worker that crashes at once is started again."""
_OUT_OF_MEMORY_MESSAGE = "The video needs more memory than a worker may use; make it smaller or shorter."


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What a readiness check reports.

    Attributes:
        model_info: of the served model; None before a worker has loaded it for the first time.
        workers_alive: worker processes of this server that are running.
        workers_ready: workers, of this server or additional ones, that have loaded the model and are alive.
        storage_error: why the job store can't be written; empty: it can.
    """

    model_info: ModelInfo | None
    workers_alive: int
    workers_ready: int
    storage_error: str


class Supervisor:
    """Starts the workers of a server, and restarts them when they die."""

    def __init__(self, settings: Settings, store: JobStore, files: FileStore) -> None:
        self._settings, self._store, self._files = settings, store, files
        # With Ray the only process is the one that runs the workers on the cluster.
        count = 1 if settings.ray else settings.workers
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * count
        self._started_at = [0.0] * count
        self._rapid_exits = [0] * count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="supervisor")
        self._attempts = SilenceMonitor(settings.lease_s)
        self._workers = SilenceMonitor(settings.lease_s)
        self._lost_workers = SilenceMonitor(STUCK_LEASES * settings.lease_s)
        self._silent_workers: frozenset[str] = frozenset()
        self._activity = SilenceMonitor(settings.lease_s)
        self._signs_of_life = SilenceMonitor(STUCK_LEASES * settings.lease_s)
        self._scrubber = Scrubber(store, files) if settings.scrub else None
        self._storage_error = ""
        self.restarts = 0
        """How many workers were restarted."""

    def start(self) -> None:
        """Make rows and files agree, and start the workers."""
        self._store.tick()
        self._release_dead_workers()
        min_age_s = ORPHAN_GRACE_S if is_postgres(self._settings.database) else 0.0
        if self._store.lead():
            # With PostgreSQL this is no condition of a start: the object store may be out of reach.
            with contextlib.suppress(StoreBusyError) if min_age_s else contextlib.nullcontext():
                reconcile(
                    self._store, self._files, retention_s=self._settings.retention_s, min_age_s=min_age_s
                )
                self._remove_stale_files(min_age_s=min_age_s)
        for index in range(len(self._processes)):
            self._spawn(index)
        self._thread.start()
        if self._scrubber is not None:
            self._scrubber.start()

    @property
    def num_alive(self) -> int:
        """How many workers are running."""
        return sum(process is not None and process.poll() is None for process in self._processes)

    def readiness(self) -> Readiness:
        """Whether jobs are accepted and worked on."""
        info = self._store.model_info(self._settings.model)
        ready = [
            worker
            for worker in self._store.workers()
            if info is not None and worker.model == info.name and worker.id not in self._silent_workers
        ]
        return Readiness(
            model_info=info,
            workers_alive=self.num_alive,
            workers_ready=len(ready),
            storage_error=self._storage_error,
        )

    def stop(self, timeout_s: float) -> None:
        """Let each worker save its job and end; kill those that take longer than `timeout_s` seconds."""
        self._stop.set()
        self._thread.join()
        if self._scrubber is not None:
            self._scrubber.stop()
        for process in self._processes:
            if process is not None and process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        deadline = time.monotonic() + timeout_s
        for process in self._processes:
            if process is None:
                continue
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("worker %d does not stop; its job resumes from its last checkpoint", process.pid)
                process.kill()
                process.wait()
        with contextlib.suppress(StoreBusyError):
            self._release_dead_workers()

    def _run(self) -> None:
        swept_at = 0.0
        while not self._stop.wait(POLL_INTERVAL_S):
            # A worker that is frozen within a transaction blocks all writers: end it first.
            self._guard("workers", self._kill_frozen_workers)
            self._guard("workers", self._restart_workers)
            self._guard("jobs", self._fail_stuck_jobs)
            if time.monotonic() - swept_at > SWEEP_INTERVAL_S:
                swept_at = time.monotonic()
                self._storage_error = self._guard("clock", self._store.tick)
                self._guard("files", lambda: self._remove_stale_files(min_age_s=ORPHAN_GRACE_S))

    def _guard(self, name: str, action: Callable[[], object]) -> str:
        """Do something that may fail for a while, for example on a full disk; the error."""
        try:
            action()
        except (StoreBusyError, OSError) as error:
            log.warning("supervisor, %s: %s", name, error)
            return str(error)
        except Exception as error:  # A bug here must not end the supervision of everything else.
            log.exception("supervisor, %s", name)
            return type(error).__name__
        return ""

    def _kill_frozen_workers(self) -> None:
        """End workers on this machine that do nothing for a lease, or give no sign of life for many.

        A thread that loads weights may keep the one that sends signs of life waiting, but uses the processor.
        """
        workers = self._store.workers()
        self._silent_workers = frozenset(
            self._workers.silent({worker.id: worker.heartbeat for worker in workers})
        )
        local = {worker.id: worker for worker in workers if worker.host == socket.gethostname()}
        for worker_id in self._lost_workers.silent({worker.id: worker.heartbeat for worker in workers}):
            if worker_id not in local:  # Its machine is gone.
                self._store.mark_worker_dead(worker_id)
        signs = {
            worker_id: sign
            for worker_id in local
            if (sign := sign_of_life(self._settings.data_dir, worker_id)) is not None
        }
        activity = {worker_id: (sign, _cpu_ticks(local[worker_id].pid)) for worker_id, sign in signs.items()}
        for worker_id in self._activity.silent(activity) | self._signs_of_life.silent(signs):
            worker = local[worker_id]
            if _is_live_worker(worker.pid):
                log.error("worker %d is frozen; ending it", worker.pid)
                os.kill(worker.pid, signal.SIGKILL)
                self._release(worker)
        limit = self._settings.limits.max_worker_bytes
        if limit is not None:
            self._kill_large_workers(list(local.values()), limit)

    def _kill_large_workers(self, workers: list[WorkerRow], limit: int) -> None:
        for worker in workers:
            if not worker.pid or _resident_bytes(worker.pid) <= limit or not _is_live_worker(worker.pid):
                continue
            log.error("worker %d uses more than %d bytes of memory; ending it", worker.pid, limit)
            for lease in self._store.leases():
                job = self._store.get(lease.job_id, owner=None)
                if job is not None and job.worker_id == worker.id:
                    self._store.fail(
                        lease.job_id, lease.attempt, code="out_of_memory", message=_OUT_OF_MEMORY_MESSAGE,
                        retention_s=self._settings.retention_s,
                    )  # fmt: skip
            os.kill(worker.pid, signal.SIGKILL)

    def _restart_workers(self) -> None:
        for index, process in enumerate(self._processes):
            if process is None or process.poll() is None:
                continue
            uptime = time.monotonic() - self._started_at[index]
            is_rapid_exit = uptime < RAPID_EXIT_S
            backoff = min(MAX_RESTART_BACKOFF_S, 0.5 * 2 ** min(10, self._rapid_exits[index]))
            if is_rapid_exit and uptime < backoff:
                continue
            self._rapid_exits[index] = self._rapid_exits[index] + 1 if is_rapid_exit else 0
            log.warning("worker %d ended with code %s; restarting it", process.pid, process.returncode)
            self._release_dead_workers()
            self.restarts += 1
            self._spawn(index)

    def _fail_stuck_jobs(self) -> None:
        settings = self._settings
        expired: list[Lease] = self._attempts.expired(self._store.leases())
        failed = [
            *self._store.fail_overdue(settings.limits.job_timeout_s, retention_s=settings.retention_s),
            *self._store.fail_abandoned(expired, settings.max_attempts, retention_s=settings.retention_s),
        ]
        for job_id in failed:
            self._files.remove_other_attempts(job_id, "")

    def _spawn(self, worker_index: int) -> None:
        settings = self._settings
        if settings.ray:
            command = ray_workers_command(settings)
        else:
            command = worker_command(worker_config(settings, worker_index=worker_index, attached=True))
        with single_threaded() if len(self._processes) > 1 else contextlib.nullcontext():
            self._processes[worker_index] = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                env={**os.environ, DATABASE_VARIABLE: settings.database},
                # Ctrl-C in a terminal reaches the server alone, which lets its workers end by closing their
                # stdin. A worker that is interrupted while Python starts would print a traceback.
                process_group=None if settings.ray else 0,
            )
        self._started_at[worker_index] = time.monotonic()

    def _release_dead_workers(self) -> None:
        """Free the jobs of this machine's dead workers before their leases expire."""
        for worker in self._store.workers():
            if worker.host == socket.gethostname() and not _is_live_worker(worker.pid):
                self._release(worker)

    def _release(self, worker: WorkerRow) -> None:
        self._store.mark_worker_dead(worker.id)
        sign = self._settings.data_dir / "workers" / worker.id
        sign.unlink(missing_ok=True)

    def _remove_stale_files(self, *, min_age_s: float) -> None:
        if self._settings.webhook is None:
            self._store.clear_events()
        if self._store.lead():
            # Files first: where the row is gone, so are they.
            job_ids = self._store.expired()
            self._store.remove([job_id for job_id in job_ids if self._files.delete(job_id, reason="expired")])
        self._files.remove_leftovers(min_age_s=min_age_s)


def _is_live_worker(pid: int) -> bool:
    """Whether the process exists and is a worker; process ids are reused."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    command_line = Path(f"/proc/{pid}/cmdline")
    try:
        return not command_line.exists() or b"kinema.server.worker" in command_line.read_bytes()
    except OSError:  # It ended in this moment.
        return False


def _cpu_ticks(pid: int) -> int:
    """Processor time of a process; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    except (OSError, ValueError, IndexError):
        return 0


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
