"""Guarantees of the queue: no job is lost or run twice, owners take turns."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.pipeline.request import VideoRequest
from kinema.server import leases, queue
from kinema.server.database import Database
from kinema.server.job import Job
from kinema.server.settings import Limits

LEASE_ARGS = {"lease_s": 60.0, "max_attempts": 3}


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path, durable=False)
    yield database
    database.close()


def new_job(owner: str = "alice", **values) -> queue.JobCreate:
    fields = {"model": "sora-2", "size": "720x1280", "seconds": "4", "prompt": "a ball", **values}
    return queue.JobCreate(id=queue.new_id(), owner=owner, request=VideoRequest(prompt="a ball"), **fields)


def enqueue(database: Database, job: queue.JobCreate, limits: Limits) -> tuple[Job, bool]:
    (result,) = queue.enqueue(database, [job], limits)
    if isinstance(result, Exception):
        raise result
    return result


def enqueue_job(database: Database, owner: str = "alice", **values) -> str:
    return enqueue(database, new_job(owner, **values), Limits())[0].id


def test_identifiers_sort_by_time_and_are_validated():
    ids = [queue.new_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert all(queue.is_job_id(one) for one in ids)
    assert ids[0][:22] <= ids[-1][:22]
    for wrong in (
        "",
        "video_",
        "video_" + "g" * 32,
        "video_../../etc/passwd",
        ids[0] + "\n",
        ids[0].upper(),
    ):
        assert not queue.is_job_id(wrong)


def test_many_workers_claim_each_job_once(tmp_path, database):
    videos = [enqueue_job(database) for _ in range(60)]
    claimed: list[str] = []

    def worker() -> None:
        own = Database(tmp_path, durable=False)
        name = leases.register_worker(own)
        while (job := leases.claim_job(own, name, **LEASE_ARGS)) is not None:
            claimed.append(job.id)
            assert leases.complete_job(own, name, job.id, retention_s=100)
        own.close()

    threads = [threading.Thread(target=worker) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(videos)
    assert queue.count_by_status(database)["completed"] == 60


def test_owners_take_turns(database):
    for _ in range(5):
        enqueue_job(database, "alice")
    for _ in range(2):
        enqueue_job(database, "bob")
    enqueue_job(database, "carol")
    name = leases.register_worker(database)
    owners = []
    while (job := leases.claim_job(database, name, **LEASE_ARGS)) is not None:
        owners.append(job.owner)
        leases.complete_job(database, name, job.id, retention_s=100)
    assert Counter(owners[:3]) == {"alice": 1, "bob": 1, "carol": 1}
    assert Counter(owners[3:5]) == {"alice": 1, "bob": 1}
    assert owners[5:] == ["alice"] * 3


def test_an_expired_lease_is_taken_over_and_the_first_worker_loses_it(database):
    video = enqueue_job(database)
    slow, quick = leases.register_worker(database), leases.register_worker(database)
    assert leases.claim_job(database, slow, lease_s=-1, max_attempts=3).id == video
    assert leases.claim_job(database, quick, **LEASE_ARGS).id == video
    assert not leases.complete_job(database, slow, video, retention_s=100)
    assert not leases.fail_job(database, slow, video, code="x", message="x", retention_s=100)
    assert leases.claim_job(database, slow, **LEASE_ARGS) is None
    assert leases.complete_job(database, quick, video, retention_s=100)


def test_a_job_without_checkpoints_is_abandoned_and_one_with_checkpoints_is_not(database):
    poison = enqueue_job(database)
    for _ in range(3):
        name = leases.register_worker(database)
        assert leases.claim_job(database, name, **LEASE_ARGS).id == poison
        leases.mark_worker_dead(database, name)
    assert leases.claim_job(database, leases.register_worker(database), **LEASE_ARGS) is None
    assert queue.fail_abandoned(database, 3, retention_s=100) == [poison]
    assert queue.fail_abandoned(database, 3, retention_s=100) == []
    job = queue.get_job(database, "alice", poison)
    assert (job.status, job.error_code) == ("failed", "worker_lost")
    unlucky = enqueue_job(database)
    for _ in range(10):
        name = leases.register_worker(database)
        assert leases.claim_job(database, name, **LEASE_ARGS).id == unlucky
        leases.mark_checkpointed(database, name, unlucky)
        leases.mark_worker_dead(database, name)
    assert queue.get_job(database, "alice", unlucky).status == "in_progress"


def test_progress_never_decreases_and_is_100_only_at_the_end(database):
    video = enqueue_job(database)
    name = leases.register_worker(database)
    leases.claim_job(database, name, **LEASE_ARGS)
    for reported, expected in ((10, 10), (5, 10), (100, 99)):
        leases.update_progress(
            database, name, video, progress=reported, stage="sample", step=1, total_steps=2, preview_count=0
        )
        assert queue.get_job(database, "alice", video).progress == expected
    leases.complete_job(database, name, video, retention_s=100)
    assert queue.get_job(database, "alice", video).progress == 100


def test_the_queue_is_full_for_one_before_it_is_full_for_all(database):
    limits = Limits(max_queued=4, max_queued_per_owner=3)
    for _ in range(3):
        enqueue(database, new_job("alice"), limits)
    with pytest.raises(queue.QueueFullError):
        enqueue(database, new_job("alice"), limits)
    enqueue(database, new_job("bob"), limits)
    with pytest.raises(queue.QueueFullError):
        enqueue(database, new_job("carol"), limits)


def test_a_repeated_request_is_one_job(database):
    first, new = enqueue(database, new_job(idempotency_key="k", request_hash="b"), Limits())
    again, newer = enqueue(database, new_job(idempotency_key="k", request_hash="b"), Limits())
    assert (new, newer, first.id) == (True, False, again.id)
    with pytest.raises(queue.IdempotencyConflictError):
        enqueue(database, new_job(idempotency_key="k", request_hash="c"), Limits())


def test_expired_jobs_are_deleted(database):
    video, other = enqueue_job(database), enqueue_job(database)
    name = leases.register_worker(database)
    assert leases.claim_job(database, name, **LEASE_ARGS).id == video
    leases.complete_job(database, name, video, retention_s=-10)
    assert queue.delete_expired(database) == [video]
    assert queue.get_job(database, "alice", video) is None
    assert queue.get_job(database, "alice", other) is not None


def test_overdue_jobs_are_failed(database):
    video = enqueue_job(database)
    name = leases.register_worker(database)
    leases.claim_job(database, name, **LEASE_ARGS)
    assert queue.fail_overdue(database, 100, retention_s=100) == []
    assert queue.fail_overdue(database, -1, retention_s=100) == [video]
    job = queue.get_job(database, "alice", video)
    assert (job.status, job.error_code) == ("failed", "time_limit")
    assert not leases.holds_lease(database, name, video)


def test_every_finished_job_is_recorded_once_for_the_webhook(database):
    done, cancelled, gone = enqueue_job(database), enqueue_job(database), enqueue_job(database)
    name = leases.register_worker(database)
    leases.claim_job(database, name, **LEASE_ARGS)
    leases.complete_job(database, name, done, retention_s=100)
    assert queue.cancel(database, "alice", cancelled)
    assert not queue.cancel(database, "alice", cancelled)
    queue.delete(database, "alice", gone)
    rows = database.fetch_all("SELECT kind, video_id FROM events", {})
    assert {(row["kind"], row["video_id"]) for row in rows} == {
        ("video.completed", done), ("video.failed", cancelled)}  # fmt: skip


@pytest.mark.parametrize("version", [1, 99])
def test_a_database_of_another_version_is_refused_in_one_line(tmp_path, version):
    Database(tmp_path, durable=False).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(UserError, match=f"has version {version} and this Kinema needs version 2") as caught:
        Database(tmp_path, durable=False)
    assert "\n" not in str(caught.value)


def test_a_damaged_database_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "store.sqlite").write_bytes(b"this is not a database" * 100)
    with pytest.raises(UserError, match="can't open the database"):
        Database(tmp_path / "other", durable=False)


ACTIONS = (
    "enqueue",
    "claim",
    "update_progress",
    "checkpoint",
    "complete",
    "fail",
    "cancel",
    "delete",
    "crash",
    "expire_lease",
    "abandon",
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 7), st.integers(0, 2)), max_size=60))
def test_the_guarantees_hold_for_any_sequence_of_operations(tmp_path_factory, actions):
    """Any order of requests, work and crashes, against a model of the allowed states."""
    database = Database(tmp_path_factory.mktemp("data"), durable=False)
    videos: list[str] = []
    workers = [leases.register_worker(database) for _ in range(3)]
    finished: dict[str, str] = {}
    progress: dict[str, int] = {}
    for action, number, who in actions:
        video = videos[number % len(videos)] if videos else ""
        worker = workers[who]
        before = queue.get_job(database, "alice", video) if video else None
        if action == "enqueue":
            videos.append(enqueue_job(database))
        elif action == "claim":
            claimed = leases.claim_job(database, worker, **LEASE_ARGS)
            assert claimed is None or claimed.id not in finished
        elif action == "update_progress":
            leases.update_progress(
                database,
                worker,
                video,
                progress=number * 12,
                stage="sample",
                step=1,
                total_steps=8,
                preview_count=0,
            )
        elif action == "checkpoint":
            leases.mark_checkpointed(database, worker, video)
        elif action == "complete":
            holds_lease = leases.holds_lease(database, worker, video)
            assert leases.complete_job(database, worker, video, retention_s=1000) == holds_lease
        elif action == "fail":
            leases.fail_job(database, worker, video, code="x", message="x", retention_s=1000)
        elif action == "cancel":
            assert queue.cancel(database, "alice", video) == (before is not None and not before.is_finished)
        elif action == "delete" and video:
            assert queue.delete(database, "alice", video) == (before is not None)
            videos.remove(video)
            finished.pop(video, None)
        elif action == "crash":
            leases.mark_worker_dead(database, worker)
            workers[who] = leases.register_worker(database)
        elif action == "abandon":
            assert not set(queue.fail_abandoned(database, 3, retention_s=1000)) & set(finished)
        elif action == "expire_lease":
            with database.transaction() as connection:
                connection.execute("UPDATE videos SET lease_expires_at = 0 WHERE status = 'in_progress'")
        for job_id in videos:
            job = queue.get_job(database, "alice", job_id)
            assert job is not None, "a job was lost"
            assert job.progress >= progress.get(job_id, 0)
            assert (job.progress == 100) == (job.status == "completed")
            assert finished.get(job_id, job.status) == job.status, "a finished job changed"
            progress[job_id] = job.progress
            if job.is_finished:
                finished[job_id] = job.status
    database.close()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT min(id) FROM videos WHERE status = 'queued' GROUP BY owner",
        "SELECT * FROM videos WHERE owner = 'a' AND id < 'b' ORDER BY id DESC LIMIT 3",
        "SELECT id FROM videos WHERE status = 'in_progress' AND lease_expires_at < 1",
        "SELECT * FROM events WHERE next_attempt_at <= 1 ORDER BY next_attempt_at LIMIT 16",
    ],
)
def test_frequent_queries_use_an_index(database, query):
    plan = database.fetch_all(f"EXPLAIN QUERY PLAN {query}", {})
    assert all("USING" in row["detail"] and "TEMP B-TREE" not in row["detail"] for row in plan)
