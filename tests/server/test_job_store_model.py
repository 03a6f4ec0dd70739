"""The promises about jobs, against any order of requests, work, failures, clock jumps and restores.

A model of what clients were told is compared with the store and the folder of videos after every step:

- an acknowledged job is there until its owner deletes it or its time is over;
- at most one attempt completes a job, and once a client was told that a video is completed, its attempt
  and its files never change;
- a worker whose attempt was taken over, cancelled or deleted changes nothing.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kinema.server import job_states
from kinema.server.database import DATABASE_FILE
from kinema.server.file_store import SERVED_FILES
from kinema.server.job import Job
from kinema.server.job_states import Progress
from kinema.server.job_store import JobStore, Lease
from kinema.server.leases import SilenceMonitor
from kinema.server.recovery import reconcile
from kinema.server.settings import Limits
from kinema.server.storage import LocalFileStore
from tests.fixtures.job_stores import STORES, FakeClock, claim, job_create, open_store

LEASE_S = 20.0
RETENTION_S = 10_000.0
GRACE_S = 300.0
MAX_ATTEMPTS = 3


class KilledError(BaseException):
    """The process was killed at this point."""


class DiskFullError(OSError):
    """The disk is full."""


@dataclasses.dataclass(kw_only=True, eq=False)
class ModelWorker:
    """A worker as the test sees it.

    Attributes:
        id: of the worker.
        job: its attempt, as it was claimed.
        is_frozen: sends no heartbeats.
    """

    id: str
    job: Job | None = None
    is_frozen: bool = False


class JobStoreMachine(RuleBasedStateMachine):
    """Clients, two workers, a supervisor and an operator, in any order."""

    store_name = "sqlite"
    videos = Bundle("videos")

    def __init__(self) -> None:
        super().__init__()
        # In memory where there is such a folder: the slow test writes some hundred thousand files.
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        (self.folder / "videos").mkdir()
        self.clock = FakeClock()
        self.monotonic = FakeClock(0.0)
        self.files = LocalFileStore(self.folder)
        self.store: JobStore = open_store(self.store_name, self.folder, self.clock)
        self.keys = 0
        self.acknowledged: dict[str, str] = {}
        """Id of each acknowledged job that was not deleted, and the last status that a client saw."""
        self.completed_by: dict[str, str] = {}
        """Attempt of each video that a client was told to be completed."""
        self.deleted: dict[str, str] = {}
        """Jobs that can be restored, with the status that they had."""
        self.cancelled: set[str] = set()
        self.completions: dict[str, str] = {}
        """Which attempt completed a job: there is never a second one."""
        self.crashed: set[str] = set()
        """Folders of jobs that were never acknowledged; a start adopts them."""
        self.running: dict[str, str] = {}
        """The only attempt of each running job that may change it."""
        self.backups: list[Path] = []
        self.disk_is_full = False
        self.monitor = SilenceMonitor(LEASE_S, monotonic=self.monotonic)

    @initialize()
    def start(self) -> None:
        self.store.tick()
        self.workers = [ModelWorker(id=self.store.register_worker()) for _ in range(2)]

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    # Clients

    @rule(target=videos, with_key=st.booleans(), is_acknowledged=st.booleans())
    def create(self, with_key: bool, is_acknowledged: bool):
        """A request; the server may be killed before it answers."""
        self.keys += 1
        key = f"key {self.keys}" if with_key else None
        create = job_create(
            prompt=str(self.keys), served_model="world", idempotency_key=key, request_hash="h"
        )
        self.files.open_incoming(create.id)
        if self.disk_is_full:
            self.files.discard_incoming(create.id)
            return multiple()
        self.files.keep_incoming(create)
        self.store.create([create], Limits())
        if not is_acknowledged:
            if key is None:
                return multiple()
            # The client tries again with the same key: it gets the same job.
            again = dataclasses.replace(create, id=job_create().id)
            (result,) = self.store.create([again], Limits())
            assert not isinstance(result, Exception)
            assert (result[0].id, result[1]) == (create.id, False)
        self.acknowledged[create.id] = "queued"
        return create.id

    @rule()
    def crash_while_creating(self) -> None:
        """The server is killed between the folder and the row: nothing was acknowledged."""
        if not self.disk_is_full:
            create = job_create(prompt="unacknowledged")
            self.files.open_incoming(create.id)
            self.files.keep_incoming(create)
            self.crashed.add(create.id)

    @rule(index=st.integers(0, 1))
    def crash_while_finishing(self, index: int) -> None:
        """The worker is killed between the record of the result and the commit."""
        job = self.workers[index].job
        if job is None or not self.holds(job) or self.disk_is_full:
            return
        folder = self.files.open_attempt(job.id, job.attempt)
        for name in SERVED_FILES:
            (folder / name).write_text(f"{name} by {job.attempt}")

        def crash(completed: Job) -> None:
            self.files.write_result(completed)
            raise KilledError

        with pytest.raises(KilledError):
            self.store.complete(
                job.id, job.attempt, files=self.files.publish(job.id, job.attempt), retention_s=RETENTION_S,
                before_commit=crash,
            )  # fmt: skip
        self.workers[index] = ModelWorker(id=self.store.register_worker())

    @rule(video=videos)
    def cancel(self, video: str) -> None:
        before = self.store.get(video, owner="alice")
        is_cancelled = self.store.cancel(video, owner="alice", retention_s=RETENTION_S)
        assert is_cancelled == (before is not None and not before.is_finished)
        if is_cancelled:
            self.running.pop(video, None)
            self.files.remove_other_attempts(video, "")
            self.cancelled.add(video)

    @rule(video=consumes(videos), grace_s=st.sampled_from([0.0, GRACE_S]))
    def delete(self, video: str, grace_s: float) -> None:
        before = self.store.get(video, owner="alice")
        assert self.store.delete(video, owner="alice", grace_s=grace_s) == (before is not None)
        if before is not None:
            del self.acknowledged[video]
            self.running.pop(video, None)
            if grace_s:
                self.deleted[video] = before.status

    @precondition(lambda self: self.deleted)
    @rule(target=videos)
    def restore_deleted(self):
        video = min(self.deleted)
        status = self.deleted.pop(video)
        job = self.store.restore(video, owner="alice", retention_s=RETENTION_S)
        if job is None:
            return multiple()
        assert job.status == ("queued" if status == "in_progress" else status)
        self.acknowledged[video] = job.status
        return video

    # Workers

    @rule(index=st.integers(0, 1))
    def claim(self, index: int) -> None:
        worker = self.workers[index]
        if worker.job is not None or worker.is_frozen:
            return
        expired = self.monitor.expired(self.store.leases())
        job = claim(self.store, worker.id, expired=expired, max_attempts=MAX_ATTEMPTS)
        if job is not None:
            assert job.id not in self.completions, "a completed job was started again"
            assert job.id in self.acknowledged or job.id not in self.deleted
            self.files.open_attempt(job.id, job.attempt)
            worker.job = job
            self.running[job.id] = job.attempt

    @rule(index=st.integers(0, 1), percent=st.integers(0, 100), is_checkpoint=st.booleans())
    def work(self, index: int, percent: int, is_checkpoint: bool) -> None:
        job = self.workers[index].job
        if job is None:
            return
        holds = self.holds(job)
        progress = Progress(percent=percent, stage="sample", step=1, total_steps=9, preview_count=0)
        assert self.store.report_progress(job.id, job.attempt, progress) == holds
        if is_checkpoint and not self.disk_is_full:
            assert self.store.record_checkpoint(job.id, job.attempt, path="x", sha256="y") == holds

    @rule(index=st.integers(0, 1))
    def finish(self, index: int) -> None:
        """Write the files, then complete the job; also as a late worker that has lost it."""
        worker = self.workers[index]
        if worker.job is None:
            return
        job, worker.job = worker.job, None
        holds = self.holds(job)
        try:
            if self.disk_is_full:
                raise DiskFullError
            folder = self.files.open_attempt(job.id, job.attempt)
            for name in SERVED_FILES:
                (folder / name).write_text(f"{name} by {job.attempt}")
            files = self.files.publish(job.id, job.attempt)
            is_completed = self.store.complete(
                job.id, job.attempt, files=files, retention_s=RETENTION_S,
                before_commit=self.files.write_result,
            )  # fmt: skip
            assert is_completed == holds
        except DiskFullError:
            failed = self.store.fail(
                job.id, job.attempt, code="disk_full", message="x", retention_s=RETENTION_S
            )
            assert failed == holds
            self.end(job)
            return
        self.end(job)
        if is_completed:
            assert job.id not in self.completions, "a job was made twice"
            self.completions[job.id] = job.attempt
            self.files.remove_work(self.require(job.id))
        elif (folder := self.files.job_dir(job.id)).exists() and job.id not in self.store.all_ids():
            shutil.rmtree(folder)

    @rule(index=st.integers(0, 1))
    def fail(self, index: int) -> None:
        worker = self.workers[index]
        if worker.job is not None:
            job, worker.job = worker.job, None
            failed = self.store.fail(job.id, job.attempt, code="x", message="x", retention_s=RETENTION_S)
            assert failed == self.holds(job)
            self.end(job)

    def holds(self, job: Job) -> bool:
        """Whether the attempt may change its job, as the model knows it."""
        return self.running.get(job.id) == job.attempt

    def end(self, job: Job) -> None:
        """The attempt has ended."""
        if self.holds(job):
            del self.running[job.id]

    @rule(index=st.integers(0, 1), is_noticed=st.booleans())
    def kill_worker(self, index: int, is_noticed: bool) -> None:
        """SIGKILL; a supervisor on the same machine notices at once, another one after a lease."""
        if is_noticed:
            self.store.mark_worker_dead(self.workers[index].id)
            if (job := self.workers[index].job) is not None:
                self.end(job)
        self.workers[index] = ModelWorker(id=self.store.register_worker())

    @rule(index=st.integers(0, 1))
    def stop_worker(self, index: int) -> None:
        self.store.unregister_worker(self.workers[index].id)
        if (job := self.workers[index].job) is not None:
            self.end(job)
        self.workers[index] = ModelWorker(id=self.store.register_worker())

    @rule(index=st.integers(0, 1))
    def freeze_or_thaw(self, index: int) -> None:
        self.workers[index].is_frozen = not self.workers[index].is_frozen

    # Time

    @rule(seconds=st.sampled_from([1.0, 25.0, 400.0]))
    def pass_time(self, seconds: float) -> None:
        """Time in which a server runs: heartbeats, sweeps, and all its sweeps' consequences."""
        while seconds > 0:
            self.clock.now += 5
            self.monotonic.now += 5
            seconds -= 5
            for worker in self.workers:
                if not worker.is_frozen:
                    attempt = "" if worker.job is None else worker.job.attempt
                    self.store.heartbeat(worker.id, attempt, worked_s=5)
            expired: list[Lease] = self.monitor.expired(self.store.leases())
            for video in self.store.fail_abandoned(expired, MAX_ATTEMPTS, retention_s=RETENTION_S):
                self.running.pop(video, None)
            self.store.tick()
            self.sweep()

    @rule(seconds=st.sampled_from([-3600.0, 90_000.0, 10_000_000.0, -10_000_000.0]))
    def jump_clock(self, seconds: float) -> None:
        """The wall clock is set, or no server runs for a while: nothing expires."""
        before = self.store.all_ids()
        self.clock.now += seconds
        self.store.tick()
        self.store.fail_overdue(3600, retention_s=RETENTION_S)
        self.sweep(jumped=True)
        assert {video for video in before if video in self.acknowledged} <= self.store.all_ids()

    @rule()
    def fill_or_free_disk(self) -> None:
        self.disk_is_full = not self.disk_is_full

    def sweep(self, *, jumped: bool = False) -> None:
        for video in self.store.expired():
            assert video not in self.acknowledged or not jumped, "a clock that was set removed a video"
            self.files.delete(video, reason="expired")
            self.store.remove([video])
            self.acknowledged.pop(video, None)
            self.deleted.pop(video, None)

    # The operator

    @precondition(lambda self: not self.disk_is_full)
    @rule()
    def back_up(self) -> None:
        if self.store_name != "sqlite":
            return  # PostgreSQL is backed up with its own programs.
        target = self.folder / f"backup-{len(self.backups)}.sqlite"
        self.store.backup(target)
        self.backups.append(target)

    @rule(from_backup=st.booleans(), number=st.integers(0, 10))
    def restart(self, from_backup: bool, number: int) -> None:
        """The server is killed and starts again, with its database, with an old one, or with none."""
        self.store.close()
        from_backup = is_old = from_backup and self.store_name == "sqlite"
        if from_backup:
            for suffix in ("", "-wal", "-shm"):
                (self.folder / f"{DATABASE_FILE}{suffix}").unlink(missing_ok=True)
            if self.backups:
                shutil.copyfile(self.backups[number % len(self.backups)], self.folder / DATABASE_FILE)
        self.store = open_store(self.store_name, self.folder, self.clock)
        for worker in self.store.workers():
            self.store.mark_worker_dead(worker.id)
        reconcile(self.store, self.files, retention_s=RETENTION_S, remove_missing=from_backup)
        self.store.tick()
        self.workers = [ModelWorker(id=self.store.register_worker()) for _ in range(2)]
        self.running.clear()
        self.crashed.clear()
        for video in [*self.acknowledged, *self.deleted]:
            # A start adopts what a killed worker had finished, with an old database also of a deleted job.
            if (job := self.store.get(video, owner=None)) is not None and job.status == "completed":
                assert self.completions.setdefault(video, job.attempt) == job.attempt, "made twice"
        if is_old:
            # What a backup does not know is forgotten: that a job failed, was deleted or was restored.
            for video in [*self.acknowledged, *self.deleted]:
                job = self.store.get(video, owner=None, deleted=True)
                assert job is not None, "a restore lost a job"
                self.deleted.pop(video, None)
                self.acknowledged.pop(video, None)
                known = self.acknowledged if job.deleted_at is None else self.deleted
                known[video] = job.status
            self.cancelled.clear()

    # What must be true

    def require(self, video: str) -> Job:
        job = self.store.get(video, owner="alice")
        assert job is not None, "an acknowledged job was lost"
        return job

    @invariant()
    def acknowledged_jobs_are_there_and_finished_ones_do_not_change(self) -> None:
        for video, seen in list(self.acknowledged.items()):
            job = self.require(video)
            if seen == "completed":
                assert job.status == "completed", "a completed job changed"
            if seen == "failed":
                assert job.status == "failed", "a failed job changed"
            if video in self.cancelled:
                assert job.status == "failed"
            self.acknowledged[video] = job.status
            if job.status == "completed":
                assert self.completed_by.setdefault(video, job.attempt) == job.attempt, "made twice"
                assert self.completions[video] == job.attempt
                for name in SERVED_FILES:
                    path = self.files.verified_path(job, name)
                    assert path.read_text() == f"{name} by {job.attempt}"
            assert (job.progress == 100) == (job.status == "completed")
            assert (job.status == "in_progress") or job.worker_id is None

    @invariant()
    def each_attempt_has_one_job(self) -> None:
        attempts = [lease.attempt for lease in self.store.leases()]
        assert len(attempts) == len(set(attempts))

    @invariant()
    def nothing_is_left_over(self) -> None:
        names = {path.name for path in (self.folder / "videos").iterdir()}
        assert names - self.crashed <= self.store.all_ids()
        assert set(self.acknowledged) <= names


def run_histories(store_name: str, examples: int, steps: int) -> None:
    machine = type(f"{store_name}Machine", (JobStoreMachine,), {"store_name": store_name})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_promises_hold_in_some_histories():
    run_histories("sqlite", 10, 25)


@pytest.mark.slow
@pytest.mark.parametrize("store_name", STORES)
def test_the_promises_hold_in_sixty_histories(store_name):
    run_histories(store_name, 60, 30)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("store_name", STORES)
def test_the_promises_hold_in_two_thousand_histories(store_name):
    start = time.monotonic()
    run_histories(store_name, 2000, 40)
    print(f"2,000 histories in {time.monotonic() - start:.0f} s")


def test_the_model_finds_a_store_that_forgets_its_tokens(monkeypatch):
    """A check of the check: without fencing, a late worker completes a job that another one has."""
    monkeypatch.setattr(job_states, "holds", lambda job, attempt: job.status == "in_progress")
    machine = JobStoreMachine()
    try:
        machine.start()
        machine.create(with_key=False, is_acknowledged=True)
        machine.claim(0)
        machine.freeze_or_thaw(0)
        machine.pass_time(25.0)
        machine.claim(1)
        with pytest.raises(AssertionError):
            machine.finish(0)
    finally:
        machine.teardown()
