"""SIGTERM: a load balancer learns that the server ends, new jobs are refused, running ones are saved."""

from __future__ import annotations

import contextlib
import signal

import httpx
import pytest

from kinema.server.sqlite_store import SqliteJobStore
from tests.fixtures import server


@pytest.mark.slow
def test_a_server_drains_and_the_next_one_continues_its_job(tmp_path):
    (tmp_path / "kinema.toml").write_text("drain_s = 4.0\ncheckpoint_interval_s = 0.0\n")
    data, options = tmp_path / "data", ("--settings", str(tmp_path / "kinema.toml"))
    running = server.start_server(data, *options)
    server.wait_until_ready(running.url)
    base = running.url.removesuffix("/v1")
    with httpx.Client(timeout=30) as client:
        body = {"prompt": "pace=0.3", "seed": 1, "num_inference_steps": 60}
        video = client.post(f"{running.url}/videos", json=body).json()["id"]
        step = server.wait_until(lambda: client.get(f"{running.url}/videos/{video}").json()["kinema"]["step"])
        running.process.send_signal(signal.SIGTERM)
        not_ready = server.wait_until(
            lambda: (response := client.get(f"{base}/readyz")).status_code == 503 and response
        )
        assert not_ready.json()["error"]["code"] == "draining"
        assert "retry-after-ms" in not_ready.headers
        refused = client.post(f"{running.url}/videos", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert client.get(f"{running.url}/videos/{video}").status_code == 200
    assert running.process.wait(60) == 0
    with contextlib.closing(SqliteJobStore(data, durable=False)) as store:
        job = store.get(video, owner=None)
        assert job.status == "in_progress"
        assert job.attempt == ""
        assert job.checkpoint
        assert job.step >= step
        assert store.workers() == []
    with server.running_server(data, *options) as running:
        server.wait_until(
            lambda: httpx.get(f"{running.url}/videos/{video}").json()["kinema"]["step"] > job.step
        )
        assert httpx.post(f"{running.url}/videos/{video}/cancel").status_code == 200
