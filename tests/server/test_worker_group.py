"""A worker of two processes: the videos of one, and an end together."""

from __future__ import annotations

import os
import socket
import subprocess

import httpx
import numpy as np
import pytest

from kinema.media.read import read_video
from kinema.server.worker_config import worker_command
from tests.fixtures import server
from tests.fixtures.tiny_model import save_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def start_group(data, model) -> list[subprocess.Popen[bytes]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = server.worker_config(data, model=str(model), attached=True)
    group = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            worker_command(config),
            stdin=subprocess.PIPE,
            env={**os.environ, **group, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]


def make(url: str, **values) -> str:
    body = {"prompt": "a red ball", "seed": 3, **values}
    return httpx.post(f"{url}/videos", json=body, timeout=60).raise_for_status().json()["id"]


def test_two_processes_make_the_videos_of_one(tmp_path):
    model = save_tiny_model(tmp_path / "tiny", num_inference_steps=4)

    def finished(url: str, video: str) -> np.ndarray:
        def state() -> dict:
            return httpx.get(f"{url}/videos/{video}", timeout=60).json()

        server.wait_until(lambda: state()["status"] not in ("queued", "in_progress"), 300)
        assert state()["status"] == "completed", state()
        path = tmp_path / f"{video}.mp4"
        path.write_bytes(httpx.get(f"{url}/videos/{video}/content", timeout=60).raise_for_status().content)
        return read_video(path).frames.astype(int)

    with server.running_server(tmp_path / "one", "--device", "cpu", model=str(model)) as running:
        expected = finished(running.url, make(running.url))
    running = server.start_server(tmp_path / "two", "--workers", "0", "--device", "cpu", model=str(model))
    processes = start_group(running.data, model)
    try:
        server.wait_until_ready(running.url)
        for _ in range(2):
            found = finished(running.url, make(running.url))
            assert found.shape == expected.shape
            # Compressed from frames that rounding may have moved across the border of two levels.
            assert np.abs(found - expected).mean() < 0.5
        # A cancelled video stops both, and the next one is made.
        cancelled = make(running.url, num_inference_steps=150)
        url = f"{running.url}/videos/{cancelled}"
        server.wait_until(lambda: httpx.get(url, timeout=60).json()["kinema"]["step"] > 1, 120)
        httpx.post(f"{url}/cancel", timeout=60)
        finished(running.url, make(running.url, seed=4))
        for process in processes:
            process.stdin.close()
        assert processes[0].wait(60) == 0
        assert processes[1].wait(60) == 0
    finally:
        for process in processes:
            process.kill()
        running.kill()
