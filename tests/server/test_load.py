"""Many clients at once: no job is lost or run twice, and memory does not grow."""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import threading
import time

import httpx
import psutil
import pytest

from tests.fixtures.server import RunningServer, running_server, wait_until


def run_load(server: RunningServer, requests: int, clients: int) -> tuple[list[str], list[float]]:
    """Requests from several clients at the same time: ids of the videos, and seconds of each request."""
    video_ids: list[str] = []
    latencies: list[float] = []
    begin = threading.Barrier(clients)

    def client(number: int) -> None:
        with httpx.Client(timeout=120) as http:
            begin.wait()
            for _ in range(requests // clients):
                start = time.perf_counter()
                response = http.post(
                    f"{server.url}/videos", json={"prompt": f"client {number}", "num_inference_steps": 2}
                )
                latencies.append(time.perf_counter() - start)
                assert response.status_code == 200, response.text
                video_ids.append(response.json()["id"])

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return video_ids, latencies


def count_unfinished(server: RunningServer) -> int:
    """Videos that are not completed."""
    path = f"file:{server.data / 'store.sqlite'}?mode=ro"
    with contextlib.closing(sqlite3.connect(path, uri=True)) as connection:
        return connection.execute("SELECT count(*) FROM videos WHERE status <> 'completed'").fetchone()[0]


def assert_all_completed_once(server: RunningServer, video_ids: list[str]) -> None:
    """Every video is completed, and was started once."""

    def counts() -> list[tuple[str, int, int]]:
        with contextlib.closing(
            sqlite3.connect(f"file:{server.data / 'store.sqlite'}?mode=ro", uri=True)
        ) as connection:
            return connection.execute("SELECT id, status = 'completed', attempts FROM videos").fetchall()

    wait_until(lambda: all(row[1] for row in counts()), 3000)
    rows = counts()
    assert sorted(row[0] for row in rows) == sorted(video_ids)
    assert len(set(video_ids)) == len(video_ids)
    assert {row[2] for row in rows} == {1}


def test_a_hundred_requests_from_twenty_clients(tmp_path):
    with running_server(tmp_path / "data") as server:
        video_ids, _ = run_load(server, 100, 20)
        assert_all_completed_once(server, video_ids)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_requests_from_forty_clients_twice(tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text("[limits]\nmax_queued = 2000\nmax_queued_per_owner = 2000\n")
    with running_server(tmp_path / "data", "--settings", str(settings)) as server:
        process = psutil.Process(server.process.pid)
        video_ids, latencies = run_load(server, 1000, 40)
        first = process.memory_info().rss
        wait_until(lambda: count_unfinished(server) < 500, 3000)
        more_ids, more_latencies = run_load(server, 1000, 40)
        second = process.memory_info().rss
        assert_all_completed_once(server, video_ids + more_ids)
        for times in (latencies, more_latencies):
            cuts = statistics.quantiles(times, n=100)
            print("create: median, p95, p99 in ms", *(round(1e3 * cuts[at]) for at in (49, 94, 98)))
        print(f"memory: {first / 2**20:.0f} MB, then {second / 2**20:.0f} MB")
        assert second < first + 30 * 2**20
