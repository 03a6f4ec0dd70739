"""Workers: one thread each, and one that dies is an error, not a hang."""

import os
from concurrent.futures.process import BrokenProcessPool

import pytest

from kinema.process_pool import THREAD_ENV_VARS, process_pool, single_threaded


def read_thread_variables(_job: int) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in THREAD_ENV_VARS}


def exit_abruptly(_job: int) -> None:
    os._exit(9)


def test_workers_are_single_threaded(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with process_pool(1) as pool:
        assert set(pool.submit(read_thread_variables, 0).result().values()) == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_environment_is_restored_after_an_error(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with pytest.raises(ValueError, match="x"), single_threaded():
        raise ValueError("x")
    assert "OMP_NUM_THREADS" not in os.environ


def test_killed_worker_is_an_error():
    with process_pool(1) as pool, pytest.raises(BrokenProcessPool):
        pool.submit(exit_abruptly, 0).result()
