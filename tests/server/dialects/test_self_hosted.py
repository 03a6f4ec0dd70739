"""The dialect of vLLM-Omni, SGLang, FastVideo and LiteLLM: their documented requests, field by field."""

from __future__ import annotations

import base64
import json

import pytest
from starlette.testclient import TestClient

from tests.fixtures import server
from tests.server.test_requests import job_request, wait_until_finished

IMAGE_URL = "data:image/png;base64," + base64.b64encode(server.image_bytes(40, 30)).decode()
VLLM_TEXT = {
    # vLLM-Omni, examples/online_serving/text_to_video, at a size that the test card can make.
    "prompt": "Two anthropomorphic cats in comfy boxing gear fight intensely on a spotlighted stage.",
    "width": "64",
    "height": "48",
    "num_frames": "33",
    "negative_prompt": "色调艳丽，过曝",
    "fps": "16",
    "num_inference_steps": "5",
    "guidance_scale": "4.0",
    "guidance_scale_2": "3.0",
    "boundary_ratio": "0.875",
    "flow_shift": "12.0",
    "seed": "42",
    "user": "someone",
    "extra_params": '{"max_sequence_length": 512}',
}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with server.in_process_server(tmp_path_factory.mktemp("server") / "data", with_worker=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(app):
    with TestClient(app, base_url="http://localhost") as http:
        yield http


def create(client, body, *, path="/v1/videos", files=None, multipart=True):
    """A request as `curl -F` sends it, or as JSON."""
    if multipart:
        parts = {name: (None, value) for name, value in body.items()} | (files or {})
        response = client.post(path, files=parts)
    else:
        response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("multipart", [True, False])
def test_vllm_omni_s_fields_arrive_in_the_request(app, client, multipart):
    video = create(client, VLLM_TEXT, multipart=multipart)
    request = job_request(app, video)
    assert request.size == (64, 48)
    assert (request.num_frames, request.seconds, request.fps) == (33, None, 16.0)
    assert (request.guidance_scale, request.flow_shift, request.seed) == ((4.0, 3.0), 12.0, 42)
    assert (request.num_inference_steps, request.negative_prompt) == (5, VLLM_TEXT["negative_prompt"])
    assert (video["size"], video["seconds"]) == ("64x48", "2.062")
    assert sorted(video["kinema"]["ignored"]) == ["extra_params.max_sequence_length", "user"]
    done = wait_until_finished(client, video)
    assert done["kinema"]["ignored"] == []
    content = client.get(f"/v1/videos/{video['id']}/content")
    assert content.content[4:8] == b"ftyp"


def test_frames_are_rounded_and_the_answer_says_so(app, client):
    video = create(client, {"prompt": "a lake", "num_frames": "80", "fps": "16"})
    assert job_request(app, video).num_frames == 81
    assert video["seconds"] == "5.062"
    assert video["warnings"] == ["num_frames: 80 frames are generated as 81"]


def test_images_may_be_uploads_references_or_addresses(app, client):
    upload = {"input_reference": ("input.png", server.image_bytes())}
    for body, files in (
        ({"prompt": "x"}, upload),
        ({"prompt": "x", "image_reference": json.dumps({"image_url": IMAGE_URL})}, None),
        ({"prompt": "x", "image_reference": json.dumps([{"image_url": IMAGE_URL}])}, None),
        ({"prompt": "x", "reference_url": IMAGE_URL}, None),
        ({"prompt": "x", "input_reference": IMAGE_URL}, None),
    ):
        assert job_request(app, create(client, body, files=files)).image == "input_reference.png"
    body = {"prompt": "x", "image_reference": {"image_url": IMAGE_URL}}
    assert job_request(app, create(client, body, multipart=False)).image == "input_reference.png"


def test_a_video_reference_is_continued(app, client, tmp_path):
    data = server.video_bytes(tmp_path / "a.mp4")
    url = "data:video/mp4;base64," + base64.b64encode(data).decode()
    body = {"prompt": "it goes on", "num_frames": "8", "fps": "8", "width": "64", "height": "64"}
    for more, files in (
        ({"video_reference": json.dumps({"video_url": url})}, None),
        ({"video_url": url}, None),
        ({}, {"input_reference": ("input.mp4", data, "video/mp4")}),
    ):
        video = create(client, {**body, **more}, files=files)
        request = job_request(app, video)
        assert (request.task, request.seconds) == ("extend", 1.0)
        assert video["kinema"]["ignored"] == ["size"]
    assert wait_until_finished(client, video)["status"] == "completed"


def test_a_video_of_this_server_may_be_the_reference(app, client):
    first = wait_until_finished(client, create(client, {"prompt": "x", "seconds": "1"}))
    for reference in (
        {"id": first["id"]},
        {"video_url": f"http://localhost/v1/videos/{first['id']}/content"},
    ):
        video = create(client, {"prompt": "x", "video_reference": reference, "seconds": "1"}, multipart=False)
        assert job_request(app, video).task == "extend"


def test_sglang_s_and_fastvideo_s_bodies(app, client):
    body = {
        # SGLang merges extra_body on the server; FastVideo knows extra_json too.
        "prompt": "A calico cat playing a piano on stage",
        "size": "1280x720",
        "seconds": 2,
        "extra_body": {"fps": 16, "seed": 1024, "generator_device": "cuda", "enable_teacache": False},
        "extra_json": {"n": 1},
        "diffusers_kwargs": {"x": 1},
    }
    video = create(client, body, path="/v1/videos/generations", multipart=False)
    request = job_request(app, video)
    assert (request.fps, request.seed, request.seconds) == (16.0, 1024, 2.0)
    assert sorted(video["kinema"]["ignored"]) == ["diffusers_kwargs", "extra_body.generator_device"]
    # 1280x720 is more than this model generates: its own size in that aspect ratio, in answer and file.
    assert video["size"] == "80x48"
    assert video["warnings"][0] == "size: 1280x720 is generated as 80x48"
    done = wait_until_finished(client, video)
    from kinema.media.read import read_video

    path = app.state.server.files.path(app.state.server.store.get(done["id"], owner=None), "video.mp4")
    assert read_video(path).frames.shape[1:3] == (48, 80)
    assert len(read_video(path).frames) == 33


def test_aspect_ratios_and_resolutions(client):
    for body, size in (
        ({"aspect_ratio": "16:9"}, "80x48"),
        ({"aspect_ratio": "1:1"}, "64x64"),
        ({"aspect_ratio": "9:16"}, "48x80"),
        ({"aspect_ratio": "16:9", "resolution": "720p"}, "80x48"),
        ({"size": "64x32", "aspect_ratio": "2:1"}, "64x32"),
    ):
        assert create(client, {"prompt": "x", **body})["size"] == size


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"width": "64"}, "height"),
        ({"height": 64}, "width"),
        ({"width": "-64", "height": "64"}, "width"),
        ({"width": "1e9", "height": "64"}, "width"),
        ({"width": 64, "height": 64, "size": "32x32"}, "size"),
        ({"size": "64x64", "aspect_ratio": "16:9"}, "aspect_ratio"),
        ({"num_frames": 80, "seconds": 2}, "num_frames"),
        ({"num_frames": 0}, "num_frames"),
        ({"num_frames": 5000}, "seconds"),
        ({"boundary_ratio": 0.9}, "boundary_ratio"),
        ({"guidance_scale_2": 2}, "guidance_scale"),
        ({"generate_sound": True}, "generate_sound"),
        ({"generate_sound": "true"}, "generate_sound"),
        ({"audio_reference": '{"audio_url": "data:,"}'}, "audio_reference"),
        ({"true_cfg_scale": 4}, "true_cfg_scale"),
        ({"enable_frame_interpolation": True}, "enable_frame_interpolation"),
        ({"n": 2}, "n"),
        ({"num_outputs_per_prompt": 2}, "num_outputs_per_prompt"),
        ({"characters": [{"id": "c"}]}, "characters"),
        ({"extra_params": "{"}, "extra_params"),
        ({"extra_params": "[1]"}, "extra_params"),
        ({"extra_params": {"fps": "fast"}}, "extra_params.fps"),
        ({"fps": 8, "extra_params": {"fps": 9}}, "extra_params.fps"),
        ({"extra_params": {"generate_sound": True}}, "extra_params.generate_sound"),
        ({"image_reference": {"file_id": "f"}}, "image_reference"),
        ({"image_reference": [{"image_url": IMAGE_URL}] * 2}, "image_reference"),
        ({"image_reference": {"image_url": "https://example.org/a.png"}}, "image_reference"),
        ({"image_reference": {"image_url": IMAGE_URL}, "input_reference": IMAGE_URL}, "image_reference"),
        ({"video_reference": {"video_url": "https://example.org/a.mp4"}}, "video_reference"),
        ({"video_reference": {"video_url": "data:video/mp4;base64,!"}}, "video_reference"),
        ({"video_reference": {"video_url": "data:video/mp4;base64,AAAA"}}, "video_reference"),
        ({"video_reference": 7}, "video_reference"),
        ({"video_reference": {"id": "video_" + "0" * 32}, "input_reference": IMAGE_URL}, "video_reference"),
    ],
)
def test_what_is_impossible_is_a_400_that_names_the_field(client, body, param):
    response = client.post("/v1/videos", json={"prompt": "x", **body})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_a_model_with_one_expert_refuses_the_second_scale(tmp_path):
    from tests.server.test_requests import limited_model

    with (
        server.in_process_server(tmp_path / "data") as app,
        TestClient(app, base_url="http://localhost") as http,
    ):
        server.publish_model(app, limited_model(supports_images=True))
        for body, param in (
            ({"guidance_scale": 2, "guidance_scale_2": 2}, "guidance_scale_2"),
            ({"boundary_ratio": 0.875}, "boundary_ratio"),
        ):
            response = http.post("/v1/videos", json={"prompt": "x", **body})
            assert response.json()["error"]["param"] == param


def test_unknown_fields_are_listed_or_refused(client):
    body = {"prompt": "x", "guidance": 3, "storyboard": [{"prompt": "a", "mood": "calm"}]}
    video = create(client, body, multipart=False)
    assert sorted(video["kinema"]["ignored"]) == ["guidance", "storyboard.0.mood"]
    assert video["warnings"] == ["guidance: there is no such field (did you mean 'guidance_scale'?)"]
    response = client.post("/v1/videos?strict=true", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "unknown_parameter"


def test_a_control_video_has_the_dialect_s_names(app, client):
    """The test card has no control branch: the error says so, under the name that the client sent."""
    video = create(client, {"prompt": "a ball"}, multipart=False)
    body = {"prompt": "x", "control_reference": {"id": video["id"]}, "control_type": "canny"}
    response = client.post("/v1/videos", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "control_reference"
