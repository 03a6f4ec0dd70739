"""Live videos over HTTP, with the test card and a real server."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

import httpx
import pytest

from kinema.media.read import read_video
from tests.fixtures import server
from tests.fixtures.server import ALICE, BOB


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    keys = {"KINEMA_API_KEYS": f"alice:{ALICE},bob:{BOB}"}
    settings = tmp_path_factory.mktemp("settings") / "settings.toml"
    settings.write_text("[limits]\nmax_live_unwatched_s = 4\nmin_free_bytes = 0\n")
    data = tmp_path_factory.mktemp("live") / "data"
    with server.running_server(data, "--settings", str(settings), env=keys) as found:
        yield found


@pytest.fixture
def client(running) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {ALICE}"}
    with httpx.Client(base_url=running.url, headers=headers, timeout=60) as found:
        yield found
        for session in found.get("/live").json()["data"]:
            found.delete(f"/live/{session['id']}")


class Viewer:
    """Reads the events of a session in a thread."""

    def __init__(self, client: httpx.Client, live_id: str) -> None:
        self.events: list[tuple[str, dict]] = []
        self._client, self._path = client, f"/live/{live_id}/events"
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(httpx.HTTPError), self._client.stream("GET", self._path) as response:
            name = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.events.append((name, json.loads(line.removeprefix("data: "))))

    def frames(self, branch: int = 0) -> dict[int, str]:
        """All frames of a branch by number, as base64 JPEG."""
        found = {}
        for name, data in list(self.events):
            if name == "frames" and data["branch"] == branch:
                found |= dict(enumerate(data["images"], data["first"]))
        return found

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


def begin(client: httpx.Client, **fields) -> tuple[str, Viewer]:
    response = client.post("/live", json={"prompt": "a ball", **fields})
    assert response.status_code == 201, response.text
    live_id = response.json()["id"]
    return live_id, Viewer(client, live_id)


def test_a_live_video_from_its_first_frame_to_a_saved_file(client):
    live_id, viewer = begin(client, seed=5)
    server.wait_until(lambda: len(viewer.frames()) >= 9)
    changed = client.patch(f"/live/{live_id}", json={"prompt": "a cube"}).json()
    assert changed["prompt"] == "a cube"
    at = round(changed["shots"][-1]["seconds"] * changed["fps"])
    server.wait_until(lambda: at + 5 in viewer.frames())
    frames = viewer.frames()
    assert sorted(frames) == list(range(len(frames)))
    assert frames[at] != frames[at - 1]

    paused = client.patch(f"/live/{live_id}", json={"paused": True}).json()
    assert paused["status"] == "paused"
    one = client.get(f"/live/{live_id}/frames/2")
    assert (one.status_code, one.headers["content-type"]) == (200, "image/jpeg")
    assert client.get(f"/live/{live_id}/frames/100000").status_code == 404

    back = client.patch(f"/live/{live_id}", json={"frame": 6, "paused": False, "prompt": "a cone"}).json()
    assert (back["branch"], back["prompt"], back["shots"][-1]["seconds"]) == (1, "a cone", 5 / 8)
    server.wait_until(lambda: len(viewer.frames(1)) >= 9)
    # The past before the branch is shared, and the first branch stays as it was.
    assert min(viewer.frames(1)) == 5
    again = client.get(f"/live/{live_id}").json()
    assert again["branches"][0]["frames"] == paused["frames"]

    video = client.post(f"/live/{live_id}/save", json={"branch": 0, "first_frame": 4}).json()
    path = f"/videos/{video['id']}"
    done = server.wait_until(
        lambda: (now := client.get(path).json())["status"] in ("completed", "failed") and now
    )
    assert done["status"] == "completed", done
    shots = done["kinema"]["settings"]["storyboard"]
    assert [shot["prompt"] for shot in shots] == ["a ball", "a cube"]
    assert shots[1]["seconds"] == (at - 4) / 8
    file = client.get(f"{path}/content")
    assert file.status_code == 200
    assert done["kinema"]["num_frames"] == paused["frames"] - 4

    ended = client.delete(f"/live/{live_id}").json()
    assert ended["status"] == "ended"
    viewer.join()
    assert viewer.events[-1][1]["status"] == "ended"
    assert (
        client.patch(f"/live/{live_id}", json={"paused": True}).json()["error"]["code"] == "live_not_running"
    )


def test_the_saved_file_has_as_many_frames_as_were_seen(client, tmp_path):
    live_id, viewer = begin(client)
    server.wait_until(lambda: len(viewer.frames()) >= 13)
    video = client.post(f"/live/{live_id}/save", json={"num_frames": 7}).json()
    server.wait_until(lambda: client.get(f"/videos/{video['id']}").json()["status"] == "completed")
    target = tmp_path / "saved.mp4"
    target.write_bytes(client.get(f"/videos/{video['id']}/content").content)
    assert read_video(target).frames.shape == (7, 64, 64, 3)


def test_limits_owners_and_errors(client, running):
    live_id, _ = begin(client)
    second = client.post("/live", json={"prompt": "x"})
    assert (second.status_code, second.json()["error"]["code"]) == (409, "live_exists")
    bob = {"authorization": f"Bearer {BOB}"}
    other = client.post("/live", json={"prompt": "x"}, headers=bob)
    assert (other.status_code, other.json()["error"]["code"]) == (429, "live_busy")
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/events"), ("POST", "/save")):
        found = client.request(
            method, f"/live/{live_id}{path}", headers=bob,
            json=None if method in ("GET", "DELETE") else {"paused": True} if method == "PATCH" else {},
        )  # fmt: skip
        assert found.status_code == 404, (method, path)
    assert client.get("/live", headers=bob).json()["data"] == []
    assert httpx.post(f"{running.url}/live", json={"prompt": "x"}).status_code == 401
    server.wait_until(lambda: client.get(f"/live/{live_id}").json()["frames"] >= 1)
    for fields, param in (
        ({"frame": 100000}, "frame"),
        ({"frame": 1, "branch": 7}, "branch"),
        ({"prompt": ""}, "prompt"),
        ({"speed": 2}, "speed"),
    ):
        refused = client.patch(f"/live/{live_id}", json=fields)
        assert refused.status_code == 400, fields
        assert refused.json()["error"]["param"] == param
    refused = client.post(f"/live/{live_id}/save", json={"first_frame": 100000})
    assert refused.json()["error"]["param"] == "first_frame"


def test_a_session_that_nobody_watches_ends_and_leaves_no_files(client, running):
    live_id = client.post("/live", json={"prompt": "a ball"}).json()["id"]
    server.wait_until(lambda: client.get(f"/live/{live_id}").json()["status"] == "ended")
    assert "watched" in client.get(f"/live/{live_id}").json()["error"]["message"]
    server.wait_until(lambda: not list((running.data / "live").iterdir()))


def test_the_worker_makes_ordinary_videos_afterwards(client):
    live_id, viewer = begin(client)
    server.wait_until(viewer.frames)
    video = client.post("/videos", json={"prompt": "a ball"}).json()
    client.delete(f"/live/{live_id}")
    server.wait_until(lambda: client.get(f"/videos/{video['id']}").json()["status"] == "completed")
