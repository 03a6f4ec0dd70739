"""Processes are killed at any moment: every video is still generated once, and no files are left over."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time

import httpx
import pytest

from kinema.server.file_store import SERVED_FILES
from tests.fixtures import server

STEPS = 30
EAGER_SETTINGS = "checkpoint_interval_s = 0.0\nlease_s = 2.0\n"
"""A checkpoint after every step, and short leases."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "kinema.toml"
    path.write_text(EAGER_SETTINGS)
    return path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, settings):
    """The video of each seed, generated without interruption."""
    with server.running_server(
        tmp_path_factory.mktemp("uninterrupted") / "data", "--settings", str(settings)
    ) as running:
        videos = [create_video(running.url, seed) for seed in range(3)]
        for video in videos:
            server.wait_until(lambda video=video: get_video(running.url, video)["status"] == "completed")
        return [download_content(running.url, video) for video in videos]


def create_video(url: str, seed: int, prompt: str = "pace=0.03") -> str:
    response = httpx.post(
        f"{url}/videos", json={"prompt": prompt, "seed": seed, "num_inference_steps": STEPS}
    )
    assert response.status_code == 200, response.text
    return response.json()["id"]


def get_video(url: str, video: str) -> dict:
    return httpx.get(f"{url}/videos/{video}").json()


def download_content(url: str, video: str) -> bytes:
    response = httpx.get(f"{url}/videos/{video}/content")
    assert response.status_code == 200
    return response.content


def query_rows(data, sql: str):
    connection = sqlite3.connect(f"file:{data / 'store.sqlite'}?mode=ro", uri=True)
    with contextlib.closing(connection):
        return connection.execute(sql).fetchall()


