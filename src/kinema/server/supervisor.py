"""Keeps the workers alive, frees what is over, and ends what takes too long: a thread of the server."""

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
"""A folder without a film in the store may belong to a request that is still coming in."""
MAX_RESTART_BACKOFF_S = 30.0
"""Between two starts of a worker that dies at once."""


class Supervisor:
    """Starts the workers of a server, and starts them again when they die."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * settings.workers
        self._started_at = [0.0] * settings.workers
        self._rapid_exits = [0] * settings.workers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="supervisor")
        self.restarts = 0
        """How many workers died and were started again."""

    def start(self) -> None:
        """Begin. No other server uses the data folder, so what has no film in the store is rubbish."""
        empty_trash(self._settings.data_dir)
        self._release_dead_workers()
        self._delete_stale_files(min_age_s=0)
        for place in range(self._settings.workers):
            self._spawn(place)
        self._thread.start()

    @property
    def num_alive(self) -> int:
        """How many workers run."""
        return sum(process is not None and process.poll() is None for process in self._processes)

    def stop(self, timeout_s: float) -> None:
        """Let each worker save what it is at and end; kill those that don't within `timeout_s` seconds."""
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
                log.warning(
                    "worker %d does not stop; its film goes on from its last saved state", process.pid
                )
                process.kill()
                process.wait()
        self._release_dead_workers()

    def _run(self) -> None:
        swept = time.monotonic()
        while not self._stop.wait(POLL_INTERVAL_S):
            try:
                self._poll()
                if time.monotonic() - swept > SWEEP_INTERVAL_S:
                    swept = time.monotonic()
                    self._delete_stale_files(min_age_s=ORPHAN_GRACE_S)
            except (sqlite3.Error, OSError) as error:  # a full disk: nothing to be done but to look again
                log.warning("supervisor: %s", error)

    def _poll(self) -> None:
        # Most looks find nothing under way, and need not ask for the right to write.
        if (
            self._database.fetch_one("SELECT 1 FROM videos WHERE status = 'in_progress' LIMIT 1", {})
            is not None
        ):
            self._fail_stuck_jobs()
        for place, process in enumerate(self._processes):
            if process is None or process.poll() is None:
                continue
            lived = time.monotonic() - self._started_at[place]
            pause = (
                min(MAX_RESTART_BACKOFF_S, 0.5 * 2 ** min(10, self._rapid_exits[place])) if lived < 5 else 0.0
            )
            if lived < pause:
                continue
            self._rapid_exits[place] = self._rapid_exits[place] + 1 if lived < 5 else 0
            log.warning("worker %d ended with %s; starting another", process.pid, process.returncode)
            self._release_dead_workers()
            self.restarts += 1
            self._spawn(place)

    def _fail_stuck_jobs(self) -> None:
        settings = self._settings
        for identifier in (
            *queue.fail_overdue(
                self._database, settings.limits.job_timeout_s, retention_s=settings.retention_s
            ),
            *queue.fail_abandoned(self._database, settings.max_attempts, retention_s=settings.retention_s),
        ):
            remove_all_files(get_job_dir(settings.data_dir, identifier))

    def _spawn(self, worker_index: int) -> None:
        settings = self._settings
        with single_threaded() if settings.workers > 1 else contextlib.nullcontext():
            self._processes[worker_index] = subprocess.Popen(
                worker_command(settings, worker_index=worker_index, attached=True), stdin=subprocess.PIPE
            )
        self._started_at[worker_index] = time.monotonic()

    def _release_dead_workers(self) -> None:
        """Free the films of this machine's workers that are no more, before their leases run out."""
        rows = self._database.fetch_all(
            "SELECT id, pid FROM workers WHERE host = :host AND pid > 0", {"host": socket.gethostname()}
        )
        for row in rows:
            if not _is_live_worker(row["pid"]):
                leases.mark_worker_dead(self._database, row["id"])

    def _delete_stale_files(self, *, min_age_s: float) -> None:
        for identifier in queue.delete_expired(self._database):
            delete_job_dir(self._settings.data_dir, identifier)
        for identifier in queue.list_failed(self._database):
            remove_all_files(get_job_dir(self._settings.data_dir, identifier))
        found = list_job_dirs(self._settings.data_dir, min_age_s=min_age_s)
        kept = queue.existing_ids(self._database, found)
        for identifier in found:
            if identifier not in kept:
                delete_job_dir(self._settings.data_dir, identifier)


def _is_live_worker(pid: int) -> bool:
    """Whether a process of that number runs and is a worker; numbers are used again."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    told = Path(f"/proc/{pid}/cmdline")
    return not told.exists() or b"kinema.server.worker" in told.read_bytes()
