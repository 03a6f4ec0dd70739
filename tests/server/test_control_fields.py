"""Recipes, step caches, control videos, references and expanded frames over HTTP."""

from __future__ import annotations

import base64

import pytest
from starlette.testclient import TestClient

from kinema.pipeline.request import ControlInput, EditInput
from kinema.server.authentication import LOCAL_OWNER
from kinema.server.model_info import ModelInfo
from tests.fixtures import server

IMAGE = {"image_url": "data:image/png;base64," + base64.b64encode(server.image_bytes(40, 30)).decode()}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with server.in_process_server(tmp_path_factory.mktemp("server") / "data", with_worker=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(app):
    with TestClient(app, base_url="http://localhost") as http:
        yield http


@pytest.fixture(scope="module")
def source(client):
    response = client.post("/v1/videos", json={"prompt": "a ball", "seconds": "2"})
    video = response.json()["id"]

    def finished():
        now = client.get(f"/v1/videos/{video}").json()
        return now if now["status"] in ("completed", "failed") else None

    assert server.wait_until(finished)["status"] == "completed"
    return video


def submit(client, app, path, **body):
    response = client.post(path, json={"prompt": "x", **body})
    assert response.status_code == 200, response.text
    job = app.state.server.store.get(response.json()["id"], owner=LOCAL_OWNER)
    return response.json(), job.request


def test_a_control_video_and_references_are_files_of_the_job(app, client, source):
    video, request = submit(
        client,
        app,
        "/v1/videos",
        control={"id": source},
        control_kind="edge",
        control_scale=0.5,
        references=[IMAGE, IMAGE],
        recipe="lightning-4",
        step_cache=0.1,
    )
    assert isinstance(request.control, ControlInput)
    assert (request.control.kind, request.control.scale) == ("edge", 0.5)
    assert len(request.references) == 2
    assert (request.recipe, request.step_cache) == ("lightning-4", 0.1)
    assert {"control", "references"} & video["kinema"]["settings"].keys() == set()


def test_an_expanded_video_is_larger_than_its_source(app, client, source):
    video, request = submit(client, app, "/v1/videos/edits", video={"id": source}, expand=[16, 0, 32, 16])
    assert isinstance(request.source, EditInput)
    assert (request.source.expand, request.source.strength) == ((16, 0, 32, 16), 1.0)
    width, height = request.size
    assert video["size"] == f"{width + 48}x{height + 16}"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/videos", {"recipe": "fastest"}, "recipe"),
        ("/v1/videos", {"step_cache": 0}, "step_cache"),
        ("/v1/videos", {"control_kind": "sketch"}, "control_kind"),
        ("/v1/videos", {"control_scale": 11}, "control_scale"),
        ("/v1/videos", {"references": [IMAGE] * 9}, "references"),
        ("/v1/videos/edits", {"expand": [1, 2, 3]}, "expand"),
        ("/v1/videos/edits", {"expand": [0, 0, 0, 0]}, "expand"),
        ("/v1/videos/edits", {"expand": [5, 0, 0, 0]}, "expand"),
        ("/v1/videos/edits", {"expand": [4096, 4096, 4096, 4096]}, "expand"),
        ("/v1/videos/edits", {"expand": [16, 0, 0, 0], "mask": IMAGE}, "expand"),
    ],
)
def test_values_that_are_not_possible_name_their_parameter(client, source, path, body, param):
    if path.endswith("edits"):
        body = {"video": {"id": source}, **body}
    response = client.post(path, json={"prompt": "x", **body})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"].split(".")[0] == param


def test_a_model_without_a_control_branch_says_what_has_one(tmp_path):
    plain = ModelInfo(
        name="plain", width=64, height=64, size_multiple=16, num_frames=17, fps=8.0, temporal_stride=4,
        num_inference_steps=10, guidance_scale=1.0, supports_images=True, tasks=("edit",),
    )  # fmt: skip
    with (
        server.in_process_server(tmp_path / "data") as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        server.publish_model(app, plain)
        for path, body, param in (
            ("/v1/videos", {"control": {"id": "video_1"}}, "control"),
            ("/v1/videos", {"references": [IMAGE]}, "references"),
            ("/v1/videos/edits", {"video": {"id": "video_1"}, "expand": [16, 0, 0, 0]}, "expand"),
        ):
            response = client.post(path, json={"prompt": "x", **body})
            assert (response.status_code, response.json()["error"]["param"]) == (400, param)
            assert "use Wan VACE" in response.json()["error"]["message"]
