"""Processes are killed at any moment: every film is made all the same, once, and nothing is left over."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time

import httpx
import pytest

from tests.fixtures import server

STEPS = 30
EAGER_SETTINGS = "save = 0.0\nlease = 2.0\n"
"""Every step is saved, and the dead are soon missed."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "kinema.toml"
    path.write_text(EAGER_SETTINGS)
    return path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, settings):
    """The film of each seed, made in peace."""
    with server.running_server(
        tmp_path_factory.mktemp("peace") / "data", "--settings", str(settings)
    ) as served:
        made = [create_video(served.url, seed) for seed in range(3)]
        for video in made:
            server.wait_until(lambda video=video: get_video(served.url, video)["status"] == "completed")
        return [download_content(served.url, video) for video in made]


def create_video(url: str, seed: int, prompt: str = "pace=0.03") -> str:
    answer = httpx.post(f"{url}/videos", json={"prompt": prompt, "seed": seed, "steps": STEPS})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def get_video(url: str, video: str) -> dict:
    return httpx.get(f"{url}/videos/{video}").json()


def download_content(url: str, video: str) -> bytes:
    answer = httpx.get(f"{url}/videos/{video}/content")
    assert answer.status_code == 200
    return answer.content


def query_rows(data, sql: str):
    base = sqlite3.connect(f"file:{data / 'store.sqlite'}?mode=ro", uri=True)
    with contextlib.closing(base):
        return base.execute(sql).fetchall()


def kill_workers(data) -> int:
    """Kill -9 all workers of the store; how many there were."""
    killed = 0
    for (pid,) in query_rows(data, "SELECT pid FROM workers WHERE pid > 0"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def assert_no_orphan_files(data) -> None:
    known = {identifier for (identifier,) in query_rows(data, "SELECT id FROM videos")}
    folders = {path.name for path in (data / "videos").iterdir()}
    assert folders == known
    assert not list((data / "trash").iterdir())
    for identifier, status in query_rows(data, "SELECT id, status FROM videos"):
        files = {path.name for path in (data / "videos" / identifier).iterdir()}
        assert files == (
            {"film.mp4", "thumbnail.webp", "spritesheet.jpg"} if status == "completed" else set()
        )


def test_a_killed_worker_s_video_goes_on_from_where_it_was(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    with server.running_server(data, "--settings", str(settings)) as served:
        video = create_video(served.url, 0)
        for step in (8, 20):
            server.wait_until(lambda step=step: get_video(served.url, video)["kinema"]["step"] >= step)
            assert kill_workers(data)
        done = server.wait_until(
            lambda: (now := get_video(served.url, video))["status"] == "completed" and now
        )
        assert done["progress"] == 100
        assert download_content(served.url, video) == uninterrupted[0]
        # Every step writes one change; a film begun again from nothing would have written far more.
        ((changes,),) = query_rows(data, "SELECT change FROM videos")
        assert changes < STEPS + 8 + 10
        assert_no_orphan_files(data)


def test_a_killed_server_s_videos_go_on_when_it_is_back(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    served = server.start_server(data, "--settings", str(settings))
    server.wait_until_ready(served.url)
    videos = [create_video(served.url, seed) for seed in range(2)]
    server.wait_until(lambda: get_video(served.url, videos[0])["kinema"]["step"] >= 5)
    served.kill()
    (data / "videos" / "video_00000000000000000000000000000000").mkdir()
    with server.running_server(data, "--settings", str(settings)) as again:
        for video, film in zip(videos, uninterrupted, strict=False):
            server.wait_until(lambda video=video: get_video(again.url, video)["status"] == "completed")
            assert download_content(again.url, video) == film
        assert_no_orphan_files(data)


def test_a_stopping_server_saves_its_progress(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    with server.running_server(data, "--settings", str(settings)) as served:
        video = create_video(served.url, 1)
        server.wait_until(lambda: get_video(served.url, video)["kinema"]["step"] >= 5)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0
    assert (data / "videos" / video / "state.npz").exists()
    ((status, tries),) = query_rows(data, "SELECT status, tries FROM videos")
    assert (status, tries) == ("in_progress", 0)
    with server.running_server(data, "--settings", str(settings)) as again:
        server.wait_until(lambda: get_video(again.url, video)["status"] == "completed")
        assert download_content(again.url, video) == uninterrupted[1]


def test_a_worker_that_joined_is_killed_and_the_other_makes_its_video(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    with server.running_server(data, "--settings", str(settings)) as served:
        joined = server.start_worker(data, "--settings", str(settings))
        server.wait_until(
            lambda: len(query_rows(data, "SELECT 1 FROM workers WHERE served IS NOT NULL")) == 2
        )
        videos = [create_video(served.url, seed % 3) for seed in range(6)]
        working = "SELECT pid FROM videos JOIN workers ON workers.id = worker WHERE step >= 5"
        server.wait_until(lambda: (joined.pid,) in query_rows(data, working))
        joined.kill()
        joined.wait()
        for number, video in enumerate(videos):
            server.wait_until(lambda video=video: get_video(served.url, video)["status"] == "completed")
            assert download_content(served.url, video) == uninterrupted[number % 3]
        assert_no_orphan_files(data)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_workers_one_of_them_killed(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    with server.running_server(data, "--settings", str(settings), "--workers", "2") as served:
        server.wait_until(
            lambda: httpx.get(served.url.removesuffix("/v1") + "/healthz").json()["workers"] == 2
        )
        videos = [create_video(served.url, seed % 3) for seed in range(12)]
        server.wait_until(
            lambda: len(query_rows(data, "SELECT 1 FROM videos WHERE status = 'in_progress'")) == 2
        )
        ((pid,), *_) = query_rows(data, "SELECT pid FROM workers WHERE pid > 0")
        os.kill(pid, signal.SIGKILL)
        for number, video in enumerate(videos):
            server.wait_until(lambda video=video: get_video(served.url, video)["status"] == "completed")
            assert download_content(served.url, video) == uninterrupted[number % 3]
        assert_no_orphan_files(data)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_fifty_kills_of_worker_and_server(tmp_path, settings, uninterrupted):
    data = tmp_path / "data"
    chance = random.Random(0)
    served = server.start_server(data, "--settings", str(settings))
    server.wait_until_ready(served.url)
    videos: dict[str, int] = {}
    kills = 0
    while kills < 50:
        seed = chance.randrange(3)
        with contextlib.suppress(httpx.TransportError):
            videos[create_video(served.url, seed)] = seed
        time.sleep(chance.uniform(0.05, 2.0))
        if chance.random() < 0.6:
            kills += kill_workers(data)
        else:
            served.kill()
            kills += 1
            if chance.random() < 0.5:
                kills += kill_workers(data)
            served = server.start_server(data, "--settings", str(settings))
            server.wait_until_ready(served.url)
    try:
        ended = {}
        for video in videos:
            ended[video] = server.wait_until(
                lambda video=video: (
                    (now := get_video(served.url, video))["status"] in ("completed", "failed") and now
                ),
                600,
            )
        completed = [video for video in videos if ended[video]["status"] == "completed"]
        for video in completed:
            assert download_content(served.url, video) == uninterrupted[videos[video]]
        for video in set(videos) - set(completed):
            assert ended[video]["error"]["code"] == "worker_lost"
        print(f"{kills} kills, {len(completed)} of {len(videos)} completed")
        assert len(completed) > len(videos) / 2
        assert_no_orphan_files(data)
    finally:
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(60)
