"""Many callers at once: nothing is lost, nothing made twice, and memory stays where it was."""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import threading
import time

import httpx
import psutil
import pytest

from tests.fixtures import server


def run_load(server: server.RunningServer, requests: int, clients: int) -> tuple[list[str], list[float]]:
    """Requests from several clients at the same time: the films' names, and how long each request took."""
    made: list[str] = []
    took: list[float] = []
    begin = threading.Barrier(clients)

    def client(number: int) -> None:
        with httpx.Client(timeout=120) as http:
            begin.wait()
            for _ in range(requests // clients):
                start = time.perf_counter()
                answer = http.post(f"{server.url}/videos", json={"prompt": f"client {number}", "steps": 2})
                took.append(time.perf_counter() - start)
                assert answer.status_code == 200, answer.text
                made.append(answer.json()["id"])

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made, took


def assert_all_completed_once(server: server.RunningServer, video_ids: list[str]) -> None:
    """Every film is completed, and was begun once."""

    def counts() -> list[tuple[str, int, int]]:
        with contextlib.closing(
            sqlite3.connect(f"file:{server.data / 'store.sqlite'}?mode=ro", uri=True)
        ) as base:
            return base.execute("SELECT id, status = 'completed', tries FROM videos").fetchall()

    server.wait_until(lambda: all(row[1] for row in counts()), 600)
    rows = counts()
    assert sorted(row[0] for row in rows) == sorted(video_ids)
    assert len(set(video_ids)) == len(video_ids)
    assert {row[2] for row in rows} == {1}


def test_a_hundred_requests_from_twenty_clients(tmp_path):
    with server.running_server(tmp_path / "data") as served:
        made, _ = run_load(served, 100, 20)
        assert_all_completed_once(served, made)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_hundred_requests_from_twenty_clients(tmp_path):
    with server.running_server(tmp_path / "data") as served:
        process = psutil.Process(served.process.pid)
        made, took = run_load(served, 500, 20)
        first = process.memory_info().rss
        again, more = run_load(served, 500, 20)
        second = process.memory_info().rss
        assert_all_completed_once(served, made + again)
        for times in (took, more):
            cuts = statistics.quantiles(times, n=100)
            print("create: median, p95, p99 in ms", *(round(1e3 * cuts[at]) for at in (49, 94, 98)))
        print(f"memory: {first / 2**20:.0f} MB, then {second / 2**20:.0f} MB")
        assert second < first + 30 * 2**20
