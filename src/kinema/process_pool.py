"""A pool of worker processes, one thread in each.

Libraries start as many threads in every process as the machine has cores. Four workers on four cores then run
sixteen threads that wait for each other in spin locks: a product that takes OpenBLAS a millisecond alone took
a second.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Protocol, TypeVar, runtime_checkable

Job = TypeVar("Job")
JobResult = TypeVar("JobResult")

THREAD_ENV_VARS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)  # fmt: skip
"""Environment variables that libraries read at import to choose their number of threads."""
_JOBS_AHEAD_PER_WORKER = 3
"""Submitted jobs per worker: enough that no worker waits, few enough that large jobs fit into memory."""


@runtime_checkable
class JobRunner(Protocol):
    """Runs jobs elsewhere: `kinema.ray_tasks.RayTasks`."""

    def run(self, work: Callable[[Job], JobResult], jobs: Iterable[Job]) -> Iterator[JobResult]:
        """Run jobs and yield their results in the order of the jobs."""
        ...


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """Set the thread variables to 1 for processes that start inside the block. This process is unchanged."""
    before = {name: os.environ.get(name) for name in THREAD_ENV_VARS}
    os.environ.update(dict.fromkeys(THREAD_ENV_VARS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of spawned processes with one thread each.

    A worker that is killed raises `BrokenProcessPool`; nothing hangs. Workers end when this process is
    killed. When the block ends by an exception, or
    the generator that contains it is closed, jobs that have not started are cancelled. An exception also ends
    the running jobs.
    """
    with (
        single_threaded(),
        ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_start_parent_watcher
        ) as pool,
    ):
        try:
            yield pool
        except Exception:
            # ProcessPoolExecutor.terminate_workers came with Python 3.14.
            for worker in list((pool._processes or {}).values()):
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _start_parent_watcher() -> None:
    """In a worker: end when the parent does. A worker that waits for its next job would wait forever, because
    the other workers hold the other end of its queue open."""
    threading.Thread(target=_exit_with_parent, name="parent watcher", daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def run_jobs(
    work: Callable[[Job], JobResult],
    jobs: Iterable[Job],
    workers: int | JobRunner,
    *,
    isolated: bool = False,
) -> Iterator[JobResult]:
    """Run jobs in several processes and yield their results in the order of the jobs.

    `jobs` is consumed lazily, a few jobs ahead of the workers, so that jobs may hold large arrays.

    Args:
        work: a picklable function.
        jobs: picklable arguments of `work`.
        workers: number of processes; 1 or less runs the jobs in this process. Or what runs the jobs
            elsewhere.
        isolated: use a worker process even for one worker, which then has one thread.
    """
    if not isinstance(workers, int):
        yield from workers.run(work, jobs)
        return
    if workers <= 1 and not isolated:
        yield from map(work, jobs)
        return
    with process_pool(workers) as pool:
        submitted: deque[Future[JobResult]] = deque()
        for job in jobs:
            submitted.append(pool.submit(work, job))
            if len(submitted) >= _JOBS_AHEAD_PER_WORKER * workers:
                yield submitted.popleft().result()
        while submitted:
            yield submitted.popleft().result()
