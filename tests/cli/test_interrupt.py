"""Ctrl-C ends long commands soon, with what was finished kept, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.server import wait_until

pytestmark = pytest.mark.slow

Ready = Callable[[Path, list[str]], bool]
END_TIMEOUT_S = 60
"""Far below the time that the commands would take, also on a busy machine."""


def says(text: str) -> Ready:
    return lambda _, lines: any(text in line for line in lines)


def writes(pattern: str) -> Ready:
    return lambda folder, _: any(folder.glob(pattern))


def interrupt(folder: Path, arguments: list[str], ready: Ready) -> tuple[int, list[str]]:
    """Run a command, interrupt its process group as a terminal does; its exit code and output."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kinema", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        wait_until(lambda: ready(folder, lines) or process.poll() is not None, timeout_s=300)
        assert process.poll() is None, lines
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(END_TIMEOUT_S)
        wait_until(lambda: not _group_exists(process.pid))
    finally:
        if _group_exists(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join(10)
        process.stdout.close()
    return code, lines


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_generate_saves_its_state(tmp_path):
    arguments = ["generate", "a red ball", "--num-inference-steps", "190", "--out", "a.mp4", "--json"]
    code, lines = interrupt(tmp_path, arguments, says('"step"'))
    assert code == 130
    assert (tmp_path / "a.mp4.state").exists()
    assert not (tmp_path / "a.mp4").exists()
    assert "kinema resume" in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_a_stream_ends_without_a_file(tmp_path):
    arguments = ["generate", "a red ball", "--seconds", "100", "--out", "a.mp4", "--json"]
    code, lines = interrupt(tmp_path, arguments, says('"step"'))
    assert code == 130
    assert not list(tmp_path.glob("*.mp4"))
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "ready", "codes"),
    [
        (
            ["evaluate", "--model", "world", "--prompt-set", "dev", "--workers", "2", "--out", "scores"],
            writes("scores/**/*.mp4"),
            {130},
        ),
        (["dataset", "build", "--count", "5000", "--size", "64x64", "--out", "set"], writes("set/*"), {130}),
        (
            ["train", "full", "--out", "run", "--scale", "tiny", "--budget", "3600s"],
            writes("run/*/*"),
            {0, 130},
        ),
        (["serve", "--port", "0", "--data", "data", "--model", "testcard"], says("serving"), {0, 130}),
    ],
    ids=["evaluate", "dataset", "train", "serve"],
)  # fmt: skip
def test_long_commands_end_without_a_traceback(tmp_path, arguments, ready, codes):
    code, lines = interrupt(tmp_path, arguments, ready)
    assert code in codes, lines
    assert not any("Traceback" in line for line in lines), lines
