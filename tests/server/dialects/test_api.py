"""Kinema's own API beyond OpenAI's: blocking requests, everyday paths, library, models, warnings."""

from __future__ import annotations

import socket
import time

import httpx
import pytest

from kinema.pipeline.unknown_words import find_unknown_words
from kinema.server.backends.fake import FakeBackend
from kinema.server.dialects.self_hosted import parse_create
from kinema.server.routes.home import render_docs
from tests.fixtures import server
from tests.fixtures.server import ALICE

HEADERS = {"authorization": f"Bearer {ALICE}"}


@pytest.fixture(scope="module")
def client(host):
    with httpx.Client(base_url=host, headers=HEADERS, timeout=60) as http:
        yield http


def test_sync_answers_with_the_video(client):
    # vLLM-Omni: curl -X POST .../v1/videos/sync -F prompt=... -F width=854 ... -o output.mp4
    parts = {"prompt": "a robot", "width": "64", "height": "48", "num_frames": "9", "fps": "16"}
    response = client.post("/v1/videos/sync", files={name: (None, value) for name, value in parts.items()})
    assert (response.status_code, response.headers["content-type"]) == (200, "video/mp4")
    assert response.content[4:8] == b"ftyp"
    assert float(response.headers["x-inference-time-s"]) >= 0
    video = client.get(f"/v1/videos/{response.headers['x-video-id']}").json()
    assert (video["status"], video["size"], video["kinema"]["num_frames"]) == ("completed", "64x48", 9)


