"""What every job store promises: no job is lost or run twice, owners take turns, clocks may be set."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import threading
from collections import Counter

import pytest

from kinema.errors import UserError
from kinema.server.database import DATABASE_FILE, check_file
from kinema.server.job import (
    FileDigest,
    IdempotencyConflictError,
    JobSource,
    Labels,
    QueueFullError,
    RequestTooLargeError,
    StorageQuotaError,
    is_job_id,
    new_id,
)
from kinema.server.job_states import Progress
from kinema.server.job_store import JobFilter, StoreBusyError
from kinema.server.leases import SilenceMonitor
from kinema.server.model_info import ModelInfo
from kinema.server.settings import Limits
from kinema.server.sqlite_store import SqliteJobStore
from tests.fixtures.job_stores import STORES, FakeClock, claim, complete, create, job_create, open_store


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=STORES)
def open_another(request, tmp_path, clock):
    """Opens further connections to the store of a test."""
    with contextlib.ExitStack() as stack:

        def open_one():
            store = open_store(request.param, tmp_path, clock)
            stack.callback(store.close)
            return store

        yield open_one


@pytest.fixture
def store(open_another):
    return open_another()


def report(store, job, percent: int, step: int = 1) -> bool:
    progress = Progress(percent=percent, stage="sample", step=step, total_steps=8, preview_count=0)
    return store.report_progress(job.id, job.attempt, progress)


def fail(store, job) -> bool:
    return store.fail(job.id, job.attempt, code="x", message="x", retention_s=100)


def leases_of(store, job):
    return [lease for lease in store.leases() if lease.job_id == job.id]


def test_identifiers_sort_by_time_and_are_validated():
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert all(is_job_id(one) for one in ids)
    assert ids[0][:22] <= ids[-1][:22]
    for wrong in ("", "video_", "video_" + "g" * 32, "video_../../etc/passwd", ids[0] + "\n", ids[0].upper()):
        assert not is_job_id(wrong)


def test_many_workers_claim_each_job_once(open_another, store):
    videos = [create(store).id for _ in range(60)]
    claimed: list[str] = []

    def worker() -> None:
        own, name = open_another(), ""
        while True:
            try:
                name = name or own.register_worker()
                job = claim(own, name)
                if job is None:
                    return
                claimed.append(job.id)
                while True:
                    with contextlib.suppress(StoreBusyError):
                        assert complete(own, job)
                        break
            except StoreBusyError:
                continue

    threads = [threading.Thread(target=worker) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(videos)
    assert store.count_by_status()["completed"] == 60


def test_owners_take_turns(store):
    for owner, number in (("alice", 5), ("bob", 2), ("carol", 1)):
        for _ in range(number):
            create(store, job_create(owner))
    name, owners = store.register_worker(), []
    queued = store.list_jobs(JobFilter(status="queued"), limit=20, newest_first=False).jobs
    predicted = sorted(queued, key=lambda job: store.queue_position(job))
    order = []
    while (job := claim(store, name)) is not None:
        owners.append(job.owner)
        order.append(job.id)
        complete(store, job)
    assert Counter(owners[:3]) == {"alice": 1, "bob": 1, "carol": 1}
    assert Counter(owners[3:5]) == {"alice": 1, "bob": 1}
    assert owners[5:] == ["alice"] * 3
    assert order == [job.id for job in predicted]
    assert store.queue_position(predicted[0]) is None


def test_a_job_is_claimed_by_workers_of_its_model_only(store):
    first = create(store, job_create(served_model="world"))
    other = create(store, job_create(served_model="wan"))
    older = create(store, job_create(served_model=""))
    name = store.register_worker()
    assert claim(store, name, "wan").id == other.id
    assert claim(store, name, "wan").id == older.id
    assert claim(store, name, "wan") is None
    # Nor may another model take over what the first one began.
    job = claim(store, name, "world")
    assert job.id == first.id
    assert claim(store, name, "wan", expired=leases_of(store, job)) is None


def test_a_model_is_known_by_the_name_that_the_operator_gave(store):
    info = ModelInfo(
        name="wan", width=64, height=64, size_multiple=16, num_frames=17, fps=8.0, temporal_stride=4,
        num_inference_steps=10, guidance_scale=1.0, supports_images=True,
    )  # fmt: skip
    name = store.register_worker()
    assert store.model_info("/models/wan") is None
    assert [worker.model for worker in store.workers()] == [""]
    store.publish_model(name, "/models/wan", info)
    assert [worker.model for worker in store.workers()] == ["wan"]
    store.unregister_worker(name)
    assert store.model_info("/models/wan") == info
    assert store.model_info("world") is None
    assert not store.workers()


def test_a_silent_attempt_is_taken_over_and_its_token_is_worth_nothing(store):
    video = create(store)
    slow, quick = store.register_worker(), store.register_worker()
    first = claim(store, slow)
    expired = leases_of(store, first)
    assert claim(store, quick) is None
    second = claim(store, quick, expired=expired)
    assert (second.id, second.attempt != first.attempt) == (video.id, True)
    assert not complete(store, first)
    assert not fail(store, first)
    assert not report(store, first, 50)
    assert not store.heartbeat(slow, first.attempt, worked_s=1)
    assert not store.record_checkpoint(video.id, first.attempt, path="x", sha256="x")
    assert not store.holds(video.id, first.attempt)
    assert claim(store, slow, expired=expired) is None
    assert complete(store, second)
    assert not complete(store, second)


def test_an_attempt_that_gave_a_sign_of_life_meanwhile_is_not_taken_over(store):
    job = claim(store, store.register_worker()) or None
    assert job is None
    create(store)
    worker = store.register_worker()
    job = claim(store, worker)
    expired = leases_of(store, job)
    assert store.heartbeat(worker, job.attempt, worked_s=1)
    assert claim(store, store.register_worker(), expired=expired) is None
    assert store.fail_abandoned(expired, 1, retention_s=100) == []


def test_a_job_without_checkpoints_is_abandoned_and_one_with_checkpoints_is_not(store):
    poison = create(store)
    for _ in range(3):
        name = store.register_worker()
        assert claim(store, name).id == poison.id
        store.mark_worker_dead(name)
    assert claim(store, store.register_worker()) is None
    assert store.fail_abandoned([], 3, retention_s=100) == [poison.id]
    assert store.fail_abandoned([], 3, retention_s=100) == []
    job = store.get(poison.id, owner="alice")
    assert (job.status, job.error_code) == ("failed", "worker_lost")
    unlucky = create(store)
    for _ in range(10):
        name = store.register_worker()
        job = claim(store, name)
        assert job.id == unlucky.id
        assert store.record_checkpoint(job.id, job.attempt, path="x", sha256="y")
        store.mark_worker_dead(name)
    assert store.get(unlucky.id, owner="alice").status == "in_progress"
    name = store.register_worker()
    assert claim(store, name).checkpoint == "x"
    store.unregister_worker(name)
    assert store.get(unlucky.id, owner="alice").attempts == 1


def test_progress_never_decreases_and_is_100_only_at_the_end(store):
    create(store)
    job = claim(store, store.register_worker())
    for reported, expected in ((10, 10), (5, 10), (100, 99)):
        assert report(store, job, reported)
        assert store.get(job.id, owner="alice").progress == expected
    complete(store, job)
    assert store.get(job.id, owner="alice").progress == 100


def test_the_queue_is_full_for_one_before_it_is_full_for_all(store):
    limits = Limits(max_queued=4, max_queued_per_owner=3)
    for _ in range(3):
        create(store, job_create("alice"), limits)
    with pytest.raises(QueueFullError):
        create(store, job_create("alice"), limits)
    create(store, job_create("bob"), limits)
    with pytest.raises(QueueFullError):
        create(store, job_create("carol"), limits)


def test_what_is_stored_has_limits_for_one_owner_and_for_all(store):
    with pytest.raises(RequestTooLargeError, match="10 are allowed"):
        create(store, job_create(), Limits(max_request_bytes=10))
    limits = Limits(max_videos=3, max_videos_per_owner=2)
    for _ in range(2):
        create(store, job_create("alice"), limits)
    with pytest.raises(StorageQuotaError, match="All of your 2 places"):
        create(store, job_create("alice"), limits)
    create(store, job_create("bob"), limits)
    with pytest.raises(StorageQuotaError, match="All of the server's 3 places"):
        create(store, job_create("carol"), limits)
    job = claim(store, store.register_worker())
    complete(store, job, files={"video.mp4": FileDigest(sha256="0", size=10**6)})
    mine, everybody = store.totals(job.owner), store.totals(None)
    assert 10**6 < mine.stored_bytes < everybody.stored_bytes
    assert (mine.videos, mine.queued, everybody.videos, everybody.queued) == (2, 1, 3, 2)
    with pytest.raises(StorageQuotaError, match="All of your 1,000,000 bytes"):
        create(store, job_create(job.owner), Limits(max_stored_bytes_per_owner=10**6))
    with pytest.raises(StorageQuotaError, match="All of the server's 1,000,000 bytes"):
        create(store, job_create("dave"), Limits(max_stored_bytes=10**6))


def test_a_repeated_request_is_one_job(store):
    keys = {"idempotency_key": "k", "request_hash": "b"}
    first, again = job_create(**keys), job_create(**keys)
    assert [result[1] for result in store.create([first, again], Limits())] == [True, False]
    (result,) = store.create([job_create(**keys)], Limits())
    assert (result[0].id, result[1]) == (first.id, False)
    with pytest.raises(IdempotencyConflictError):
        create(store, job_create(idempotency_key="k", request_hash="c"))
    create(store, job_create("bob", idempotency_key="k", request_hash="c"))


def test_work_is_counted_by_the_worker_and_limited(store, clock):
    create(store)
    name = store.register_worker()
    job = claim(store, name)
    clock.now += 10**6  # Downtime, or a clock that is set.
    assert store.fail_overdue(100, retention_s=100) == []
    for _ in range(3):
        assert store.heartbeat(name, job.attempt, worked_s=40)
    assert store.get(job.id, owner="alice").worked_s == 120
    assert store.fail_overdue(121, retention_s=100) == []
    assert store.fail_overdue(100, retention_s=100) == [job.id]
    assert store.get(job.id, owner="alice").error_code == "time_limit"
    assert not store.holds(job.id, job.attempt)


def uptime(store, clock, seconds: float) -> None:
    """A server runs for so many seconds."""
    while seconds > 0:
        clock.now += min(50, seconds)
        store.tick()
        seconds -= 50


def test_retention_counts_uptime_and_deletes_nothing_on_a_clock_jump(store, clock):
    store.tick()
    create(store)
    create(store)
    complete(store, claim(store, store.register_worker()), retention_s=3600)
    for jump in (25 * 3600, -48 * 3600, 30 * 24 * 3600, -5 * 24 * 3600):
        clock.now += jump
        store.tick()
        assert store.expired() == []
    uptime(store, clock, 1800)
    assert store.expired() == []
    uptime(store, clock, 1900)
    (expired,) = store.expired()
    assert store.expired() == [expired]  # Until its files are removed, also after a crash.
    assert store.get(expired, owner="alice") is None
    assert store.restore(expired, owner="alice", retention_s=1) is None
    store.remove([expired])
    assert store.expired() == []
    assert store.count_by_status()["queued"] == 1


def test_a_clock_that_was_set_back_keeps_videos_until_the_time_that_was_promised(store, clock):
    store.tick()
    create(store)
    complete(store, claim(store, store.register_worker()), retention_s=100)
    clock.now -= 1000
    store.tick()
    uptime(store, clock, 500)
    assert store.expired() == []
    uptime(store, clock, 700)
    assert len(store.expired()) == 1


def test_a_deleted_job_can_be_restored_for_a_while(store, clock):
    store.tick()
    done, running, queued = create(store), create(store), create(store)
    name = store.register_worker()
    complete(store, claim(store, name), retention_s=10_000)
    attempt = claim(store, name)
    store.record_checkpoint(attempt.id, attempt.attempt, path="x", sha256="y")
    for job in (done, running, queued):
        assert not store.delete(job.id, owner="bob", grace_s=600)
        assert store.delete(job.id, owner="alice", grace_s=600)
        assert not store.delete(job.id, owner="alice", grace_s=600)
        assert store.get(job.id, owner="alice") is None
    assert not report(store, attempt, 50)
    assert not complete(store, attempt)
    assert claim(store, name) is None
    assert store.list_jobs(JobFilter(owner="alice")).jobs == ()
    deleted = store.list_jobs(JobFilter(owner="alice", deleted=True), newest_first=False).jobs
    assert [job.id for job in deleted] == [done.id, running.id, queued.id]
    assert store.restore(done.id, owner="bob", retention_s=1) is None
    assert store.restore(done.id, owner="alice", retention_s=10_000).status == "completed"
    assert store.restore(running.id, owner="alice", retention_s=10_000).status == "queued"
    again = claim(store, name)
    assert (again.id, again.checkpoint) == (running.id, "x")
    uptime(store, clock, 700)
    assert store.expired() == [queued.id]
    assert store.restore(queued.id, owner="alice", retention_s=1) is None
    assert {job.id for job in store.list_jobs(JobFilter()).jobs} == {done.id, running.id}


def test_cancelled_jobs_are_kept_for_the_retention_time(store, clock):
    store.tick()
    job = create(store)
    assert not store.cancel(job.id, owner="bob", retention_s=7200)
    assert store.cancel(job.id, owner="alice", retention_s=7200)
    assert not store.cancel(job.id, owner="alice", retention_s=7200)
    assert store.get(job.id, owner="alice").expires_at == int(clock.now) + 7200
    uptime(store, clock, 7100)
    assert store.expired() == []
    uptime(store, clock, 200)
    assert store.expired() == [job.id]


def test_lists_are_paged_filtered_and_searched(store):
    prompts = ["A red ball rolls", "a BLUE ball", "Ärger im roten Ball", "100% red_cube"]
    jobs = [create(store, job_create(prompt=prompt)) for prompt in prompts]
    create(store, job_create("bob", prompt="a red ball"))
    favourite = Labels(favourite=True, folder="tests", tags=("a", "b c"))
    assert store.set_labels(jobs[1].id, owner="bob", labels=favourite) is None
    assert store.set_labels(jobs[1].id, owner="alice", labels=favourite).labels == favourite

    def found(**values) -> list[int]:
        page = store.list_jobs(JobFilter(owner="alice", **values), newest_first=False)
        return [[job.id for job in jobs].index(job.id) for job in page.jobs]

    assert found(search="ball") == [0, 1, 2]
    assert found(search="  BALL red ") == [0]
    assert found(search="ärger") == [2]
    assert found(search="%") == [3]
    assert found(search="red_") == [3]
    assert found(search="' OR 1=1 --") == []
    assert found(favourite=True) == found(folder="tests") == found(tag="b c") == [1]
    assert found(favourite=False) == [0, 2, 3]
    assert found(tag="b") == found(folder="x") == []
    assert found(status="completed") == []
    seen, after = [], None
    while True:
        page = store.list_jobs(JobFilter(owner="alice"), after=after, limit=3)
        seen += page.jobs
        if not page.has_more:
            break
        after = page.jobs[-1].id
    assert [job.id for job in seen] == [job.id for job in reversed(jobs)]


def test_changes_since_a_number_are_listed_once_and_in_order(store):
    first, second = create(store), create(store)
    create(store, job_create("bob"))
    changes = store.changes("alice", since=0)
    assert [job.id for job in changes] == [first.id, second.id]
    since = changes[-1].change
    assert store.changes("alice", since=since) == []
    job = claim(store, store.register_worker())
    report(store, job, 10)
    store.delete(second.id, owner="alice", grace_s=100)
    changed = store.changes("alice", since=since)
    assert [(one.id, one.deleted_at is not None) for one in changed] == [(first.id, False), (second.id, True)]


def test_warnings_of_the_generation_are_added_to_those_of_the_request(store):
    create(store, job_create(warnings=("a",)))
    job = claim(store, store.register_worker())
    assert store.complete(
        job.id, job.attempt, files={}, warnings=("b", "c"), retention_s=1, before_commit=lambda _: None
    )
    assert store.get(job.id, owner="alice").warnings == ("a", "b", "c")


def test_sources_of_a_video_are_found_in_both_directions(store):
    source = create(store)
    remix = create(store, job_create(sources=(JobSource(role="remix", id=source.id),), warnings=("a", "b")))
    assert remix.sources == (JobSource(role="remix", id=source.id),)
    assert store.get(remix.id, owner="alice").warnings == ("a", "b")
    assert [job.id for job in store.derived(source.id, owner="alice")] == [remix.id]
    assert store.derived(remix.id, owner="alice") == store.derived(source.id, owner="bob") == []


def test_an_operator_retries_failed_and_damaged_videos_only(store):
    create(store)
    job = claim(store, store.register_worker())
    assert store.retry(job.id) is None
    fail(store, job)
    again = store.retry(job.id)
    assert (again.status, again.progress, again.error_code, again.attempts) == ("queued", 0, None, 0)
    job = claim(store, store.register_worker())
    complete(store, job)
    assert store.retry(job.id) is None
    store.set_damage(job.id, "video.mp4 is damaged")
    assert store.retry(job.id).status == "queued"
    assert store.retry(new_id()) is None


def test_every_finished_job_is_recorded_once_for_its_receiver(store):
    done, cancelled = create(store), create(store, job_create(webhook_url="https://example.org/hook"))
    gone = create(store)
    complete(store, claim(store, store.register_worker()))
    assert store.cancel(cancelled.id, owner="alice", retention_s=1)
    assert not store.cancel(cancelled.id, owner="alice", retention_s=1)
    store.delete(gone.id, owner="alice", grace_s=0)
    events = store.due_events(limit_per_endpoint=10)
    assert {(event.kind, event.video_id, event.endpoint) for event in events} == {
        ("video.completed", done.id, ""),
        ("video.failed", cancelled.id, "https://example.org/hook"),
    }


def test_each_receiver_has_its_own_queue_and_a_set_clock_delays_nothing(store, clock):
    for index in range(6):
        job = create(store, job_create(webhook_url="https://slow.example" if index < 5 else None))
        store.cancel(job.id, owner="alice", retention_s=1)
    events = store.due_events(limit_per_endpoint=2)
    assert Counter(event.endpoint for event in events) == {"https://slow.example": 2, "": 1}
    for event in store.due_events(limit_per_endpoint=10):
        store.record_delivery(event.id, retry_in_s=300)
    assert store.due_events(limit_per_endpoint=10) == []
    clock.now -= 3600
    assert len(store.due_events(limit_per_endpoint=10)) == 6
    clock.now += 3600 + 301
    events = store.due_events(limit_per_endpoint=10)
    assert {event.attempts for event in events} == {1}
    for event in events:
        store.record_delivery(event.id, retry_in_s=None)
    clock.now += 10**6
    assert store.due_events(limit_per_endpoint=10) == []


def test_a_writer_that_is_frozen_blocks_no_reader_and_other_writers_briefly(open_another, store):
    job = create(store)
    other = open_another()
    with transaction(store):
        assert other.get(job.id, owner="alice") == job
        assert other.list_jobs(JobFilter()).jobs == (job,)
        with pytest.raises(StoreBusyError):
            create(other)
    create(other)


def test_a_reader_that_is_frozen_blocks_no_writer(tmp_path):
    store = open_store("sqlite", tmp_path, FakeClock())
    job = create(store)
    with store._database.read() as connection:
        rows = connection.execute("SELECT id FROM videos UNION ALL SELECT id FROM videos")
        assert rows.fetchone()["id"] == job.id
        create(store)
        assert store.count_by_status()["queued"] == 2
    store.close()


@contextlib.contextmanager
def transaction(store):
    """A writer that has begun: in SQLite that blocks all others, in PostgreSQL those that add jobs."""
    with store._database.transaction() as connection:
        connection.execute("UPDATE clock SET change = change")
        yield


def test_a_backup_is_consistent_while_jobs_arrive(tmp_path):
    store = open_store("sqlite", tmp_path, FakeClock())
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with contextlib.suppress(StoreBusyError):
                create(store)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while store.count_by_status()["queued"] < 20:
            pass
        store.backup(tmp_path / "backup.sqlite")
    finally:
        stop.set()
        thread.join()
    assert check_file(tmp_path / "backup.sqlite", quick=False) == []
    (tmp_path / "copy").mkdir()
    (tmp_path / "backup.sqlite").rename(tmp_path / "copy" / DATABASE_FILE)
    copy = open_store("sqlite", tmp_path / "copy", FakeClock())
    assert copy.count_by_status()["queued"] >= 20
    copy.close()
    store.close()


def test_what_fails_before_the_commit_completes_nothing(store):
    create(store)
    job = claim(store, store.register_worker())

    def no_space(_) -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        store.complete(job.id, job.attempt, files={}, retention_s=1, before_commit=no_space)
    assert store.get(job.id, owner="alice").status == "in_progress"
    assert store.due_events(limit_per_endpoint=9) == []
    assert complete(store, job)


def test_observers_measure_silence_with_their_own_clock():
    clock = FakeClock(0.0)
    monitor = SilenceMonitor(10, monotonic=clock)
    counter = 0

    def observe(seconds: float, *, is_alive: bool) -> set[str]:
        nonlocal counter
        silent: set[str] = set()
        for _ in range(round(seconds)):
            clock.now += 1
            counter += is_alive
            silent = monitor.silent({"a": counter})
        return silent

    assert observe(50, is_alive=True) == set()
    assert observe(9, is_alive=False) == set()
    assert observe(2, is_alive=False) == {"a"}
    assert observe(1, is_alive=True) == set()
    # The observer itself was frozen: it can't know that the others were silent.
    clock.now += 1000
    assert monitor.silent({"a": counter}) == set()
    assert observe(6, is_alive=False) == set()
    assert observe(3, is_alive=False) == {"a"}


VERSION_2 = """
CREATE TABLE videos (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'in_progress', 'completed', 'failed')),
    progress INTEGER NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100), step INTEGER NOT NULL DEFAULT 0,
    total_steps INTEGER NOT NULL DEFAULT 0, stage TEXT NOT NULL DEFAULT '',
    preview_count INTEGER NOT NULL DEFAULT 0, revision INTEGER NOT NULL DEFAULT 0, model TEXT NOT NULL,
    size TEXT NOT NULL, seconds TEXT NOT NULL, prompt TEXT NOT NULL, remixed_from TEXT,
    request_json TEXT NOT NULL, created_at INTEGER NOT NULL, started_at REAL, completed_at INTEGER,
    expires_at INTEGER, error_code TEXT, error_message TEXT, worker_id TEXT,
    lease_expires_at REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, idempotency_key TEXT,
    request_hash TEXT
) WITHOUT ROWID;
CREATE INDEX videos_by_owner ON videos (owner, id);
CREATE INDEX queued_videos ON videos (owner, id) WHERE status = 'queued';
CREATE INDEX running_videos ON videos (lease_expires_at) WHERE status = 'in_progress';
CREATE INDEX videos_by_expiry ON videos (expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX videos_by_idempotency_key ON videos (owner, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE TABLE owners (owner TEXT PRIMARY KEY, last_turn INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE workers (
    id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, last_heartbeat_at REAL NOT NULL,
    model_info TEXT
) WITHOUT ROWID;
CREATE TABLE events (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, video_id TEXT NOT NULL, created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_attempt_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX events_by_next_attempt ON events (next_attempt_at);
CREATE TRIGGER record_event AFTER UPDATE OF status ON videos
WHEN new.status IN ('completed', 'failed') AND old.status NOT IN ('completed', 'failed')
BEGIN
    INSERT INTO events (id, kind, video_id, created_at, next_attempt_at)
    VALUES ('evt_' || lower(hex(randomblob(16))), 'video.' || new.status, new.id, unixepoch(), 0);
END;
"""


def schema_of(path) -> set[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}


def write_version_2(path) -> dict[str, str]:
    """A database of Kinema 0.2 with a job in each state; their ids by status."""
    ids = {status: new_id() for status in ("queued", "in_progress", "completed", "failed")}
    request = '{"prompt": "a ball", "seed": 7, "size": [64, 32], "upscale": 2, "field_of_the_future": 1}'
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_2 + "PRAGMA user_version = 2; PRAGMA journal_mode = WAL;")
        for status, job_id in ids.items():
            expires_at = 1000 + 86_400 if status in ("completed", "failed") else None
            connection.execute(
                "INSERT INTO videos (id, owner, model, size, seconds, prompt, request_json, created_at,"
                " status, completed_at, expires_at, worker_id, attempts, idempotency_key, request_hash,"
                " progress)"
                " VALUES (?, 'alice', 'sora-2', '64x32', '4', 'A Ball', ?, 900, ?, ?, ?, 'w', 1, ?, 'h', 40)",
                (job_id, request, status, 1000 if status == "completed" else None, expires_at, status),
            )
        connection.execute("INSERT INTO owners VALUES ('alice', 4)")
        connection.execute("INSERT INTO workers VALUES ('w', 'h', 1, 1, '{\"name\": \"world\"}')")
        connection.execute("INSERT INTO events VALUES ('evt_1', 'video.completed', 'x', 1, 0, 0)")
        connection.commit()
    return ids


def test_a_database_of_version_2_is_migrated_with_all_its_jobs(tmp_path, clock):
    (tmp_path / "new").mkdir()
    SqliteJobStore(tmp_path / "new", durable=False).close()
    ids = write_version_2(tmp_path / DATABASE_FILE)
    store = SqliteJobStore(tmp_path, durable=False, now=clock)
    assert schema_of(tmp_path / DATABASE_FILE) == schema_of(tmp_path / "new" / DATABASE_FILE)
    jobs = {job.status: job for job in store.list_jobs(JobFilter(owner="alice")).jobs}
    assert {status: job.id for status, job in jobs.items()} == ids
    assert {(job.width, job.height, job.seed, job.task) for job in jobs.values()} == {
        (128, 64, 7, "generate")
    }
    assert store.list_jobs(JobFilter(search="ball")).jobs
    assert jobs["queued"].served_model == "world"
    # The job that was running is free, and no clock says that the old videos have expired.
    name = store.register_worker()
    assert {claim(store, name).id for _ in range(2)} == {ids["queued"], ids["in_progress"]}
    store.tick()
    assert store.expired() == []
    uptime(store, clock, 86_400 + 100)
    assert set(store.expired()) == {ids["completed"], ids["failed"]}
    assert [event.id for event in store.due_events(limit_per_endpoint=9)] == ["evt_1"]
    again = job_create(idempotency_key="queued", request_hash="h")
    assert store.create([again], Limits())[0][0].id == ids["queued"]
    store.close()
    reopened = SqliteJobStore(tmp_path, durable=False)
    assert len(reopened.all_ids()) == 4
    reopened.close()


@pytest.mark.parametrize("version", [1, 99])
def test_a_database_of_another_version_is_refused_in_one_line(tmp_path, version):
    SqliteJobStore(tmp_path, durable=False).close()
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(UserError, match=f"version {version} of .* can't be read") as caught:
        SqliteJobStore(tmp_path, durable=False)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_and_a_database_of_something_else_are_refused(tmp_path):
    (tmp_path / DATABASE_FILE).write_bytes(b"this is not a database" * 100)
    with pytest.raises(UserError, match="can't open the database"):
        SqliteJobStore(tmp_path, durable=False)
    (tmp_path / DATABASE_FILE).unlink()
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as connection:
        connection.execute("CREATE TABLE photos (id)")
    with pytest.raises(UserError, match="not a database of Kinema"):
        SqliteJobStore(tmp_path, durable=False)


def test_jobs_and_rows_have_the_same_fields(store):
    job = create(store, job_create(labels=Labels(tags=("x",)), fps=8.0, num_frames=17))
    assert store.get(job.id, owner=None) == job
    assert dataclasses.replace(job, revision=0) == job


@pytest.mark.parametrize(
    "query",
    [
        "SELECT min(id) FROM videos WHERE status = 'queued' AND deleted_at IS NULL GROUP BY owner",
        "SELECT * FROM videos WHERE owner = 'a' AND id < 'b' ORDER BY id DESC LIMIT 3",
        "SELECT * FROM videos WHERE status = 'in_progress'",
        "SELECT * FROM videos WHERE owner = 'a' AND change > 3 ORDER BY change LIMIT 3",
        "SELECT count(*), sum(stored_bytes) FROM videos WHERE owner = 'a'",
        "SELECT * FROM videos WHERE expires_uptime_s <= 3",
    ],
)
def test_frequent_queries_use_an_index(tmp_path, query):
    store = SqliteJobStore(tmp_path, durable=False)
    plan = store._database.fetch_all(f"EXPLAIN QUERY PLAN {query}", {})
    store.close()
    assert all("USING" in row["detail"] and "TEMP B-TREE" not in row["detail"] for row in plan)
