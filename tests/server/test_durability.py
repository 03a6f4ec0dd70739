"""Files and rows survive each other: foreign files stay, lost rows are adopted, damage is found and named."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sqlite3
import time
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from kinema.cli import main
from kinema.errors import UserError
from kinema.server.data_dir import MARKER_FILE, ensure_data_dir, lock_for_worker
from kinema.server.database import DATABASE_FILE
from kinema.server.file_store import SERVED_FILES, VIDEO_FILE, DamagedFileError
from kinema.server.job import new_id
from kinema.server.recovery import reconcile
from kinema.server.scrub import Scrubber
from kinema.server.settings import Limits
from kinema.server.sqlite_store import SqliteJobStore
from kinema.server.storage import LocalFileStore
from kinema.server.worker import Worker
from tests.fixtures import server
from tests.fixtures.job_stores import FakeClock, job_create


@pytest.fixture
def data(tmp_path):
    return ensure_data_dir(tmp_path / "data")


@pytest.fixture
def files(data):
    return LocalFileStore(data)


@pytest.fixture
def store(data):
    store = SqliteJobStore(data, durable=False, busy_timeout_s=0.3)
    yield store
    store.close()


def submit(store, files, **values):
    create = job_create("local", **values)
    files.open_incoming(create.id)
    files.keep_incoming(create)
    (result,) = store.create([create], Limits())
    return result[0]


def make(store, files, job, content: str = "made"):
    """What a worker does with a job, without a model."""
    attempt = store.claim(store.register_worker(), "testcard", expired=(), max_attempts=3)
    assert attempt.id == job.id
    folder = files.open_attempt(job.id, attempt.attempt)
    for name in SERVED_FILES:
        (folder / name).write_text(content)
    digests = files.publish(job.id, attempt.attempt)
    assert store.complete(
        job.id, attempt.attempt, files=digests, retention_s=100, before_commit=files.write_result
    )
    files.remove_work(store.get(job.id, owner=None))
    return store.get(job.id, owner=None)


def run_worker(data: Path, **config) -> None:
    """Run a worker of the test card until the queue is empty."""
    worker = Worker(server.worker_config(data, **config))
    import threading

    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    with contextlib.closing(SqliteJobStore(data, durable=False)) as store:
        server.wait_until(
            lambda: not (counts := store.count_by_status())["queued"] and not counts["in_progress"]
        )
    worker.stop()
    thread.join()


# The data folder


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, capsys):
    folder = tmp_path / "data"
    for name in ("videos/a/x", "trash/y", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    with pytest.raises(SystemExit):
        main(["serve", "--data", str(folder), "--port", "0", "--model", "testcard"])
    assert "is not a data folder of Kinema" in capsys.readouterr().err
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "videos/a/x", "trash/y", "notes.txt"}  # fmt: skip


def test_files_that_are_not_ours_stay_in_a_data_folder(tmp_path, caplog):
    data = ensure_data_dir(tmp_path / "data")
    foreign = ["videos/holiday/1.mp4", "trash/y", f"videos/{new_id()}/video.mp4", "videos/video_1/x"]
    for name in foreign:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("mine")
    leftovers = [f"{new_id()}.incoming", f"{new_id()}.deleted-0123abcd"]
    for name in leftovers:
        (data / "videos" / name).mkdir()
    with (
        caplog.at_level(logging.INFO, logger="kinema.server"),
        server.in_process_server(data, retention_s=0.0) as app,
        TestClient(app, base_url="http://localhost"),
    ):
        pass
    assert all((data / name).read_text() == "mine" for name in foreign)
    for name in leftovers:
        assert not (data / "videos" / name).exists()
        assert name in caplog.text


def test_an_existing_data_folder_becomes_private(tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data").chmod(0o755)
    assert ensure_data_dir(tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_videos_on_a_disk_that_is_not_mounted_are_not_a_new_folder(data):
    (data / "videos" / MARKER_FILE).rename(data / "unmounted")
    with pytest.raises(UserError, match="is not the folder of videos"):
        ensure_data_dir(data)
    (data / "unmounted").rename(data / "videos" / MARKER_FILE)
    ensure_data_dir(data)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_videos_on_another_disk_are_deleted_too(tmp_path):
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "videos").symlink_to(other)
        data = ensure_data_dir(tmp_path / "data")
        assert os.stat(data / "videos").st_dev != os.stat(data).st_dev
        files = LocalFileStore(data)
        with contextlib.closing(SqliteJobStore(data, durable=False)) as store:
            job = submit(store, files)
            assert files.delete(job.id, reason="expired")
            assert server.job_folders(data) == set()


def test_a_folder_that_can_t_be_removed_keeps_its_row(store, files, monkeypatch, caplog):
    job = submit(store, files)
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(1, "not permitted")))
    assert not files.delete(job.id, reason="expired")
    assert "can't remove" in caplog.text


# Lost rows


def test_a_lost_database_is_read_again_from_the_videos(data, files, store):
    done = make(store, files, submit(store, files, idempotency_key="k", request_hash="h"))
    waiting = submit(store, files, prompt="later")
    store.close()
    for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm"):
        (data / name).unlink(missing_ok=True)
    with contextlib.closing(SqliteJobStore(data, durable=False)) as lost:
        report = reconcile(lost, files, retention_s=100)
        assert (report.adopted, report.completed, report.unknown) == (2, 1, 0)
        found = lost.get(done.id, owner="local")
        assert (found.status, found.attempt, found.files) == ("completed", done.attempt, done.files)
        assert lost.get(waiting.id, owner="local").status == "queued"
        again = job_create("local", idempotency_key="k", request_hash="h")
        (result,) = lost.create([again], Limits())
        assert (result[0].id, result[1]) == (done.id, False)


def test_lost_last_transactions_are_found_again(data, files, store):
    job = submit(store, files)
    store.backup(data / "before.sqlite")
    done = make(store, files, job)
    newer = submit(store, files)
    store.close()
    for suffix in ("", "-wal", "-shm"):
        (data / f"{DATABASE_FILE}{suffix}").unlink(missing_ok=True)
    (data / "before.sqlite").rename(data / DATABASE_FILE)
    with contextlib.closing(SqliteJobStore(data, durable=False)) as old:
        reconcile(old, files, retention_s=100)
        found = old.get(job.id, owner="local")
        assert (found.status, found.attempt) == ("completed", done.attempt)
        assert old.get(newer.id, owner="local").status == "queued"
        # Its worker, which still runs, must not make it again.
        assert old.claim(old.register_worker(), "testcard", expired=(), max_attempts=3).id == newer.id


def test_a_damaged_database_is_refused_in_one_line(data, store, capsys):
    for number in range(200):
        store.create([job_create("local", prompt=f"{number} " * 50)], Limits())
    store.close()
    path = data / DATABASE_FILE
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 20] = bytes(4096 * 17)
    path.write_bytes(content)
    with pytest.raises(SystemExit):
        main(["serve", "--data", str(data), "--port", "0", "--model", "testcard"])
    error = capsys.readouterr().err
    assert "is damaged" in error
    assert "kinema jobs restore" in error
    assert error.count("\n") == 1


def test_one_request_of_another_version_does_not_break_the_list(tmp_path):
    with (
        server.in_process_server(tmp_path / "data") as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        video = client.post("/v1/videos", json={"prompt": "a ball"}).json()["id"]
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / DATABASE_FILE)) as connection:
            connection.execute("UPDATE videos SET request_json = '{\"a field of the future\": 1}'")
            connection.commit()
        listed = client.get("/v1/videos")
        assert listed.status_code == 200
        assert [entry["id"] for entry in listed.json()["data"]] == [video]


# Attempts


def test_a_late_worker_changes_no_file_of_a_completed_video(data, files, store):
    job = submit(store, files)
    late = store.claim(store.register_worker(), "testcard", expired=(), max_attempts=3)
    folder = files.open_attempt(job.id, late.attempt)
    done = make_after(store, files, job, expired=store.leases())
    after = finish_late(store, files, late, folder)
    assert after == done
    assert files.verified_path(after, VIDEO_FILE).read_text() == "by the second worker"
    assert files.read_result(job.id).attempt == done.attempt


def test_a_late_worker_does_not_complete_a_video_that_another_one_makes(data, files, store):
    job = submit(store, files)
    late = store.claim(store.register_worker(), "testcard", expired=(), max_attempts=3)
    folder = files.open_attempt(job.id, late.attempt)
    second = store.claim(store.register_worker(), "testcard", expired=store.leases(), max_attempts=3)
    assert second.attempt != late.attempt
    after = finish_late(store, files, late, folder)
    assert (after.status, after.attempt) == ("in_progress", second.attempt)


def finish_late(store, files, late, folder):
    """An attempt that has lost its job writes and tries to complete it; the job afterwards."""
    folder.mkdir(exist_ok=True)
    for name in SERVED_FILES:
        (folder / name).write_text("by the late worker")
    digests = files.publish(late.id, late.attempt)
    assert not store.complete(
        late.id, late.attempt, files=digests, retention_s=1, before_commit=files.write_result
    )
    return store.get(late.id, owner=None)


def make_after(store, files, job, *, expired):
    second = store.claim(store.register_worker(), "testcard", expired=expired, max_attempts=3)
    assert second.id == job.id
    folder = files.open_attempt(job.id, second.attempt)
    for name in SERVED_FILES:
        (folder / name).write_text("by the second worker")
    digests = files.publish(job.id, second.attempt)
    assert store.complete(
        job.id, second.attempt, files=digests, retention_s=100, before_commit=files.write_result
    )
    files.remove_work(store.get(job.id, owner=None))
    return store.get(job.id, owner=None)


@pytest.mark.parametrize("damage", ["flipped", "missing", "unknown"])
def test_a_damaged_checkpoint_begins_again_and_gives_the_same_video(data, files, store, damage, caplog):
    request = {"prompt": "a ball"}
    videos = []
    for is_damaged in (False, True):
        job = submit(store, files, **request)
        if is_damaged:
            attempt = store.claim(store.register_worker(), "testcard", expired=(), max_attempts=3)
            path = files.open_attempt(job.id, attempt.attempt) / "checkpoint-000003.npz"
            path.write_bytes(b"not a checkpoint")
            from kinema.atomic_io import file_sha256

            digest = file_sha256(path) if damage == "unknown" else "0" * 64
            store.record_checkpoint(
                job.id, attempt.attempt, path=f"{path.parent.name}/{path.name}", sha256=digest
            )
            if damage == "missing":
                path.unlink()
            store.mark_worker_dead(attempt.worker_id)
        run_worker(data)
        done = store.get(job.id, owner=None)
        assert done.status == "completed", done.error_message
        videos.append(files.verified_path(done, VIDEO_FILE).read_bytes())
    assert videos[0] == videos[1]
    assert "begins again" in caplog.text


def test_a_lost_input_is_named_without_the_server_s_folders(data, files, store):
    from kinema.pipeline.request import VideoRequest

    job = submit(store, files, request=VideoRequest(prompt="a ball", image="input.png", seed=1))
    run_worker(data)
    failed = store.get(job.id, owner=None)
    assert (failed.status, failed.error_code) == ("failed", "invalid_request")
    assert "input.png" in failed.error_message
    assert str(data) not in failed.error_message


def test_a_model_that_gives_no_numbers_fails_the_job_and_blames_nobody(data, files, store, monkeypatch):
    from kinema.errors import ModelOutputError
    from kinema.server.backends import fake

    def no_numbers(*_):
        raise ModelOutputError("the model's frames are not numbers")

    monkeypatch.setattr(fake, "_write_mp4", no_numbers)
    job = submit(store, files)
    run_worker(data)
    failed = store.get(job.id, owner=None)
    assert (failed.status, failed.error_code) == ("failed", "server_error")
    assert "not numbers" in failed.error_message


# Digests


def test_a_damaged_video_is_not_served_and_is_found_by_the_scrubber(tmp_path, capsys):
    data = tmp_path / "data"
    with (
        server.in_process_server(data, with_worker=True) as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        store, files = app.state.server.store, app.state.server.files
        first, second = (
            client.post("/v1/videos", json={"prompt": "a ball", "seed": 1}).json()["id"] for _ in range(2)
        )
        for video in (first, second):
            server.wait_until(
                lambda video=video: client.get(f"/v1/videos/{video}").json()["status"] == "completed"
            )
        intact = client.get(f"/v1/videos/{first}/content").content
        path = files.path(store.get(first, owner=None), VIDEO_FILE)
        changed = bytearray(intact)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        response = client.get(f"/v1/videos/{first}/content")
        assert (response.status_code, response.json()["error"]["code"]) == (500, "video_damaged")
        assert client.get(f"/v1/videos/{second}/content").status_code == 200
        scrubber = Scrubber(store, files, bytes_per_s=2**40)
        scrubber.start()
        server.wait_until(lambda: scrubber.rounds)
        scrubber.stop()
        assert store.get(first, owner=None).damage == "video.mp4 is damaged"
        assert store.get(second, owner=None).damage == ""
        with pytest.raises(SystemExit):
            main(["jobs", "verify", "--data", str(data)])
        captured = capsys.readouterr()
        assert f"{first}: video.mp4 is damaged" in captured.out
        assert "1 problems in 2 videos" in captured.err
        main(["jobs", "retry", first, "--data", str(data)])
        server.wait_until(lambda: client.get(f"/v1/videos/{first}").json()["status"] == "completed")
        assert client.get(f"/v1/videos/{first}/content").content == intact
        main(["jobs", "verify", "--data", str(data)])
        assert "2 videos are intact" in capsys.readouterr().out


def test_a_file_is_read_once_for_many_downloads(store, files, monkeypatch):
    from kinema.server import storage

    done = make(store, files, submit(store, files))
    reads = []
    real = storage.file_sha256
    monkeypatch.setattr(storage, "file_sha256", lambda path: reads.append(path) or real(path))
    for _ in range(5):
        files.verified_path(done, VIDEO_FILE)
    assert len(reads) == 1
    os.utime(files.path(done, VIDEO_FILE))
    files.verified_path(done, VIDEO_FILE)
    assert len(reads) == 2
    files.path(done, VIDEO_FILE).write_text("other")
    with pytest.raises(DamagedFileError):
        files.verified_path(done, VIDEO_FILE)
    files.path(done, VIDEO_FILE).unlink()
    with pytest.raises(FileNotFoundError):
        files.verified_path(done, VIDEO_FILE)


# Operators


def test_operator_commands(data, store, files, tmp_path, capsys):
    done = make(store, files, submit(store, files, prompt="a red ball"))
    waiting = submit(store, files, prompt="a blue cube")
    arguments = ["--data", str(data)]
    main(["jobs", "list", *arguments])
    out = capsys.readouterr().out
    assert done.id in out
    assert "1 queued, 0 in_progress, 1 completed, 0 failed" in out
    main(["jobs", "list", "--search", "BLUE", *arguments])
    assert done.id not in capsys.readouterr().out
    main(["jobs", "show", done.id, *arguments])
    shown = capsys.readouterr().out
    assert json.loads(shown[: shown.rindex("}") + 1])["request"]["prompt"] == "a ball"
    assert "result.json" in shown
    main(["jobs", "cancel", waiting.id, *arguments])
    assert store.get(waiting.id, owner=None).error_code == "cancelled"
    main(["jobs", "retry", waiting.id, *arguments])
    assert store.get(waiting.id, owner=None).status == "queued"
    main(["jobs", "backup", str(tmp_path / "backup.sqlite"), *arguments])
    assert "2 jobs in" in capsys.readouterr().out
    for command, message in (
        (["show", "video_x"], "there is no job"),
        (["retry", done.id], "only failed or damaged"),
        (["cancel", done.id], "is completed already"),
        (["restore", str(tmp_path / "none")], "does not exist"),
    ):
        with pytest.raises(SystemExit):
            main(["jobs", *command, *arguments])
        assert message in capsys.readouterr().err
    assert store.get(done.id, owner=None).status == "completed"
    assert files.read_result(done.id) is not None


def test_a_restore_keeps_what_is_newer_and_removes_what_was_deleted(data, store, files, tmp_path, capsys):
    running, deleted = submit(store, files), submit(store, files)
    arguments = ["--data", str(data)]
    main(["jobs", "backup", str(tmp_path / "backup.sqlite"), *arguments])
    done = make(store, files, running)
    files.delete(deleted.id, reason="deleted by its owner")
    newer = submit(store, files)
    with lock_for_worker(data), pytest.raises(SystemExit):
        main(["jobs", "restore", str(tmp_path / "backup.sqlite"), *arguments])
    assert "a server or a worker uses" in capsys.readouterr().err
    store.close()
    (tmp_path / "damaged.sqlite").write_bytes((tmp_path / "backup.sqlite").read_bytes()[:5000])
    with pytest.raises(SystemExit):
        main(["jobs", "restore", str(tmp_path / "damaged.sqlite"), *arguments])
    assert "not an intact backup" in capsys.readouterr().err
    main(["jobs", "restore", str(tmp_path / "backup.sqlite"), *arguments])
    assert (
        "1 jobs that are newer than it adopted, 1 finished videos kept, 1 deleted" in capsys.readouterr().out
    )
    with contextlib.closing(SqliteJobStore(data, durable=False)) as restored:
        assert restored.all_ids() == {running.id, newer.id}
        assert restored.get(running.id, owner=None).attempt == done.attempt


# Processes


@pytest.mark.slow
def test_a_worker_that_is_frozen_in_a_transaction_is_ended_and_its_job_continues(tmp_path):
    """It holds the write lock: no other process can write until it is ended."""
    settings = tmp_path / "kinema.toml"
    settings.write_text("checkpoint_interval_s = 0.0\nlease_s = 2.0\n")
    data = tmp_path / "data"
    with server.running_server(data, "--settings", str(settings)) as running:
        video = httpx.post(
            f"{running.url}/videos", json={"prompt": "pace=0.05", "num_inference_steps": 60}
        ).json()["id"]

        def now() -> dict:
            return httpx.get(f"{running.url}/videos/{video}", timeout=30).json()

        server.wait_until(lambda: now()["kinema"]["step"] >= 3)
        with contextlib.closing(sqlite3.connect(data / DATABASE_FILE)) as connection:
            ((pid,),) = connection.execute("SELECT pid FROM workers").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            os.kill(pid, signal.SIGSTOP)
            started = time.monotonic()
            assert now()["status"] == "in_progress"
            assert httpx.get(f"{running.url}/videos").status_code == 200
            assert time.monotonic() - started < 5
            connection.execute("ROLLBACK")
        done = server.wait_until(lambda: (state := now())["status"] in ("completed", "failed") and state)
        assert done["status"] == "completed", done["error"]
        assert f"worker {pid} is frozen" in running.log.read_text()


def test_readiness_needs_a_live_worker_of_the_served_model(tmp_path):
    with server.in_process_server(tmp_path / "data") as app:
        supervisor = app.state.server.supervisor
        ready = supervisor.readiness()
        assert (ready.model_info.name, ready.workers_alive, ready.workers_ready) == ("testcard", 0, 1)
        store = app.state.server.store
        for worker in store.workers():
            store.mark_worker_dead(worker.id)
        assert supervisor.readiness().workers_ready == 0
        assert supervisor.readiness().model_info is not None
        store.close()


def test_a_worker_that_uses_too_much_memory_is_ended_with_its_job(tmp_path, monkeypatch):
    from kinema.server import supervisor

    ended = []
    monkeypatch.setattr(supervisor, "_resident_bytes", lambda _: 2**40)
    monkeypatch.setattr(supervisor, "_is_live_worker", lambda _: True)
    monkeypatch.setattr(os, "kill", lambda pid, number: ended.append((pid, number)))
    limits = Limits(min_free_bytes=0, max_worker_bytes=2**30)
    with server.in_process_server(tmp_path / "data", limits=limits) as app:
        store, files = app.state.server.store, app.state.server.files
        job = submit(store, files)
        (worker,) = store.workers()
        store.claim(worker.id, "testcard", expired=(), max_attempts=3)
        app.state.server.supervisor._kill_frozen_workers()
        failed = store.get(job.id, owner=None)
        assert (failed.status, failed.error_code) == ("failed", "out_of_memory")
        assert ended == [(worker.pid, signal.SIGKILL)]
        store.close()


def test_signs_of_life_are_measured_for_each_worker(tmp_path, monkeypatch):
    """One that is busy keeps its time; one that does nothing is ended after a lease."""
    from kinema.server import supervisor

    ended, ticks = [], {}
    monkeypatch.setattr(supervisor, "_cpu_ticks", lambda pid: ticks[pid])
    monkeypatch.setattr(supervisor, "_is_live_worker", lambda _: True)
    monkeypatch.setattr(os, "kill", lambda pid, number: ended.append(pid))
    with server.in_process_server(tmp_path / "data", lease_s=10.0) as app:
        store, watched = app.state.server.store, app.state.server.supervisor
        clock = FakeClock(0.0)
        watched._activity._monotonic = watched._signs_of_life._monotonic = clock
        watched._activity._last = watched._signs_of_life._last = 0.0
        (worker,) = store.workers()
        (tmp_path / "data" / "workers" / worker.id).touch()
        ticks[worker.pid] = 0

        def observe(seconds: int, *, is_busy: bool) -> None:
            for _ in range(seconds):
                clock.now += 1
                ticks[worker.pid] += is_busy
                watched._kill_frozen_workers()

        observe(60, is_busy=True)
        assert not ended
        observe(12, is_busy=False)
        assert ended == [worker.pid] * len(ended) != []
        store.close()
