"""Curation and encoding killed at random moments: the finished set has the bytes of an uninterrupted run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kinema.data.curation import CurationOptions, build_set
from kinema.data.media_item import ClipOptions
from kinema.data.selection import SelectionOptions
from kinema.media import write_video
from tests.fixtures.shots import FPS, shot

ROOT = Path(__file__).parents[2]
OPTIONS = CurationOptions(
    selection=SelectionOptions(clips=ClipOptions(frames=(17,), fps=12.0, resolutions=((96, 64),)))
)
NUM_KILLS = 10


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two dozen videos of one or two clips, some of them with captions."""
    folder = tmp_path_factory.mktemp("videos")
    for index in range(24):
        write_video(folder / f"{index:02}.mp4", shot(100 + index, 48 + 48 * (index % 2)), FPS)
        if index % 3:
            (folder / f"{index:02}.txt").write_text(f"caption {index}")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def build(videos, out):
    for _ in build_set([videos], out, OPTIONS):
        pass


def contents(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.suffix in (".parquet", ".safetensors") and not path.name.startswith(".")
    }


def run_and_kill(command, out, seed):
    """Kill a command's process group again and again, then let it finish; return the number of kills.

    Every second kill comes soon after a new file, so that the run gets on; the others come at any time.
    """
    random = np.random.default_rng(seed)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    kills = 0
    while kills < NUM_KILLS:
        before = len(contents(out))
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while kills % 2 and len(contents(out)) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        try:
            process.wait(timeout=float(random.uniform(0, 0.7 if kills % 2 else 10)))
            break  # It has finished before it could be killed.
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    subprocess.run(command, cwd=ROOT, check=True, env=environment, stdout=subprocess.DEVNULL)
    return kills


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_curation(workers, videos, tmp_path):
    build(videos, tmp_path / "whole")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "kinema", "data", "build", str(videos), "--out", str(out)]
    command += ["--frames", "17", "--fps", "12", "--resolution", "96x64", "--workers", str(workers)]
    assert run_and_kill(command, out, workers) >= 5
    assert contents(out) == contents(tmp_path / "whole")
    assert not list(out.rglob(".*.part*"))


@pytest.mark.slow
def test_killed_encoding(videos, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for out in (whole, killed):
        build(videos, out)
    command = [sys.executable, "-m", "tests.fixtures.encode_slowly"]
    subprocess.run([*command, str(whole), "0"], cwd=ROOT, check=True)
    assert run_and_kill([*command, str(killed), "0.15"], killed, 3) >= 5
    assert contents(killed) == contents(whole)
    assert len(contents(whole)) > 30
