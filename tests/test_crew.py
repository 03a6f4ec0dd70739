"""Workers: one thread each, and one that dies is an error, not a hang."""

import os
from concurrent.futures.process import BrokenProcessPool

import pytest

from kinema.crew import THREADS, crew, single_threaded


def threads_of(_job: int) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in THREADS}


def die(_job: int) -> None:
    os._exit(9)


def test_workers_run_one_thread_and_this_process_is_left_alone(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with crew(1) as pool:
        assert set(pool.submit(threads_of, 0).result().values()) == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_the_environment_comes_back_after_an_error(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with pytest.raises(ValueError, match="x"), single_threaded():
        raise ValueError("x")
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_worker_that_dies_is_an_error():
    with crew(1) as pool, pytest.raises(BrokenProcessPool):
        pool.submit(die, 0).result()
