"""Request bodies as `VideoRequest`: every field arrives in the job, and inputs are files in its folder."""

from __future__ import annotations

import base64
import dataclasses

import pytest
from starlette.testclient import TestClient

from kinema.pipeline.request import (
    EditInput,
    ExtendInput,
    InterpolateInput,
    VideoRequest,
)
from kinema.server.authentication import LOCAL_OWNER
from kinema.server.model_info import ModelInfo
from kinema.server.schemas.requests import (
    CreateVideoRequest,
    EditRequest,
    ExtendRequest,
    InterpolateRequest,
    RemixRequest,
)
from kinema.server.schemas.to_request import REMIX_STRENGTH, openai_to_request
from tests.fixtures import server

IMAGE = {"image_url": "data:image/png;base64," + base64.b64encode(server.image_bytes(40, 30)).decode()}
OPTIONS = {
    "seed": 5,
    "fps": 12.0,
    "num_inference_steps": 7,
    "guidance_scale": 2.5,
    "flow_shift": 4.0,
    "negative_prompt": "rain",
    "upscale": 2,
}


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
    return wait_until_finished(client, submit(client, "/v1/videos", prompt="a ball", seconds="2", seed=9))


def limited_model(*, supports_images: bool) -> ModelInfo:
    """A model without tasks for videos."""
    return ModelInfo(
        name="limited",
        width=64,
        height=64,
        size_multiple=16,
        num_frames=17,
        fps=8.0,
        temporal_stride=4,
        num_inference_steps=10,
        guidance_scale=1.0,
        supports_images=supports_images,
    )


def submit(client, path: str, **body) -> dict:
    response = client.post(path, json={"prompt": "x", **body})
    assert response.status_code == 200, response.text
    return response.json()


def wait_until_finished(client, video: dict) -> dict:
    def finished():
        now = client.get(f"/v1/videos/{video['id']}").json()
        return now if now["status"] in ("completed", "failed") else None

    done = server.wait_until(finished)
    assert done["status"] == "completed", done["error"]
    return done


def job_request(app, video: dict) -> VideoRequest:
    job = app.state.server.store.get(video["id"], owner=LOCAL_OWNER)
    assert job is not None
    return job.request


def test_every_option_arrives_in_the_request(app, client):
    video = submit(client, "/v1/videos", size="64x64", seconds="1", loop=True, **OPTIONS)
    request = job_request(app, video)
    assert (
        request.to_dict()
        == VideoRequest(prompt="x", size=(64, 64), seconds=1.0, loop=True, **OPTIONS).to_dict()
    )
    assert (video["kinema"]["width"], video["kinema"]["height"]) == (128, 128)
    assert (video["size"], video["kinema"]["task"], video["kinema"]["seed"]) == ("128x128", "generate", 5)


def test_images_keyframes_and_shots_are_files_in_the_job_s_folder(app, client):
    video = submit(
        client,
        "/v1/videos",
        prompt="pace=5",
        seconds="4",
        input_reference=IMAGE,
        last_image=IMAGE,
        keyframes=[{"seconds": 1.5, "image": IMAGE}, {"seconds": 2, "image": IMAGE}],
    )
    request = job_request(app, video)
    assert (request.image, request.last_image) == ("input_reference.png", "last_image.png")
    assert [(keyframe.seconds, keyframe.image) for keyframe in request.keyframes] == [
        (1.5, "keyframes-0-image.png"),
        (2.0, "keyframes-1-image.png"),
    ]
    folder = app.state.server.files.job_dir(video["id"])
    assert {path.name for path in folder.iterdir()} >= set(request.files())
    client.delete(f"/v1/videos/{video['id']}")
    shots = [
        {"prompt": "a ball"},
        {"prompt": "a cube", "seconds": 2, "transition": "blend", "image": IMAGE},
    ]
    request = job_request(app, submit(client, "/v1/videos", storyboard=shots))
    assert request.prompt == ""
    assert [(shot.prompt, shot.seconds, shot.transition, shot.image) for shot in request.storyboard] == [
        ("a ball", 0.0, "cut", None),
        ("a cube", 2.0, "blend", "storyboard-1-image.png"),
    ]