def kill_workers(data) -> int:
    """Kill all workers (SIGKILL); how many there were."""
    killed = 0
    for (pid,) in query_rows(data, "SELECT pid FROM workers WHERE pid > 0"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def assert_no_orphan_files(data) -> None:
    rows = query_rows(data, "SELECT id, status, attempt FROM videos")
    assert server.job_folders(data) == {identifier for identifier, _, _ in rows}
    for identifier, status, attempt in rows:
        folder = data / "videos" / identifier
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        served = {f"attempt-{attempt}/{name}" for name in SERVED_FILES} | {"result.json"}
        assert files == {"job.json"} | (served if status == "completed" else set())


def test_a_killed_worker_s_job_resumes_from_its_checkpoint(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    with server.running_server(data, "--settings", str(settings)) as running:
        video = create_video(running.url, 0)
        for step in (8, 20):
            server.wait_until(lambda step=step: get_video(running.url, video)["kinema"]["step"] >= step)
            assert kill_workers(data)
        done = server.wait_until(
            lambda: (now := get_video(running.url, video))["status"] == "completed" and now
        )
        assert done["progress"] == 100
        assert download_content(running.url, video) == uninterrupted[0]
        # Every step adds one revision; a restart from the beginning would add many more.
        ((revision,),) = query_rows(data, "SELECT revision FROM videos")
        assert revision < STEPS + 8 + 10
        assert_no_orphan_files(data)


def test_jobs_resume_after_a_killed_server_restarts(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    running = server.start_server(data, "--settings", str(settings))
    server.wait_until_ready(running.url)
    videos = [create_video(running.url, seed) for seed in range(2)]
    server.wait_until(lambda: get_video(running.url, videos[0])["kinema"]["step"] >= 5)
    running.kill()
    (data / "videos" / "video_00000000000000000000000000000000.incoming").mkdir()
    with server.running_server(data, "--settings", str(settings)) as restarted:
        for video, content in zip(videos, uninterrupted, strict=False):
            server.wait_until(lambda video=video: get_video(restarted.url, video)["status"] == "completed")
            assert download_content(restarted.url, video) == content
        assert_no_orphan_files(data)


def test_a_stopping_server_saves_its_progress(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    with server.running_server(data, "--settings", str(settings)) as running:
        video = create_video(running.url, 1)
        server.wait_until(lambda: get_video(running.url, video)["kinema"]["step"] >= 5)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
    assert list((data / "videos" / video).glob("attempt-*/checkpoint-*.npz"))
    ((status, attempts),) = query_rows(data, "SELECT status, attempts FROM videos")
    assert (status, attempts) == ("in_progress", 0)
    with server.running_server(data, "--settings", str(settings)) as restarted:
        server.wait_until(lambda: get_video(restarted.url, video)["status"] == "completed")
        assert download_content(restarted.url, video) == uninterrupted[1]


def test_workers_are_outside_the_server_s_process_group(tmp_path, settings):
    """Ctrl-C interrupts the group. A worker printed a traceback if Python was still starting."""
    data = tmp_path / "data"
    with server.running_server(data, "--settings", str(settings)) as running:
        pids = server.wait_until(lambda: query_rows(data, "SELECT pid FROM workers WHERE model <> ''"))
        assert os.getpgid(pids[0][0]) != os.getpgid(running.process.pid)


def test_the_job_of_a_killed_additional_worker_is_taken_over(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    with server.running_server(data, "--settings", str(settings)) as running:
        additional = server.start_worker(data, "--settings", str(settings))
        server.wait_until(lambda: len(query_rows(data, "SELECT 1 FROM workers WHERE model <> ''")) == 2)
        videos = [create_video(running.url, seed % 3) for seed in range(6)]
        working = "SELECT pid FROM videos JOIN workers ON workers.id = worker_id WHERE step >= 5"
        server.wait_until(lambda: (additional.pid,) in query_rows(data, working))
        additional.kill()
        additional.wait()
        for number, video in enumerate(videos):
            server.wait_until(lambda video=video: get_video(running.url, video)["status"] == "completed")
            assert download_content(running.url, video) == uninterrupted[number % 3]
        assert_no_orphan_files(data)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_workers_one_of_them_killed(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    with server.running_server(data, "--settings", str(settings), "--workers", "2") as running:
        server.wait_until(lambda: len(query_rows(data, "SELECT 1 FROM workers WHERE model <> ''")) == 2)
        videos = [create_video(running.url, seed % 3) for seed in range(12)]
        server.wait_until(
            lambda: len(query_rows(data, "SELECT 1 FROM videos WHERE status = 'in_progress'")) == 2
        )
        ((pid,), *_) = query_rows(data, "SELECT pid FROM workers WHERE pid > 0")
        os.kill(pid, signal.SIGKILL)
        for number, video in enumerate(videos):
            server.wait_until(lambda video=video: get_video(running.url, video)["status"] == "completed")
            assert download_content(running.url, video) == uninterrupted[number % 3]
        assert_no_orphan_files(data)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_fifty_kills_of_worker_and_server(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    rng = random.Random(0)
    running = server.start_server(data, "--settings", str(settings))
    server.wait_until_ready(running.url)
    videos: dict[str, int] = {}
    kills = 0
    while kills < 50:
        seed = rng.randrange(3)
        with contextlib.suppress(httpx.TransportError):
            videos[create_video(running.url, seed)] = seed
        time.sleep(rng.uniform(0.05, 2.0))
        if rng.random() < 0.6:
            kills += kill_workers(data)
        else:
            running.kill()
            kills += 1
            if rng.random() < 0.5:
                kills += kill_workers(data)
            running = server.start_server(data, "--settings", str(settings))
            server.wait_until_ready(running.url)
    try:
        finished = {}
        for video in videos:
            finished[video] = server.wait_until(
                lambda video=video: (
                    (now := get_video(running.url, video))["status"] in ("completed", "failed") and now
                ),
                600,
            )
        completed = [video for video in videos if finished[video]["status"] == "completed"]
        for video in completed:
            assert download_content(running.url, video) == uninterrupted[videos[video]]
        for video in set(videos) - set(completed):
            assert finished[video]["error"]["code"] == "worker_lost"
        print(f"{kills} kills, {len(completed)} of {len(videos)} completed")
        assert len(completed) > len(videos) / 2
        assert_no_orphan_files(data)
    finally:
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(60)
