"""Two servers over one PostgreSQL database and one object store: what fails for a while loses no job."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import threading
import time

import pytest

from tests.fixtures.object_store import BUCKET, running_object_store
from tests.fixtures.postgres import PostgresServer, find_programs
from tests.fixtures.server import ALICE, start_server, wait_until, wait_until_ready

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        find_programs() is None
        or any(importlib.util.find_spec(name) is None for name in ("psycopg", "boto3", "moto", "flask_cors")),
        reason="needs a PostgreSQL server, psycopg, boto3 and moto's server",
    ),
]
OUTAGE_S = 30.0
HEADERS = {"authorization": f"Bearer {ALICE}"}


@pytest.fixture
def database():
    server = PostgresServer(durable=True)
    yield server
    server.remove()


@pytest.fixture
def object_store():
    with running_object_store() as store:
        yield store


class Client:
    """Submits videos to all servers in turn, each with a key until it is acknowledged."""

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls
        self.acknowledged: dict[str, str] = {}
        self.refusals: set[tuple[int, bool]] = set()
        self.unexpected: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        import httpx

        number = 0
        with httpx.Client(headers=HEADERS, timeout=60) as client:
            while not self._stop.is_set():
                key, tries = f"key-{number}", 0
                while key not in self.acknowledged:
                    url = self.urls[(number + tries) % len(self.urls)]
                    tries += 1
                    with contextlib.suppress(httpx.TransportError):
                        response = client.post(
                            f"{url}/videos", json={"prompt": f"a ball {number}", "seconds": 1},
                            headers={"idempotency-key": key},
                        )  # fmt: skip
                        if response.status_code == 200:
                            self.acknowledged[key] = response.json()["id"]
                        elif response.status_code == 503:
                            self.refusals.add((503, "retry-after" in response.headers))
                        else:
                            self.unexpected.append(f"{response.status_code}: {response.text}")
                            return
                    time.sleep(0.2)
                number += 1


def test_no_job_is_lost_when_a_server_the_database_and_the_object_store_fail(
    tmp_path, database, object_store
):
    import httpx

    env = {
        **object_store.env, "KINEMA_API_KEYS": f"alice:{ALICE}", "KINEMA_DATABASE": database.url(),
    }  # fmt: skip
    options = ("--storage", f"s3://{BUCKET}/test", "--workers", "1")
    servers = [start_server(tmp_path / name, *options, env=env) for name in ("one", "two")]
    try:
        for server in servers:
            wait_until_ready(server.url)
        with Client([server.url for server in servers]) as client:

            def more(number: int) -> None:
                target = len(client.acknowledged) + number
                wait_until(lambda: client.unexpected or len(client.acknowledged) >= target, 120)

            more(5)
            servers[0].kill()  # Its worker ends with it.
            more(5)
            database.stop("immediate")
            time.sleep(5)
            database.start()
            more(5)
            object_store.freeze()
            time.sleep(OUTAGE_S)
            object_store.thaw()
            more(5)
        assert client.unexpected == []
        assert client.refusals == {(503, True)}
        ids = set(client.acknowledged.values())
        assert len(ids) == len(client.acknowledged)

        def statuses() -> dict[str, str]:
            with httpx.Client(headers=HEADERS, timeout=60) as http:
                return {one: http.get(f"{servers[1].url}/videos/{one}").json()["status"] for one in ids}

        wait_until(lambda: set(statuses().values()) == {"completed"}, 600)
        for one in ids:
            response = httpx.get(f"{servers[1].url}/videos/{one}/content", headers=HEADERS, timeout=60)
            assert response.status_code == 200
            assert response.content[4:8] == b"ftyp"
        metrics = httpx.get(servers[1].url.removesuffix("/v1") + "/metrics", headers=HEADERS).text
        assert "kinema_store_up 1.0" in metrics
        assert f'kinema_videos{{status="completed"}} {len(ids)}.0' in metrics
        log = servers[1].log.read_text()
        assert "postgresql://" not in log
        print(f"{len(ids)} jobs; refusals {client.refusals}")
    finally:
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.process.pid, signal.SIGTERM)
            server.process.wait(60)