def test_sync_is_cancelled_when_the_client_leaves(client, host):
    body = b'{"prompt": "pace=0.1 left alone", "num_inference_steps": 150}'
    address, port = host.removeprefix("http://").split(":")
    with socket.create_connection((address, int(port))) as connection:
        connection.sendall(
            b"POST /v1/videos/sync HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer " + ALICE.encode() + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        video = server.wait_until(
            lambda: next(iter(client.get("/v1/videos", params={"q": "left alone"}).json()["data"]), None)
        )
        assert video["status"] in ("queued", "in_progress")

    def ended():
        now = client.get(f"/v1/videos/{video['id']}").json()
        return now if now["status"] == "failed" else None

    assert server.wait_until(ended, 20)["error"]["code"] == "cancelled"


def test_sync_errors_are_errors_and_not_videos(client):
    response = client.post("/v1/videos/sync", json={"prompt": "x", "size": "63x64"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "size")


def test_everyday_paths_need_no_key(host):
    home = httpx.get(f"{host}/").json()
    assert (home["name"], home["api"], home["studio"]) == ("Kinema", "/v1/videos", "/studio/")
    for path in ("/health", "/healthz"):
        assert httpx.get(host + path).json()["status"] == "ok"
    # Not ready while a worker starts again.
    ready = server.wait_until(lambda: httpx.get(f"{host}/readyz").json().get("model"))
    assert ready == "testcard"
    page = httpx.get(f"{host}/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "POST /v1/videos/sync" in page.text
    assert "<script" not in page.text
    assert "http" not in page.text.replace("https address", "")


def test_the_page_of_the_document_escapes_what_it_shows():
    operation = {"tags": ["a"], "description": "<b>", "parameters": [{"name": "<i>", "schema": {}}]}
    text = render_docs({"info": {}, "paths": {"/<x>": {"get": operation}}, "components": {"schemas": {}}})
    for tag in ("<b>", "<i>", "<x>"):
        assert tag not in text


def test_labels_folders_deleting_and_restoring(client):
    video = client.post("/v1/videos", json={"prompt": "an unusual zebra", "num_frames": 5}).json()
    path = f"/v1/videos/{video['id']}"
    assert client.patch(path, json={"favorite": True, "folder": "stripes"}).json()["kinema"]["favorite"]
    assert client.patch(path, json={"favorite": False}).json()["kinema"]["folder"] == "stripes"
    assert {"name": "stripes", "count": 1} in client.get("/v1/videos/folders").json()["data"]
    for query, found in (
        ({"q": "ZEBRA unusual"}, True), ({"q": "zebra horse"}, False), ({"folder": "stripes"}, True),
        ({"favorite": True}, False), ({"folder": "none"}, False),
    ):  # fmt: skip
        ids = [one["id"] for one in client.get("/v1/videos", params=query).json()["data"]]
        assert (video["id"] in ids) == found
    assert client.patch(path, json={"folder": None}).json()["kinema"]["folder"] is None
    response = client.patch(path, json={"stars": 5})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "stars")
    client.delete(path)
    assert client.get(path).status_code == 404
    deleted = client.get("/v1/videos", params={"deleted": True}).json()["data"]
    assert video["id"] in [one["id"] for one in deleted]
    assert client.post(f"{path}/restore").json()["id"] == video["id"]
    assert client.get(path).status_code == 200
    assert client.post("/v1/videos/video_x/restore").status_code == 404


def test_history_goes_back_over_several_videos(client):
    def finish(response):
        video = response.json()
        while video["status"] in ("queued", "in_progress"):
            time.sleep(0.05)
            video = client.get(f"/v1/videos/{video['id']}").json()
        return video

    first = finish(client.post("/v1/videos", json={"prompt": "a", "num_frames": 5}))
    reference = {"id": first["id"]}
    second = finish(
        client.post("/v1/videos/extensions", json={"prompt": "b", "video": reference, "seconds": 1})
    )
    third = finish(client.post(f"/v1/videos/{second['id']}/remix", json={"prompt": "c"}))
    history = client.get(f"/v1/videos/{third['id']}/history").json()
    assert [one["id"] for one in history["sources"]] == [second["id"], first["id"]]
    assert third["kinema"]["sources"] == [{"role": "remix", "id": second["id"]}]
    derived = client.get(f"/v1/videos/{first['id']}/history").json()["derived"]
    assert [one["id"] for one in derived] == [second["id"]]


def test_waiting_videos_have_a_place_and_settings(client):
    client.post("/v1/videos", json={"prompt": "x", "num_frames": 5, "seed": 1}).json()
    slow = client.post("/v1/videos", json={"prompt": "pace=0.2", "num_inference_steps": 100}).json()
    waiting = client.post("/v1/videos", json={"prompt": "x", "seed": 9, "num_frames": 5}).json()
    assert waiting["kinema"]["queue_position"] >= 1
    assert waiting["kinema"]["settings"]["seed"] == 9
    client.delete(f"/v1/videos/{slow['id']}")


def test_models_say_what_they_can_and_know(client):
    model = client.get("/v1/models/testcard").json()["kinema"]
    assert (model["num_experts"], model["max_seconds"], model["sizes"][0]) == (2, 120.0, "64x64")
    known = client.get("/v1/models/testcard/vocabulary").json()
    assert known["words"] is None
    assert find_unknown_words(known["examples"], ["ball"]).words


def test_words_that_the_model_does_not_know_are_a_warning(tmp_path):
    import dataclasses

    from starlette.testclient import TestClient

    with (
        server.in_process_server(tmp_path / "data") as app,
        TestClient(app, base_url="http://localhost") as http,
    ):
        info = dataclasses.replace(FakeBackend().model_info, vocabulary=("a", "red", "ball", "rolls"))
        store = app.state.server.store
        store.publish_model(store.register_worker(), "testcard", info)
        video = http.post("/v1/videos", json={"prompt": "a red marble rolls in a forest"}).json()
        assert "'marble' (try 'ball'), 'in', 'forest'" in video["warnings"][0]
        assert http.get(f"/v1/videos/{video['id']}").json()["warnings"] == video["warnings"]
        assert http.post("/v1/videos", json={"prompt": "a red ball rolls"}).json()["warnings"] == []


@pytest.mark.parametrize(
    "lora",
    [
        {"name": "style", "scale": 0.5},
        {"lora_name": "style", "lora_scale": 0.5, "lora_int_id": 3},
        '{"adapter": "style", "scale": 0.5}',
        {"path": "/models/style.safetensors", "strength": 0.5},
    ],
)
def test_the_lora_of_vllm_omni_becomes_one_of_ours(lora):
    parsed = parse_create({"prompt": "x", "lora": lora}, strict=True)
    assert [(one.name, one.strength) for one in parsed.body.loras] == [("style", 0.5)]


def test_a_job_that_fails_is_an_error_of_sync(client):
    """The last test here: the worker starts again three times."""
    response = client.post("/v1/videos/sync", json={"prompt": "die=1"})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "worker_lost")
    assert response.headers["x-should-retry"] == "false"
