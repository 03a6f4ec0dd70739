"""Control characters are a 400 that names the field, in every dialect and with every store."""

from __future__ import annotations

import hashlib
import json

import pytest
from starlette.testclient import TestClient

from kinema.server.errors import ApiError
from kinema.server.form_parsing import read_idempotency_key
from kinema.server.schemas.requests import CreateVideoRequest, validate_body
from tests.fixtures import server
from tests.fixtures.job_stores import STORES
from tests.fixtures.postgres import shared_server


@pytest.fixture(scope="module", params=STORES)
def client(request, tmp_path_factory):
    folder, database = tmp_path_factory.mktemp("server"), ""
    if request.param == "postgres":
        database = shared_server().url(f"text_{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}")
    callbacks = ("hooks.example.org",)
    with (
        server.in_process_server(folder / "data", database=database, callback_hosts=callbacks) as app,
        TestClient(app, base_url="http://localhost") as http,
    ):
        http.app_state = app.state.server
        yield http


def make(client, path: str, **body):
    return client.post(path, json={"prompt": "a ball", **body})


@pytest.mark.parametrize("text", ["\x00", "a\x00ball", "\x1b[2J", "\x7f", "\x9b2J", "\x0b", "\ud800"])
def test_prompts_with_control_characters_are_refused(client, text):
    for path, name in (
        ("/v1/videos", "prompt"), ("/v1/videos", "negative_prompt"), ("/v1/videos", "model"),
        ("/v1/videos/sync", "prompt"), ("/v1/videos/estimate", "prompt"), ("/v1/videos/estimate", "size"),
        ("/api/v1/videos", "prompt"), ("/fal/kinema/testcard", "prompt"),
        ("/fal/kinema/testcard", "negative_prompt"),
    ):  # fmt: skip
        body = json.dumps({"model": "testcard", "prompt": "a ball", name: text})
        response = client.post(path, content=body, headers={"content-type": "application/json"})
        assert response.status_code in (400, 422), (path, name, response.text)
        assert name in response.text
    assert client.app_state.store.all_ids() == set()


def test_other_texts_too(client):
    shots = [{"prompt": "a ball"}, {"prompt": "a\x00box", "seconds": 1}]
    for response, param in (
        (make(client, "/v1/videos", storyboard=shots, prompt="x"), "storyboard.1.prompt"),
        # As a form field that holds JSON, in which the character is escaped.
        (
            client.post("/v1/videos", data={"prompt": "x", "storyboard": json.dumps(shots)}),
            "storyboard.1.prompt",
        ),
        (client.post("/v1/videos", files={"prompt": (None, "a\x00ball")}), "prompt"),
        (make(client, "/v1/videos", size="64x64\x00"), "size"),
        (make(client, "/v1/videos", loras=[{"name": "\x00"}]), "loras.0.name"),
        (make(client, "/v1/videos", **{"unknown\x00": 1}), "unknown\x00"),
        (make(client, "/v1/videos/edits", video={"id": "\x00"}), "video.id"),
        (client.get("/v1/videos", params={"q": "\x00"}), "q"),
        (client.get("/v1/videos", params={"folder": "\x00"}), "folder"),
        (client.get("/v1/videos", params={"after": "\x00"}), "after"),
        (client.get("/v1/videos/video_%00"), None),
    ):
        assert response.status_code in (400, 404), response.text
        assert param is None or response.json()["error"]["param"] == param
    body = {"model": "testcard", "prompt": "x", "callback_url": "https://hooks.example.org/\x00"}
    assert client.post("/api/v1/videos", json=body).json()["error"]["param"] == "callback_url"
    response = client.post(
        "/fal/kinema/testcard?fal_webhook=https://hooks.example.org/%00", json={"prompt": "x"}
    )
    assert response.status_code in (400, 422)
    assert "fal_webhook" in response.text
    assert client.app_state.store.all_ids() == set()


def test_labels_too(client):
    video = make(client, "/v1/videos").json()["id"]
    response = client.patch(f"/v1/videos/{video}", json={"folder": "a\x00"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "folder")
    # Line breaks, tabs and every script stay.
    text = "a\tball\r\n\N{BLACK SUN WITH RAYS} \N{HEBREW LETTER ALEF}\N{ZERO WIDTH JOINER}\U0001f600"
    job = client.app_state.store.get(make(client, "/v1/videos", prompt=text).json()["id"], owner=None)
    assert job.prompt == text
    for one in (video, job.id):
        client.app_state.store.delete(one, owner=None, grace_s=0)
    client.app_state.store.remove(client.app_state.store.expired())


def test_idempotency_keys_are_printable():
    from starlette.requests import Request

    for key, is_allowed in ((b"a-1", True), (b"a\x00", False), (b"\x9b", False), (b"", False)):
        request = Request({"type": "http", "headers": [(b"idempotency-key", key)]})
        if is_allowed:
            assert read_idempotency_key(request) == "a-1"
            continue
        with pytest.raises(ApiError) as caught:
            read_idempotency_key(request)
        assert (caught.value.status, caught.value.param) == (400, "Idempotency-Key")


def test_the_message_says_which_character():
    with pytest.raises(ApiError, match=r"'prompt': it contains the control character U\+001B"):
        validate_body(CreateVideoRequest, {"prompt": "\x1b[2J"})
