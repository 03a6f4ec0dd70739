"""Workers on a Ray cluster of several nodes on this machine, with PostgreSQL and an S3 server."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.ray_tasks import RayTasks
from kinema.server.file_store import SERVED_FILES
from kinema.server.job_store import JobFilter
from kinema.server.settings import Settings
from tests.fixtures.server import ALICE, start_server, wait_until, wait_until_ready

needs_services = pytest.mark.skipif(
    not Path("/usr/lib/postgresql").is_dir()
    or any(importlib.util.find_spec(name) is None for name in ("ray", "psycopg", "boto3", "moto", "psutil")),
    reason="needs Ray, a PostgreSQL server, psycopg, boto3 and moto's server",
)
JOBS, DISTURBANCES, NODES = 200, 20, 3
VARIANTS = ((0, 12), (1, 12), (2, 12), (3, 400))
"""Seeds and steps. Videos of the last one take long enough to leave checkpoints."""
LONG_EVERY = 8
MIN_RESUMED_STEP = 100
HEADERS = {"authorization": f"Bearer {ALICE}"}
SETTINGS = """
checkpoint_interval_s = 0.2
lease_s = 5.0
[limits]
max_queued_per_owner = 2000
max_inference_steps = 1000
"""


class Run:
    """A server with its cluster, and what clients have seen."""

    def __init__(self, folder, cluster, database, object_store, model) -> None:
        self.cluster, self.database = cluster, database
        (folder / "kinema.toml").write_text(SETTINGS)
        env = {
            **object_store.env, "KINEMA_API_KEYS": f"alice:{ALICE}", "KINEMA_DATABASE": database.url(),
        }  # fmt: skip
        self.server = start_server(
            folder / "data", "--ray", cluster.address, "--storage", "s3://videos/ray", "--min-workers", "1",
            "--max-workers", str(NODES), "--settings", str(folder / "kinema.toml"), "--device", "cpu",
            model=str(model), env=env,
        )  # fmt: skip
        from kinema.server.postgres_store import PostgresJobStore

        self.store = PostgresJobStore(database.url())
        self.rng = random.Random(0)
        self.resumed: set[str] = set()
        self.variants: dict[str, int] = {}
        self.running: dict[str, tuple[str, int]] = {}
        self.attempts: dict[str, str] = {}
        self.done: Counter[str] = Counter()
        self.frozen: list[int] = []

    def jobs(self):
        return self.store.list_jobs(JobFilter(), limit=JOBS + 1).jobs

    def submit(self, http, number: int) -> None:
        variant = len(VARIANTS) - 1 if number % LONG_EVERY == 0 else number % (len(VARIANTS) - 1)
        response = http.post(f"{self.server.url}/videos", json=body_of(variant))
        assert response.status_code == 200, response.text
        self.variants[response.json()["id"]] = variant

    def disturb(self) -> None:
        for pid in self.frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.frozen = []
        (kind,) = self.rng.choices(("kill node", "kill worker", "kill actor", "freeze worker"), (7, 7, 3, 3))
        self.done[kind] += 1
        from tests.fixtures.ray_cluster import signal_one

        match kind:
            case "kill node":
                self.cluster.kill_node(self.rng)
            case "kill worker":
                signal_one(self.cluster.workers(), signal.SIGKILL, self.rng)
            case "kill actor":
                signal_one(self.cluster.actors(), signal.SIGKILL, self.rng)
            case "freeze worker":
                if pid := signal_one(self.cluster.workers(), signal.SIGSTOP, self.rng):
                    self.frozen.append(pid)

    def check(self) -> int:
        """How many jobs have ended; no video that a client has seen changes."""
        ended = 0
        for job in self.jobs():
            if job.status == "completed":
                assert self.attempts.setdefault(job.id, job.attempt) == job.attempt, "made twice"
            ended += job.is_finished
            if job.status == "in_progress" and job.attempt and job.checkpoint:
                folder, name = job.checkpoint.split("/")
                step = int(name.removeprefix("checkpoint-").removesuffix(".npz"))
                before, reached = self.running.get(job.id, (folder, 0))
                # From its first step an attempt would not be that far when it is first seen.
                if folder != before and step >= reached >= MIN_RESUMED_STEP:
                    self.resumed.add(job.id)
                self.running[job.id] = folder, step
        return ended

    def watch(self, seconds: float, *, until_checkpoint: bool = False) -> None:
        """Look at the jobs often: an attempt shows what it resumed from until it has its own checkpoint."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            if until_checkpoint and any(
                job.status == "in_progress" and job.checkpoint for job in self.jobs()
            ):
                return
            time.sleep(0.02)


def body_of(variant: int) -> dict[str, object]:
    """The request of a variant. Longer videos are streamed, and streams leave no checkpoints."""
    seed, steps = VARIANTS[variant]
    return {"prompt": "a red ball", "seed": seed, "num_frames": 5, "num_inference_steps": steps}


