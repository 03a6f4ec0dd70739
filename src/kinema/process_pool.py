"""Several processes on one machine: a worker for each core, and one thread in each worker.

Libraries start as many threads in every process as the machine has cores. Four workers on four cores then
run sixteen threads that wait for one another by spinning: OpenBLAS took a second for a product that takes a
millisecond alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

THREAD_ENV_VARS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)  # fmt: skip
"""What libraries read, when they are first imported, to decide how many threads to start."""


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """Processes that are started inside the block run one thread each; this process is left as it is."""
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
    """Fresh processes of one thread each. One that is killed raises `BrokenProcessPool`, nothing hangs.

    Leaving the block by an exception, or by dropping the generator that holds it, forgets the jobs that
    nobody has begun.
    """
    with single_threaded(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