def test_keyframes_and_masks_arrive_in_multipart_bodies(app, client, source):
    files = {
        "prompt": (None, "x"),
        "keyframes[0][seconds]": (None, "0.5"),
        "keyframes[0][image]": ("a.png", server.image_bytes()),
    }
    request = job_request(app, client.post("/v1/videos", files=files).json())
    assert [(keyframe.seconds, keyframe.image) for keyframe in request.keyframes] == [
        (0.5, "keyframes-0-image.png")
    ]
    files = {
        "prompt": (None, "x"),
        "video[id]": (None, source["id"]),
        "mask": ("mask.png", server.image_bytes()),
    }
    request = job_request(app, client.post("/v1/videos/edits", files=files).json())
    assert isinstance(request.source, EditInput)
    assert (request.source.video, request.source.mask) == ("source-video.mp4", "mask.png")


def test_edits_and_remixes_have_the_options_of_their_source(app, client, source):
    edit = submit(
        client, "/v1/videos/edits", video={"id": source["id"]}, strength=0.4, flow_shift=3, mask=IMAGE
    )
    request = job_request(app, edit)
    assert (request.task, request.seed, request.flow_shift, request.seconds) == ("edit", 9, 3.0, None)
    assert isinstance(request.source, EditInput)
    assert (request.source.strength, request.source.mask) == (0.4, "mask.png")
    remix = submit(client, f"/v1/videos/{source['id']}/remix", num_inference_steps=4)
    request = job_request(app, remix)
    assert isinstance(request.source, EditInput)
    assert (request.seed, request.num_inference_steps, request.source.strength) == (9, 4, REMIX_STRENGTH)
    assert wait_until_finished(client, edit)["kinema"]["task"] == "edit"
    assert wait_until_finished(client, remix)["seconds"] == source["seconds"]


def test_extensions_and_interpolations_measure_the_new_part(app, client, source):
    video = {"id": source["id"]}
    extension = submit(client, "/v1/videos/extensions", video=video, seconds="1", backward=True)
    request = job_request(app, extension)
    assert (request.task, request.seconds, extension["seconds"]) == ("extend", 1.0, "3.125")
    assert isinstance(request.source, ExtendInput)
    assert (request.source.video, request.source.backward) == ("source-video.mp4", True)
    interpolation = submit(client, "/v1/videos/interpolations", video=video, next_video=video, seconds="1")
    request = job_request(app, interpolation)
    assert (request.task, request.seconds, interpolation["seconds"]) == ("interpolate", 1.0, "5.25")
    assert isinstance(request.source, InterpolateInput)
    assert (request.source.first, request.source.last) == ("source-video.mp4", "source-next_video.mp4")
    assert wait_until_finished(client, extension)["kinema"]["task"] == "extend"
    assert wait_until_finished(client, interpolation)["kinema"]["task"] == "interpolate"


def test_errors_name_the_parameter(client, source):
    video, missing = {"id": source["id"]}, {"id": "video_" + "0" * 32}
    for path, body, status, param in (
        ("/v1/videos", {"size": "63x64"}, 400, "size"),
        ("/v1/videos", {"model": "veo"}, 400, "model"),
        ("/v1/videos", {"seconds": "1000"}, 400, "seconds"),
        ("/v1/videos", {"num_inference_steps": 500}, 400, "num_inference_steps"),
        ("/v1/videos?strict=true", {"last_frame": IMAGE}, 400, "last_frame"),
        ("/v1/videos?strict=true", {"steps": 5}, 400, "steps"),
        ("/v1/videos", {"last_image": {"image_url": "data:,"}}, 400, "last_image"),
        ("/v1/videos/edits", {"video": missing}, 404, "video"),
        ("/v1/videos/edits", {"video": video, "mask": {"image_url": "data:,"}}, 400, "mask"),
        ("/v1/videos/extensions", {"video": video, "seconds": "500"}, 400, "seconds"),
        ("/v1/videos/interpolations", {"video": video, "next_video": missing}, 404, "next_video"),
    ):
        response = client.post(path, json={"prompt": "x", **body})
        assert response.status_code == status, response.text
        assert response.json()["error"]["param"] == param


