"""100 random kills, freezes, clock jumps, full disks and restores: no acknowledged job is lost or made twice.

Every video is compared with the one that an undisturbed server makes of the same request.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import kinema
from kinema.cli import main
from kinema.server.database import DATABASE_FILE, check_file
from kinema.server.file_store import VIDEO_FILE
from kinema.server.sqlite_store import SqliteJobStore
from kinema.server.storage import LocalFileStore
from tests.fixtures import server

DISTURBANCES = 100
SEEDS = 4
LEASE_S = 2.0
SETTINGS = f"checkpoint_interval_s = 0.0\nlease_s = {LEASE_S}\n[limits]\nmin_free_bytes = 0\n"
SHIFTED_CLOCK = """
import os, time
_real = time.time
def _shifted():
    try:
        with open(os.environ["CLOCK_OFFSET_FILE"]) as file:
            return _real() + float(file.read() or 0)
    except (KeyError, OSError, ValueError):
        return _real()
time.time = _shifted
"""
KINDS = ("kill worker", "kill server", "kill both", "freeze", "clock", "disk", "restore", "stop")
WEIGHTS = (30, 12, 8, 12, 12, 10, 8, 8)


class Chaos:
    """A server that is disturbed, and what its clients were told."""

    def __init__(self, folder: Path, disk: Path) -> None:
        self.data, self.folder = disk / "data", folder
        (folder / "sitecustomize.py").write_text(SHIFTED_CLOCK)
        (folder / "kinema.toml").write_text(SETTINGS)
        self.offset = folder / "offset"
        self.offset.write_text("0")
        source = Path(kinema.__file__).parents[1]
        self.env = {
            "PYTHONPATH": f"{source}{os.pathsep}{folder}", "CLOCK_OFFSET_FILE": str(self.offset)
        }  # fmt: skip
        self.rng = random.Random(0)
        self.acknowledged: dict[str, int] = {}
        """Seed of each acknowledged video."""
        self.attempts: dict[str, str] = {}
        """Which attempt made a video that was seen to be completed."""
        self.done: Counter[str] = Counter()
        self.backup: Path | None = None

    def start(self) -> None:
        self.running = server.start_server(
            self.data, "--settings", str(self.folder / "kinema.toml"), env=self.env
        )
        server.wait_until_ready(self.running.url)

    def submit(self) -> None:
        seed = self.rng.randrange(SEEDS)
        body = {"prompt": "pace=0.02", "seed": seed, "num_inference_steps": 25}
        with contextlib.suppress(httpx.HTTPError):
            response = httpx.post(f"{self.running.url}/videos", json=body, timeout=30)
            if response.status_code == 200:
                self.acknowledged[response.json()["id"]] = seed
            else:
                assert response.status_code == 503, response.text

    def worker_pids(self) -> list[int]:
        path = self.data / DATABASE_FILE
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return [pid for (pid,) in connection.execute("SELECT pid FROM workers WHERE pid > 0")]

    def signal_workers(self, number: signal.Signals) -> None:
        for pid in self.worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def disturb(self) -> None:
        (kind,) = self.rng.choices(KINDS, WEIGHTS)
        self.done[kind] += 1
        match kind:
            case "kill worker":
                self.signal_workers(signal.SIGKILL)
            case "kill server" | "kill both":
                self.running.kill()
                if kind == "kill both":
                    self.signal_workers(signal.SIGKILL)
                self.start()
            case "stop":
                self.running.process.send_signal(signal.SIGTERM)
                assert self.running.process.wait(60) == 0
                self.start()
            case "freeze":
                self.signal_workers(signal.SIGSTOP)
                time.sleep(LEASE_S * self.rng.uniform(0.5, 2.5))
                self.signal_workers(signal.SIGCONT)
            case "clock":
                self.offset.write_text(str(self.rng.choice([-7200, 90_000, 10**7, -(10**6), 0])))
                time.sleep(0.5)
            case "disk":
                self.fill_disk()
            case "restore":
                self.restore()

    def fill_disk(self) -> None:
        filler = self.data.parent / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))
        time.sleep(self.rng.uniform(0.2, 1.5))
        self.submit()
        filler.unlink()

    def restore(self) -> None:
        self.running.kill()
        self.signal_workers(signal.SIGKILL)
        if self.backup is not None:
            for _ in range(100):
                with contextlib.suppress(SystemExit):
                    main(["jobs", "restore", str(self.backup), "--data", str(self.data)])
                    break
                time.sleep(0.1)  # A killed worker has not ended yet.
            else:
                raise AssertionError("the data folder stays locked")
        else:
            for suffix in ("", "-wal", "-shm"):
                (self.data / f"{DATABASE_FILE}{suffix}").unlink(missing_ok=True)
        self.start()

    def back_up(self) -> None:
        target = self.folder / "backup.sqlite"
        main(["jobs", "backup", str(target), "--data", str(self.data)])
        self.backup = target

    def check(self) -> None:
        """Nothing that a client was told is taken back."""
        with contextlib.closing(SqliteJobStore(self.data, durable=False, busy_timeout_s=10)) as store:
            for video in self.acknowledged:
                job = store.get(video, owner=None)
                assert job is not None, f"{video} is lost after {self.done}"
                if video in self.attempts:
                    assert (job.status, job.attempt) == ("completed", self.attempts[video]), "made twice"
                elif job.status == "completed":
                    self.attempts[video] = job.attempt

    def finish(self) -> int:
        """Let all jobs end; the operator retries those that failed. How many had failed."""
        retried = 0
        while True:
            with contextlib.closing(SqliteJobStore(self.data, durable=False, busy_timeout_s=10)) as store:
                server.wait_until(
                    lambda: not any(store.count_by_status()[name] for name in ("queued", "in_progress")), 1200
                )
                failed = [
                    video for video in self.acknowledged if store.get(video, owner=None).status == "failed"
                ]
                for video in failed:
                    assert store.get(video, owner=None).error_code in ("worker_lost", "disk_full")
            if not failed:
                return retried
            retried += len(failed)
            for video in failed:
                main(["jobs", "retry", video, "--data", str(self.data)])


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 48 MiB of its own, which can be full."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("filling a disk needs the right to mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_disturbances_lose_nothing_and_make_nothing_twice(tmp_path):
    chaos_folder = tmp_path / "chaos"
    chaos_folder.mkdir()
    undisturbed = []
    with server.running_server(tmp_path / "undisturbed") as running:
        for seed in range(SEEDS):
            body = {"prompt": "pace=0.02", "seed": seed, "num_inference_steps": 25}
            video = httpx.post(f"{running.url}/videos", json=body).json()["id"]
            server.wait_until(
                lambda video=video: httpx.get(f"{running.url}/videos/{video}").json()["status"] == "completed"
            )
            undisturbed.append(httpx.get(f"{running.url}/videos/{video}/content").content)
    start = time.monotonic()
    with small_disk(tmp_path / "disk") as disk:
        chaos = Chaos(chaos_folder, disk)
        chaos.start()
        try:
            while chaos.done.total() < DISTURBANCES:
                for _ in range(chaos.rng.randrange(3)):
                    chaos.submit()
                if chaos.rng.random() < 0.1:
                    chaos.back_up()
                time.sleep(chaos.rng.uniform(0.1, 1.5))
                chaos.disturb()
                chaos.check()
            retried = chaos.finish()
            chaos.check()
            assert check_file(chaos.data / DATABASE_FILE, quick=False) == []
            with contextlib.closing(SqliteJobStore(chaos.data, durable=False)) as store:
                files = LocalFileStore(chaos.data)
                for video, seed in chaos.acknowledged.items():
                    job = store.get(video, owner=None)
                    content = httpx.get(f"{chaos.running.url}/videos/{video}/content").content
                    assert content == undisturbed[seed]
                    assert hashlib.sha256(content).hexdigest() == job.files[VIDEO_FILE].sha256
                    assert files.verified_path(job, VIDEO_FILE).is_file()
        finally:
            chaos.running.process.send_signal(signal.SIGTERM)
            chaos.running.process.wait(60)
    print(
        f"\n{dict(chaos.done)}: {len(chaos.acknowledged)} acknowledged, all completed once and byte-equal, "
        f"{retried} retried by the operator, {time.monotonic() - start:.0f} s"
    )
