"""A lock on a run's folder: two processes that write the same checkpoints would destroy both runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from kinema.errors import UserError

LOCK_FILE = ".lock"


@contextlib.contextmanager
def lock_run(run_dir: Path) -> Iterator[None]:
    """Hold the lock of a run's folder during a block. The system releases it when the process ends or dies.

    Args:
        run_dir: created if it does not exist.

    Raises:
        UserError: another process has the lock, or the folder can't be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks.
        yield
        return
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = (run_dir / LOCK_FILE).open("a+")
    except OSError as error:
        raise UserError(f"can't write in {run_dir}: {error.strerror}; choose another folder") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read(20).strip()
            raise UserError(
                f"{run_dir} is in use by another training{f' (process {owner})' if owner.isdigit() else ''}; "
                "wait for it, stop it, or choose another folder"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