def test_a_model_without_images_names_the_first_one(tmp_path):
    limited = limited_model(supports_images=False)
    with (
        server.in_process_server(tmp_path / "data") as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        server.publish_model(app, limited)
        for body, param in (
            ({"last_image": IMAGE}, "last_image"),
            ({"keyframes": [{"seconds": 0, "image": IMAGE}]}, "keyframes.0.image"),
            ({"upscale": 2}, "upscale"),
        ):
            response = client.post("/v1/videos", json={"prompt": "x", **body})
            assert (response.status_code, response.json()["error"]["param"]) == (400, param)
        entry = client.get("/v1/models").json()["data"][0]
        assert entry["kinema"]["tasks"] == []
        expected = dataclasses.asdict(limited)
        same = entry["kinema"].keys() & expected.keys() - {"tasks", "upscale_factors", "loras"}
        assert {name: entry["kinema"][name] for name in same} == {name: expected[name] for name in same}
        assert {"name", "width", "num_frames", "fps"} <= same


def test_a_model_that_can_t_edit_remixes_with_the_same_noise(tmp_path):
    with (
        server.in_process_server(tmp_path / "data") as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        store, files = app.state.server.store, app.state.server.files
        video = submit(client, "/v1/videos", seed=3, size="32x32", storyboard=[{"prompt": "a"}], fps=4)
        job = store.claim(store.register_worker(), "testcard", expired=(), max_attempts=3)
        assert job is not None
        (files.open_attempt(job.id, job.attempt) / "video.mp4").write_bytes(b"video")
        assert store.complete(job.id, job.attempt, files={}, retention_s=100, before_commit=lambda _: None)
        server.publish_model(app, limited_model(supports_images=True))
        remix = submit(client, f"/v1/videos/{video['id']}/remix", prompt="another", guidance_scale=3)
        before, request = job_request(app, video), job_request(app, remix)
        assert request.to_dict() == {**before.to_dict(), "guidance_scale": 3.0}
        assert (remix["prompt"], remix["remixed_from_video_id"]) == ("another", video["id"])


def test_bodies_map_onto_one_request_type():
    size, defaults = (64, 48), VideoRequest(seed=1, num_inference_steps=9)
    video = {"id": "video_1"}
    for body, source in (
        (CreateVideoRequest(prompt="x", seed=2), None),
        (EditRequest(prompt="x", seed=2, video=video), EditInput(video="a.mp4")),
        (RemixRequest(prompt="x", seed=2, strength=0.5), EditInput(video="a.mp4", strength=0.5)),
        (ExtendRequest(prompt="x", seed=2, seconds=1, video=video), ExtendInput(video="a.mp4")),
        (
            InterpolateRequest(prompt="x", seed=2, video=video, next_video=video),
            InterpolateInput(first="a.mp4", last="b.mp4"),
        ),
    ):
        request = openai_to_request(
            body, {"video": "a.mp4", "next_video": "b.mp4"}, size=size, seconds=1.0, defaults=defaults
        )
        expected = VideoRequest(
            prompt="x", size=size, seconds=1.0, seed=2, num_inference_steps=9, source=source
        )
        assert request.to_dict() == expected.to_dict()


def test_an_error_within_an_object_names_its_field(client):
    for body, param in (
        ({"video": {"id": 5}}, "video.id"), ({"video": 5}, "video"), ({"video": {"x": 5}}, "video"),
        ({"video": {"id": "x" * 101}}, "video.id"),
    ):  # fmt: skip
        response = client.post("/v1/videos/edits", json={"prompt": "x", **body})
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
