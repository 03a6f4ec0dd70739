"""Worker processes have one thread each, and one that dies is an error, not a hang."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from kinema.process_pool import THREAD_ENV_VARS, process_pool, run_jobs, single_threaded


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


def process_id(_job: int) -> int:
    return os.getpid()


def test_jobs_are_consumed_lazily_and_their_results_are_in_order():
    consumed = []

    def jobs():
        for job in range(20):
            consumed.append(job)
            yield job

    results = run_jobs(abs, jobs(), 2)
    assert next(results) == 0
    assert len(consumed) < 20
    assert list(results) == list(range(1, 20))


def test_one_worker_is_this_process_unless_isolated():
    assert list(run_jobs(process_id, [0], 1)) == [os.getpid()]
    assert list(run_jobs(process_id, [0], 1, isolated=True)) != [os.getpid()]


PARENT = """
import os
import time
from kinema.process_pool import process_pool

def process_id(_job):
    return os.getpid()

if __name__ == "__main__":
    with process_pool(2) as pool:
        for pid in pool.map(process_id, range(8)):
            print(pid)
        print("ready", flush=True)
        time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_a_killed_parent(tmp_path, number):
    """Two orphans kept both cores of a machine busy after `kinema evaluate` was ended by SIGTERM."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        workers = set()
        for line in parent.stdout:
            if line == "ready\n":
                break
            workers.add(int(line))
        assert workers
        parent.send_signal(number)
        parent.wait(10)
        end = time.monotonic() + 10
        while any(is_running(worker) for worker in workers):
            assert time.monotonic() < end, "a worker goes on without its parent"
            time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
