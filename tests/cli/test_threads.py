"""Threads by load: free cores only, and no spinning beside others; variables of the user stay."""

import os

import pytest

from kinema.cli import threads


@pytest.mark.parametrize(("running", "cores", "expected"), [
    (1, 2, {}),
    (2, 2, {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}),
    (9, 2, {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}),
    (4, 8, {"OMP_NUM_THREADS": "5", "OMP_WAIT_POLICY": "passive"}),
])  # fmt: skip
def test_free_cores_are_taken(running, cores, expected, tmp_path, monkeypatch):
    file = tmp_path / "loadavg"
    file.write_text(f"0.10 0.20 0.30 {running}/400 1234\n")
    monkeypatch.setattr(threads, "_LOADAVG", file)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    environment: dict[str, str] = {}
    threads.configure_threads(environment)
    assert environment == expected


def test_the_users_number_stays(monkeypatch):
    monkeypatch.setattr(threads, "count_busy_threads", lambda: 5)
    environment = {"OMP_NUM_THREADS": "2"}
    threads.configure_threads(environment)
    assert environment == {"OMP_NUM_THREADS": "2"}


def test_a_system_without_load_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "_LOADAVG", tmp_path / "nothing")
    assert threads.count_busy_threads() == 0
