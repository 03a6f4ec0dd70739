"""The store's promises: nothing is lost, nothing is made twice, turns are fair."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.server import leases, queue
from kinema.server.database import Database
from kinema.server.job_spec import JobSpec
from kinema.server.settings import Limits

LEASE_ARGS = {"lease": 60.0, "tries": 3}


@pytest.fixture
def store(tmp_path):
    made = Database(tmp_path, durable=False)
    yield made
    made.close()


def new_job(owner: str = "alice", **values) -> queue.JobCreate:
    given = {"model": "sora-2", "size": "720x1280", "seconds": "4", **values}
    return queue.JobCreate(id=queue.new_id(), owner=owner, spec=JobSpec(prompt="a ball"), **given)


def enqueue_job(store: Database, owner: str = "alice", **values) -> str:
    return queue.enqueue(store, new_job(owner, **values), Limits())[0].id


def test_identifiers_sort_by_time_and_can_t_be_mistaken():
    made = [queue.new_id() for _ in range(2000)]
    assert len(set(made)) == 2000
    assert all(queue.is_job_id(one) for one in made)
    assert made[0][:22] <= made[-1][:22]
    for wrong in (
        "",
        "video_",
        "video_" + "g" * 32,
        "video_../../etc/passwd",
        made[0] + "\n",
        made[0].upper(),
    ):
        assert not queue.is_job_id(wrong)


def test_many_workers_claim_each_video_once(tmp_path, store):
    videos = [enqueue_job(store) for _ in range(60)]
    claimed: list[str] = []

    def worker() -> None:
        own = Database(tmp_path, durable=False)
        name = leases.register_worker(own)
        while (video := leases.claim_job(own, name, **LEASE_ARGS)) is not None:
            claimed.append(video.id)
            assert leases.complete_job(own, name, video.id, retention_s=100)
        own.close()

    threads = [threading.Thread(target=worker) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(videos)
    assert queue.count_by_status(store)["completed"] == 60


def test_owners_take_turns(store):
    for _ in range(5):
        enqueue_job(store, "alice")
    for _ in range(2):
        enqueue_job(store, "bob")
    enqueue_job(store, "carol")
    name = leases.register_worker(store)
    owners = []
    while (video := leases.claim_job(store, name, **LEASE_ARGS)) is not None:
        owners.append(video.owner)
        leases.complete_job(store, name, video.id, retention_s=100)
    assert Counter(owners[:3]) == {"alice": 1, "bob": 1, "carol": 1}
    assert Counter(owners[3:5]) == {"alice": 1, "bob": 1}
    assert owners[5:] == ["alice"] * 3


def test_an_expired_lease_is_taken_over_and_the_first_worker_loses_it(store):
    video = enqueue_job(store)
    slow, quick = leases.register_worker(store), leases.register_worker(store)
    assert leases.claim_job(store, slow, lease_s=-1, max_attempts=3).id == video
    assert leases.claim_job(store, quick, **LEASE_ARGS).id == video
    assert not leases.complete_job(store, slow, video, retention_s=100)
    assert not leases.fail_job(store, slow, video, code="x", message="x", retention_s=100)
    assert leases.claim_job(store, slow, **LEASE_ARGS) is None
    assert leases.complete_job(store, quick, video, retention_s=100)


def test_a_video_that_never_gets_on_is_given_up_and_one_that_does_is_not(store):
    poison = enqueue_job(store)
    for _ in range(3):
        name = leases.register_worker(store)
        assert leases.claim_job(store, name, **LEASE_ARGS).id == poison
        leases.mark_worker_dead(store, name)
    assert leases.claim_job(store, leases.register_worker(store), **LEASE_ARGS) is None
    assert queue.fail_abandoned(store, 3, retention_s=100) == [poison]
    assert queue.fail_abandoned(store, 3, retention_s=100) == []
    found = queue.get_job(store, "alice", poison)
    assert (found.status, found.error_code) == ("failed", "worker_lost")
    unlucky = enqueue_job(store)
    for _ in range(10):
        name = leases.register_worker(store)
        assert leases.claim_job(store, name, **LEASE_ARGS).id == unlucky
        leases.mark_checkpointed(store, name, unlucky)
        leases.mark_worker_dead(store, name)
    assert queue.get_job(store, "alice", unlucky).status == "in_progress"


def test_progress_never_goes_back_and_is_100_only_at_the_end(store):
    video = enqueue_job(store)
    name = leases.register_worker(store)
    leases.claim_job(store, name, **LEASE_ARGS)
    for given_, told in ((10, 10), (5, 10), (100, 99)):
        leases.update_progress(
            store, name, video, progress=given_, stage="steps", step=1, total_steps=2, preview_count=0
        )
        assert queue.get_job(store, "alice", video).progress == told
    leases.complete_job(store, name, video, retention_s=100)
    assert queue.get_job(store, "alice", video).progress == 100


def test_the_queue_is_full_for_one_before_it_is_full_for_all(store):
    limits = Limits(max_queued=4, max_queued_per_owner=3)
    for _ in range(3):
        queue.enqueue(store, new_job("alice"), limits)
    with pytest.raises(queue.QueueFull):
        queue.enqueue(store, new_job("alice"), limits)
    queue.enqueue(store, new_job("bob"), limits)
    with pytest.raises(queue.QueueFull):
        queue.enqueue(store, new_job("carol"), limits)


def test_a_repeated_request_is_one_video(store):
    first, new = queue.enqueue(store, new_job(repeat_key="k", repeat_body="b"), Limits())
    again, newer = queue.enqueue(store, new_job(repeat_key="k", repeat_body="b"), Limits())
    assert (new, newer, first.id) == (True, False, again.id)
    with pytest.raises(queue.IdempotencyConflict):
        queue.enqueue(store, new_job(repeat_key="k", repeat_body="c"), Limits())


def test_what_is_over_is_forgotten(store):
    video, other = enqueue_job(store), enqueue_job(store)
    name = leases.register_worker(store)
    assert leases.claim_job(store, name, **LEASE_ARGS).id == video
    leases.complete_job(store, name, video, retention_s=-10)
    assert queue.delete_expired(store) == [video]
    assert queue.get_job(store, "alice", video) is None
    assert queue.get_job(store, "alice", other) is not None


def test_what_takes_too_long_is_ended(store):
    video = enqueue_job(store)
    name = leases.register_worker(store)
    leases.claim_job(store, name, **LEASE_ARGS)
    assert queue.fail_overdue(store, 100, retention_s=100) == []
    assert queue.fail_overdue(store, -1, retention_s=100) == [video]
    found = queue.get_job(store, "alice", video)
    assert (found.status, found.error_code) == ("failed", "time_limit")
    assert not leases.holds_lease(store, name, video)


def test_every_end_is_noted_once_for_the_webhook(store):
    done, cancelled, gone = enqueue_job(store), enqueue_job(store), enqueue_job(store)
    name = leases.register_worker(store)
    leases.claim_job(store, name, **LEASE_ARGS)
    leases.complete_job(store, name, done, retention_s=100)
    assert queue.cancel(store, "alice", cancelled)
    assert not queue.cancel(store, "alice", cancelled)
    queue.delete(store, "alice", gone)
    rows = store.all("SELECT kind, video FROM events", {})
    assert {(row["kind"], row["video"]) for row in rows} == {
        ("video.completed", done), ("video.failed", cancelled)}  # fmt: skip


def test_a_database_of_another_version_or_a_damaged_one_is_refused(tmp_path):
    Database(tmp_path, durable=False).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite")) as base:
        base.execute("PRAGMA user_version = 99")
    with pytest.raises(UserError, match="version 99"):
        Database(tmp_path, durable=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "store.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(UserError, match="can't open the store"):
        Database(tmp_path / "other", durable=False)


ACTIONS = (
    "take",
    "claim",
    "advance",
    "save",
    "finish",
    "fail",
    "cancel",
    "delete",
    "die",
    "lapse",
    "abandon",
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 7), st.integers(0, 2)), max_size=60))
def test_whatever_happens_the_promises_hold(tmp_path_factory, deeds):
    """Any order of requests, work and deaths, against a model of what may be."""
    store = Database(tmp_path_factory.mktemp("store"), durable=False)
    videos: list[str] = []
    workers = [leases.register_worker(store) for _ in range(3)]
    ended: dict[str, str] = {}
    progress: dict[str, int] = {}
    for deed, which, who in deeds:
        video = videos[which % len(videos)] if videos else ""
        worker = workers[who]
        before = queue.get_job(store, "alice", video) if video else None
        if deed == "take":
            videos.append(enqueue_job(store))
        elif deed == "claim":
            claimed = leases.claim_job(store, worker, **LEASE_ARGS)
            assert claimed is None or claimed.id not in ended
        elif deed == "advance":
            leases.update_progress(
                store,
                worker,
                video,
                progress=which * 12,
                stage="steps",
                step=1,
                total_steps=8,
                preview_count=0,
            )
        elif deed == "save":
            leases.mark_checkpointed(store, worker, video)
        elif deed == "finish":
            mine = leases.holds_lease(store, worker, video)
            assert leases.complete_job(store, worker, video, retention_s=1000) == mine
        elif deed == "fail":
            leases.fail_job(store, worker, video, code="x", message="x", retention_s=1000)
        elif deed == "cancel":
            assert queue.cancel(store, "alice", video) == (before is not None and not before.is_finished)
        elif deed == "delete" and video:
            assert queue.delete(store, "alice", video) == (before is not None)
            videos.remove(video)
            ended.pop(video, None)
        elif deed == "die":
            leases.mark_worker_dead(store, worker)
            workers[who] = leases.register_worker(store)
        elif deed == "abandon":
            assert not set(queue.fail_abandoned(store, 3, retention_s=1000)) & set(ended)
        elif deed == "lapse":
            with store.transaction() as base:
                base.execute("UPDATE videos SET lease = 0 WHERE status = 'in_progress'")
        for one in videos:
            found = queue.get_job(store, "alice", one)
            assert found is not None, "a film was lost"
            assert found.progress >= progress.get(one, 0)
            assert (found.progress == 100) == (found.status == "completed")
            assert ended.get(one, found.status) == found.status, "an end was undone"
            progress[one] = found.progress
            if found.is_finished:
                ended[one] = found.status
    store.close()


@pytest.mark.parametrize(
    "question",
    [
        "SELECT min(id) FROM videos WHERE status = 'queued' GROUP BY owner",
        "SELECT * FROM videos WHERE owner = 'a' AND id < 'b' ORDER BY id DESC LIMIT 3",
        "SELECT id FROM videos WHERE status = 'in_progress' AND lease < 1",
        "SELECT * FROM events WHERE due <= 1 ORDER BY due LIMIT 16",
    ],
)
def test_what_is_asked_often_is_answered_from_an_index(store, question):
    plan = store.all(f"EXPLAIN QUERY PLAN {question}", {})
    assert all("USING" in row["detail"] and "TEMP B-TREE" not in row["detail"] for row in plan)
