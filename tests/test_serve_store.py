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
from kinema.serve import jobs, work
from kinema.serve.settings import Limits
from kinema.serve.store import Store
from kinema.serve.wanted import Wanted

LEASE = {"lease": 60.0, "tries": 3}


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path, durable=False)
    yield made
    made.close()


def order(owner: str = "alice", **values) -> jobs.Order:
    given = {"model": "sora-2", "size": "720x1280", "seconds": "4", **values}
    return jobs.Order(id=jobs.new_id(), owner=owner, wanted=Wanted(prompt="a ball"), **given)


def take(store: Store, owner: str = "alice", **values) -> str:
    return jobs.take(store, order(owner, **values), Limits())[0].id


def test_identifiers_sort_by_time_and_can_t_be_mistaken():
    made = [jobs.new_id() for _ in range(2000)]
    assert len(set(made)) == 2000
    assert all(jobs.is_id(one) for one in made)
    assert made[0][:22] <= made[-1][:22]
    for wrong in (
        "",
        "video_",
        "video_" + "g" * 32,
        "video_../../etc/passwd",
        made[0] + "\n",
        made[0].upper(),
    ):
        assert not jobs.is_id(wrong)


def test_many_workers_claim_each_film_once(tmp_path, store):
    videos = [take(store) for _ in range(60)]
    claimed: list[str] = []

    def worker() -> None:
        own = Store(tmp_path, durable=False)
        name = work.enter(own)
        while (video := work.claim(own, name, **LEASE)) is not None:
            claimed.append(video.id)
            assert work.finish(own, name, video.id, keep=100)
        own.close()

    threads = [threading.Thread(target=worker) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(videos)
    assert jobs.counts(store)["completed"] == 60


def test_owners_take_turns(store):
    for _ in range(5):
        take(store, "alice")
    for _ in range(2):
        take(store, "bob")
    take(store, "carol")
    name = work.enter(store)
    owners = []
    while (video := work.claim(store, name, **LEASE)) is not None:
        owners.append(video.owner)
        work.finish(store, name, video.id, keep=100)
    assert Counter(owners[:3]) == {"alice": 1, "bob": 1, "carol": 1}
    assert Counter(owners[3:5]) == {"alice": 1, "bob": 1}
    assert owners[5:] == ["alice"] * 3


def test_a_lease_that_ran_out_is_taken_over_and_the_first_worker_is_told(store):
    video = take(store)
    slow, quick = work.enter(store), work.enter(store)
    assert work.claim(store, slow, lease=-1, tries=3).id == video
    assert work.claim(store, quick, **LEASE).id == video
    assert not work.finish(store, slow, video, keep=100)
    assert not work.fail(store, slow, video, code="x", message="x", keep=100)
    assert work.claim(store, slow, **LEASE) is None
    assert work.finish(store, quick, video, keep=100)


def test_a_film_that_never_gets_on_is_given_up_and_one_that_does_is_not(store):
    poison = take(store)
    for _ in range(3):
        name = work.enter(store)
        assert work.claim(store, name, **LEASE).id == poison
        work.bury(store, name)
    assert work.claim(store, work.enter(store), **LEASE) is None
    assert jobs.abandon(store, 3, keep=100) == [poison]
    assert jobs.abandon(store, 3, keep=100) == []
    found = jobs.find(store, "alice", poison)
    assert (found.status, found.error_code) == ("failed", "worker_lost")
    unlucky = take(store)
    for _ in range(10):
        name = work.enter(store)
        assert work.claim(store, name, **LEASE).id == unlucky
        work.saved(store, name, unlucky)
        work.bury(store, name)
    assert jobs.find(store, "alice", unlucky).status == "in_progress"


def test_progress_never_goes_back_and_is_100_only_at_the_end(store):
    video = take(store)
    name = work.enter(store)
    work.claim(store, name, **LEASE)
    for given_, told in ((10, 10), (5, 10), (100, 99)):
        work.advance(store, name, video, progress=given_, stage="steps", step=1, steps=2, preview=0)
        assert jobs.find(store, "alice", video).progress == told
    work.finish(store, name, video, keep=100)
    assert jobs.find(store, "alice", video).progress == 100


def test_the_queue_is_full_for_one_before_it_is_full_for_all(store):
    limits = Limits(queued=4, queued_each=3)
    for _ in range(3):
        jobs.take(store, order("alice"), limits)
    with pytest.raises(jobs.QueueFull):
        jobs.take(store, order("alice"), limits)
    jobs.take(store, order("bob"), limits)
    with pytest.raises(jobs.QueueFull):
        jobs.take(store, order("carol"), limits)


def test_a_repeated_request_is_one_film(store):
    first, new = jobs.take(store, order(repeat_key="k", repeat_body="b"), Limits())
    again, newer = jobs.take(store, order(repeat_key="k", repeat_body="b"), Limits())
    assert (new, newer, first.id) == (True, False, again.id)
    with pytest.raises(jobs.Repeated):
        jobs.take(store, order(repeat_key="k", repeat_body="c"), Limits())


def test_what_is_over_is_forgotten(store):
    video, other = take(store), take(store)
    name = work.enter(store)
    assert work.claim(store, name, **LEASE).id == video
    work.finish(store, name, video, keep=-10)
    assert jobs.expire(store) == [video]
    assert jobs.find(store, "alice", video) is None
    assert jobs.find(store, "alice", other) is not None


def test_what_takes_too_long_is_ended(store):
    video = take(store)
    name = work.enter(store)
    work.claim(store, name, **LEASE)
    assert jobs.overdue(store, 100, keep=100) == []
    assert jobs.overdue(store, -1, keep=100) == [video]
    found = jobs.find(store, "alice", video)
    assert (found.status, found.error_code) == ("failed", "time_limit")
    assert not work.mine(store, name, video)


def test_every_end_is_noted_once_for_the_webhook(store):
    done, cancelled, gone = take(store), take(store), take(store)
    name = work.enter(store)
    work.claim(store, name, **LEASE)
    work.finish(store, name, done, keep=100)
    assert jobs.cancel(store, "alice", cancelled)
    assert not jobs.cancel(store, "alice", cancelled)
    jobs.delete(store, "alice", gone)
    rows = store.all("SELECT kind, video FROM events", {})
    assert {(row["kind"], row["video"]) for row in rows} == {
        ("video.completed", done), ("video.failed", cancelled)}  # fmt: skip


def test_a_store_of_another_version_or_a_damaged_one_is_refused(tmp_path):
    Store(tmp_path, durable=False).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite")) as base:
        base.execute("PRAGMA user_version = 99")
    with pytest.raises(UserError, match="version 99"):
        Store(tmp_path, durable=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "store.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(UserError, match="can't open the store"):
        Store(tmp_path / "other", durable=False)


DEEDS = ("take", "claim", "advance", "save", "finish", "fail", "cancel", "delete", "die", "lapse", "abandon")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 7), st.integers(0, 2)), max_size=60))
def test_whatever_happens_the_promises_hold(tmp_path_factory, deeds):
    """Any order of requests, work and deaths, against a model of what may be."""
    store = Store(tmp_path_factory.mktemp("store"), durable=False)
    videos: list[str] = []
    workers = [work.enter(store) for _ in range(3)]
    ended: dict[str, str] = {}
    progress: dict[str, int] = {}
    for deed, which, who in deeds:
        video = videos[which % len(videos)] if videos else ""
        worker = workers[who]
        before = jobs.find(store, "alice", video) if video else None
        if deed == "take":
            videos.append(take(store))
        elif deed == "claim":
            claimed = work.claim(store, worker, **LEASE)
            assert claimed is None or claimed.id not in ended
        elif deed == "advance":
            work.advance(store, worker, video, progress=which * 12, stage="steps", step=1, steps=8, preview=0)
        elif deed == "save":
            work.saved(store, worker, video)
        elif deed == "finish":
            mine = work.mine(store, worker, video)
            assert work.finish(store, worker, video, keep=1000) == mine
        elif deed == "fail":
            work.fail(store, worker, video, code="x", message="x", keep=1000)
        elif deed == "cancel":
            assert jobs.cancel(store, "alice", video) == (before is not None and not before.ended)
        elif deed == "delete" and video:
            assert jobs.delete(store, "alice", video) == (before is not None)
            videos.remove(video)
            ended.pop(video, None)
        elif deed == "die":
            work.bury(store, worker)
            workers[who] = work.enter(store)
        elif deed == "abandon":
            assert not set(jobs.abandon(store, 3, keep=1000)) & set(ended)
        elif deed == "lapse":
            with store.change() as base:
                base.execute("UPDATE videos SET lease = 0 WHERE status = 'in_progress'")
        for one in videos:
            found = jobs.find(store, "alice", one)
            assert found is not None, "a film was lost"
            assert found.progress >= progress.get(one, 0)
            assert (found.progress == 100) == (found.status == "completed")
            assert ended.get(one, found.status) == found.status, "an end was undone"
            progress[one] = found.progress
            if found.ended:
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
