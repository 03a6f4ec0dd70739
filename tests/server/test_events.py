"""`GET /v1/events`: what happens to all videos of the caller, and to nobody else's."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import threading

import httpx
import pytest

from tests.fixtures import server
from tests.fixtures.server import ALICE, BOB

TIMEOUT_S, MAX_STREAMS = 60, 3


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder, keys = tmp_path_factory.mktemp("server"), {"KINEMA_API_KEYS": f"alice:{ALICE},bob:{BOB}"}
    settings = folder / "settings.toml"
    settings.write_text(f"[limits]\nmax_event_streams_per_owner = {MAX_STREAMS}\n")
    with server.running_server(folder / "data", "--settings", str(settings), env=keys) as process:
        yield process


@contextlib.contextmanager
def client(running, key):
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=running.url, headers=headers, timeout=TIMEOUT_S) as http:
        yield http


class Events:
    """An open event stream; `next` waits for events of a video."""

    def __init__(self, running, key):
        self._queue: queue.Queue[tuple[str, dict] | None] = queue.Queue()
        self._running, self._key = running, key
        self._response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._queue.get(timeout=TIMEOUT_S) == ("ready", {})
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self._response.extensions["network_stream"].get_extra_info("socket").shutdown(2)
        self._thread.join(TIMEOUT_S)

    def _read(self):
        name = ""
        with (
            contextlib.suppress(httpx.TransportError),
            client(self._running, self._key) as http,
            http.stream("GET", "/events", timeout=None) as response,
        ):
            self._response = response
            for line in response.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    self._queue.put((name, json.loads(value)))
        self._queue.put(None)

    def next(self):
        """The next event; None: the stream has ended."""
        return self._queue.get(timeout=TIMEOUT_S)

    def until(self, name, video):
        """Names of the events of a video, up to one."""
        names = []
        while not names or names[-1] != name:
            event = self.next()
            assert event is not None, names
            assert event[1]["id"] == video, (event, names)
            names.append(event[0])
        return names


def test_a_stream_tells_what_happens_to_the_caller_s_videos(running):
    with client(running, ALICE) as alice, client(running, BOB) as bob:
        earlier = alice.post("/videos", json={"prompt": "earlier", "num_inference_steps": 1}).json()["id"]
        server.wait_until(lambda: alice.get(f"/videos/{earlier}").json()["status"] == "completed")
        with Events(running, ALICE) as events, Events(running, BOB) as other:
            # Another owner's video comes first: its events would come first too.
            foreign = bob.post("/videos", json={"prompt": "bob's", "num_inference_steps": 1}).json()["id"]
            video = alice.post("/videos", json={"prompt": "pace=0.1", "num_inference_steps": 5}).json()["id"]
            names = events.until("completed", video)
            assert set(names) <= {"created", "progress", "preview", "completed"}
            assert "progress" in names
            assert set(other.until("completed", foreign)) <= {"created", "progress", "preview", "completed"}
            # A finished video whose labels change is sent again, with them.
            alice.patch(f"/videos/{video}", json={"favorite": True})
            name, data = events.next()
            assert (name, data["id"], data["kinema"]["favorite"]) == ("completed", video, True)
            alice.delete(f"/videos/{video}")
            assert events.next() == ("deleted", {"id": video})
            restored = alice.post(f"/videos/{video}/restore").json()["id"]
            assert events.until("completed", restored)
            waiting = alice.post("/videos", json={"prompt": "pace=1"}).json()["id"]
            alice.post(f"/videos/{waiting}/cancel")
            events.until("failed", waiting)


def test_streams_of_an_owner_are_counted_until_they_end(running):
    with client(running, ALICE) as alice, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(Events(running, ALICE)) for _ in range(MAX_STREAMS)]
        response = alice.get("/events")
        assert (response.status_code, response.json()["error"]["code"]) == (429, "too_many_streams")
        with Events(running, BOB):
            pass
        streams.pop().close()

        def opens() -> bool:
            with alice.stream("GET", "/events") as stream:
                return stream.status_code == 200

        server.wait_until(opens)


def test_a_stream_needs_a_key_and_ends_with_the_server(running):
    """The last test: it ends the server."""
    assert httpx.get(f"{running.url}/events").status_code == 401
    with Events(running, ALICE) as events:
        running.process.send_signal(signal.SIGTERM)
        assert events.next() is None
