"""One process writes into a run's folder."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kinema.errors import UserError
from kinema.training.run_lock import lock_run

HOLD = "import sys; from pathlib import Path; from kinema.training.run_lock import lock_run\n"
HOLD += "with lock_run(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"


def test_a_run_is_not_trained_twice_at_once(tmp_path):
    pytest.importorskip("fcntl")
    run_dir = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(run_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        message = f"in use by another training .process {other.pid}"
        with pytest.raises(UserError, match=message) as caught, lock_run(run_dir):
            pass
        assert "\n" not in str(caught.value)
        # A process that is killed leaves no lock behind.
        other.kill()
        other.wait()
    with lock_run(run_dir):
        assert (run_dir / ".lock").read_text() == f"{os.getpid()}\n"
    with lock_run(run_dir):
        pass


def test_a_folder_that_can_t_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another folder"), lock_run(tmp_path / "file" / "run"):
        pass
