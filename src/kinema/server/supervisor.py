"""The supervisor, a thread of the server: restarts workers, fails stuck jobs, deletes expired files."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

from kinema.process_pool import single_threaded
from kinema.server import leases, queue
from kinema.server.database import Database
from kinema.server.settings import Settings
from kinema.server.storage import (
    delete_job_dir,
    empty_trash,
    get_job_dir,
    list_job_dirs,
    remove_all_files,
)
from kinema.server.worker import worker_command

log = logging.getLogger("kinema.server")

POLL_INTERVAL_S = 0.25
SWEEP_INTERVAL_S = 10.0
ORPHAN_GRACE_S = 900.0
"""A younger folder without a job may belong to a request that is still being received."""
RAPID_EXIT_S = 5.0
"""A worker that ends within this time is restarted with increasing delays."""
MAX_RESTART_BACKOFF_S = 30.0
"""Longest delay before a worker that crashes at once is started again."""


class Supervisor:
    """Starts the workers of a server, and restarts them when they die."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * settings.workers
        self._started_at = [0.0] * settings.workers
        self._rapid_exits = [0] * settings.workers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="supervisor")
        self.restarts = 0
        """How many workers were restarted."""

    def start(self) -> None:
        """Start the workers. No other server uses the data folder: all folders without a job are deleted."""
        empty_trash(self._settings.data_dir)
        self._release_dead_workers()
        self._delete_stale_files(min_age_s=0)
        for index in range(self._settings.workers):
            self._spawn(index)
        self._thread.start()

    @property
    def num_alive(self) -> int:
        """How many workers are running."""
        return sum(process is not None and process.poll() is None for process in self._processes)

    def stop(self, timeout_s: float) -> None:
        """Let each worker save its job and end; kill those that take longer than `timeout_s` seconds."""
        self._stop.set()
        self._thread.join()
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
        self._release_dead_workers()

    def _run(self) -> None:
        swept_at = time.monotonic()
        while not self._stop.wait(POLL_INTERVAL_S):
            try:
                self._poll()
                if time.monotonic() - swept_at > SWEEP_INTERVAL_S:
                    swept_at = time.monotonic()
                    self._delete_stale_files(min_age_s=ORPHAN_GRACE_S)
            except (sqlite3.Error, OSError) as error:  # For example a full disk: try again later.
                log.warning("supervisor: %s", error)

    def _poll(self) -> None:
        # A read first: most of the time no job is running, and no write lock is needed.
        running = self._database.fetch_one("SELECT 1 FROM videos WHERE status = 'in_progress' LIMIT 1", {})
        if running is not None:
            self._fail_stuck_jobs()
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
        retention_s = settings.retention_s
        for job_id in (
            *queue.fail_overdue(self._database, settings.limits.job_timeout_s, retention_s=retention_s),
            *queue.fail_abandoned(self._database, settings.max_attempts, retention_s=retention_s),
        ):
            remove_all_files(get_job_dir(settings.data_dir, job_id))

    def _spawn(self, worker_index: int) -> None:
        settings = self._settings
        with single_threaded() if settings.workers > 1 else contextlib.nullcontext():
            self._processes[worker_index] = subprocess.Popen(
                worker_command(settings, worker_index=worker_index, attached=True), stdin=subprocess.PIPE
            )
        self._started_at[worker_index] = time.monotonic()

    def _release_dead_workers(self) -> None:
        """Free the jobs of this machine's dead workers before their leases expire."""
        rows = self._database.fetch_all(
            "SELECT id, pid FROM workers WHERE host = :host AND pid > 0", {"host": socket.gethostname()}
        )
        for row in rows:
            if not _is_live_worker(row["pid"]):
                leases.mark_worker_dead(self._database, row["id"])

    def _delete_stale_files(self, *, min_age_s: float) -> None:
        data_dir = self._settings.data_dir
        for job_id in queue.delete_expired(self._database):
            delete_job_dir(data_dir, job_id)
        for job_id in queue.list_failed(self._database):
            remove_all_files(get_job_dir(data_dir, job_id))
        folders = list_job_dirs(data_dir, min_age_s=min_age_s)
        for job_id in set(folders) - queue.existing_ids(self._database, folders):
            delete_job_dir(data_dir, job_id)


def _is_live_worker(pid: int) -> bool:
    """Whether the process exists and is a worker; process ids are reused."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    command_line = Path(f"/proc/{pid}/cmdline")
    return not command_line.exists() or b"kinema.server.worker" in command_line.read_bytes()