def undisturbed_videos(folder: Path, model: Path) -> list[str]:
    """SHA-256 of the video of each variant, from a server without Ray."""
    import httpx

    from tests.fixtures.server import running_server

    digests = []
    (folder / "kinema.toml").write_text(SETTINGS)
    options = ["--settings", str(folder / "kinema.toml"), "--device", "cpu"]
    with running_server(folder / "undisturbed", *options, model=str(model)) as server:
        for variant in range(len(VARIANTS)):
            video = httpx.post(f"{server.url}/videos", json=body_of(variant)).json()["id"]
            url = f"{server.url}/videos/{video}"
            wait_until(lambda url=url: httpx.get(url).json()["status"] == "completed")
            content = httpx.get(f"{url}/content").content
            digests.append(hashlib.sha256(content).hexdigest())
    assert len(set(digests)) == len(VARIANTS)
    return digests


def check_files(object_store, jobs, bucket: str) -> None:
    """The bucket has the files of completed videos, the records of all jobs, and nothing else."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=object_store.url, region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key="test",
    )  # fmt: skip
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = {entry["Key"] for page in pages for entry in page.get("Contents", ())}
    client.close()
    expected = set()
    for job in jobs:
        folder = f"ray/videos/{job.id}"
        expected.add(f"{folder}/job.json")
        if job.status == "completed":
            expected |= {f"{folder}/attempt-{job.attempt}/{name}" for name in SERVED_FILES}
            expected.add(f"{folder}/result.json")
    assert keys == expected, (sorted(keys - expected)[:10], sorted(expected - keys)[:10])


@needs_services
@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_nodes_and_workers_are_killed_and_every_job_ends_once(tmp_path):
    import httpx

    from tests.fixtures.object_store import BUCKET, running_object_store
    from tests.fixtures.postgres import PostgresServer
    from tests.fixtures.ray_cluster import ray_cluster
    from tests.fixtures.tiny_model import save_tiny_model

    model = save_tiny_model(tmp_path / "tiny", num_inference_steps=VARIANTS[0][1])
    expected = undisturbed_videos(tmp_path, model)
    database = PostgresServer()
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.callback(database.remove)
        object_store = stack.enter_context(running_object_store())
        os.environ.update(object_store.env)
        stack.callback(lambda: [os.environ.pop(name, None) for name in object_store.env])
        cluster = stack.enter_context(ray_cluster(NODES))
        run = Run(tmp_path, cluster, database, object_store, model)
        try:
            wait_until_ready(run.server.url)
            with httpx.Client(headers=HEADERS, timeout=60) as http:
                for number in range(JOBS):
                    run.submit(http, number)
            moments = sorted(run.rng.sample(range(3, JOBS - 10), DISTURBANCES))
            for moment in moments:
                wait_until(lambda moment=moment: run.check() >= moment, 1200)
                run.watch(run.rng.uniform(0, 1))
                run.watch(20, until_checkpoint=True)
                run.disturb()
                run.watch(8)
            wait_until(lambda: run.check() == JOBS, 1200)
            jobs = run.jobs()
            assert {job.id for job in jobs} == set(run.variants)
            assert {job.status for job in jobs} <= {"completed", "failed"}
            assert all(job.error_code == "worker_lost" for job in jobs if job.status == "failed")
            assert run.resumed
            for job in jobs:
                if job.status == "completed":
                    url = f"{run.server.url}/videos/{job.id}/content"
                    content = httpx.get(url, headers=HEADERS, timeout=60).content
                    assert hashlib.sha256(content).hexdigest() == expected[run.variants[job.id]]
        finally:
            for pid in run.frozen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            run.server.process.send_signal(signal.SIGTERM)
            run.server.process.wait(60)
            workers = run.store.workers()
            run.store.close()
        assert workers == []
        check_files(object_store, jobs, BUCKET)
    failed = sum(job.status == "failed" for job in jobs)
    print(
        f"\n{dict(run.done)}: {len(jobs)} jobs, {failed} failed, {len(run.resumed)} resumed, "
        f"{time.monotonic() - start:.0f} s"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "need a database and files that all nodes reach; give --database postgresql://"),
        ({"database": "postgresql://x/y"}, "need a database and files"),
        ({"min_workers": 0}, "from 0 to 8 workers is not possible; give 1 <= --min-workers"),
        ({"min_workers": 9}, "from 9 to 8 workers is not possible"),
        ({"ray_processes_per_video": 0}, "ray_processes_per_video is 1 or more"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, values, message):
    with pytest.raises(UserError, match=message):
        Settings(data_dir=tmp_path, ray="auto", **values)


def test_without_ray_a_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray needs packages.*pip install .*ray") as caught:
        list(RayTasks(address="auto").run(str, [1]))
    assert "\n" not in str(caught.value)
