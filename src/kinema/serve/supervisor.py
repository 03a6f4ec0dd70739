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
from kinema.serve import jobs, work
from kinema.serve.folder import discard, empty, empty_trash, folder_of, folders
from kinema.serve.settings import Settings
from kinema.serve.store import Store
from kinema.serve.worker import command

log = logging.getLogger("kinema.serve")

LOOK_SECONDS = 0.25
SWEEP_SECONDS = 10.0
NEW_FOLDER_SECONDS = 900.0
"""A folder without a film in the store may belong to a request that is still coming in."""
MOST_PAUSE = 30.0
"""Between two starts of a worker that dies at once."""


class Supervisor:
    """Starts the workers of a server, and starts them again when they die."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * settings.workers
        self._born = [0.0] * settings.workers
        self._deaths = [0] * settings.workers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="supervisor")
        self.restarts = 0
        """How many workers died and were started again."""

    def start(self) -> None:
        """Begin. No other server uses the data folder, so what has no film in the store is rubbish."""
        empty_trash(self._settings.data)
        self._release_dead()
        self._sweep(older=0)
        for place in range(self._settings.workers):
            self._spawn(place)
        self._thread.start()

    @property
    def alive(self) -> int:
        """How many workers run."""
        return sum(process is not None and process.poll() is None for process in self._processes)

    def stop(self, patience: float) -> None:
        """Let each worker save what it is at and end; kill those that don't within `patience` seconds."""
        self._stop.set()
        self._thread.join()
        for process in self._processes:
            if process is not None and process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        deadline = time.monotonic() + patience
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
        self._release_dead()

    def _run(self) -> None:
        swept = time.monotonic()
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self._look()
                if time.monotonic() - swept > SWEEP_SECONDS:
                    swept = time.monotonic()
                    self._sweep(older=NEW_FOLDER_SECONDS)
            except (sqlite3.Error, OSError) as error:  # a full disk: nothing to be done but to look again
                log.warning("supervisor: %s", error)

    def _look(self) -> None:
        # Most looks find nothing under way, and need not ask for the right to write.
        if self._store.one("SELECT 1 FROM videos WHERE status = 'in_progress' LIMIT 1", {}) is not None:
            self._end_hopeless()
        for place, process in enumerate(self._processes):
            if process is None or process.poll() is None:
                continue
            lived = time.monotonic() - self._born[place]
            pause = min(MOST_PAUSE, 0.5 * 2 ** min(10, self._deaths[place])) if lived < 5 else 0.0
            if lived < pause:
                continue
            self._deaths[place] = self._deaths[place] + 1 if lived < 5 else 0
            log.warning("worker %d ended with %s; starting another", process.pid, process.returncode)
            self._release_dead()
            self.restarts += 1
            self._spawn(place)

    def _end_hopeless(self) -> None:
        settings = self._settings
        for identifier in (
            *jobs.overdue(self._store, settings.limits.job, keep=settings.keep),
            *jobs.abandon(self._store, settings.tries, keep=settings.keep),
        ):
            empty(folder_of(settings.data, identifier))

    def _spawn(self, place: int) -> None:
        settings = self._settings
        with single_threaded() if settings.workers > 1 else contextlib.nullcontext():
            self._processes[place] = subprocess.Popen(
                command(settings, place=place, attached=True), stdin=subprocess.PIPE
            )
        self._born[place] = time.monotonic()

    def _release_dead(self) -> None:
        """Free the films of this machine's workers that are no more, before their leases run out."""
        rows = self._store.all(
            "SELECT id, pid FROM workers WHERE host = :host AND pid > 0", {"host": socket.gethostname()}
        )
        for row in rows:
            if not _lives(row["pid"]):
                work.bury(self._store, row["id"])

    def _sweep(self, *, older: float) -> None:
        for identifier in jobs.expire(self._store):
            discard(self._settings.data, identifier)
        for identifier in jobs.failed(self._store):
            empty(folder_of(self._settings.data, identifier))
        found = folders(self._settings.data, older=older)
        kept = jobs.known(self._store, found)
        for identifier in found:
            if identifier not in kept:
                discard(self._settings.data, identifier)


def _lives(pid: int) -> bool:
    """Whether a process of that number runs and is a worker; numbers are used again."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    told = Path(f"/proc/{pid}/cmdline")
    return not told.exists() or b"kinema.serve.worker" in told.read_bytes()
