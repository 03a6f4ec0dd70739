"""The official client against a server process: every call and every error.

Its types allow four sizes only. The server answers with the size that it generates, so the strict client is
used where one of the four is generated.
"""

from __future__ import annotations

import base64
import io
import json

import httpx
import openai
import psutil
import pytest

from kinema.media.read import read_video
from kinema.server.file_store import SERVED_FILES
from tests.fixtures import server
from tests.fixtures.server import ALICE, BOB

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    keys = {"KINEMA_API_KEYS": f"alice:{ALICE},bob:{BOB}"}
    folder = tmp_path_factory.mktemp("server")
    settings = folder / "settings.toml"
    settings.write_text("delete_grace_s = 0.0\n[limits]\nmax_frame_pixels = 1000000\n")
    with server.running_server(folder / "data", "--settings", str(settings), env=keys) as process:
        yield process


@pytest.fixture(scope="module")
def client(running):
    with openai.OpenAI(api_key=ALICE, base_url=running.url, max_retries=0) as openai_client:
        yield openai_client


@pytest.fixture(scope="module")
def strict_client(running):
    with openai.OpenAI(
        api_key=ALICE, base_url=running.url, max_retries=0, _strict_response_validation=True
    ) as openai_client:
        yield openai_client


@pytest.fixture(scope="module")
def finished_video(strict_client):
    return strict_client.videos.create_and_poll(
        prompt="a red ball", seconds="4", size="1280x720", poll_interval_ms=100
    )


@pytest.fixture(scope="module")
def small_video(client):
    """A source that takes little time to decode and encode."""
    return client.videos.create_and_poll(prompt="a red ball", poll_interval_ms=100)


def test_a_video_is_generated_and_downloaded(client, finished_video, tmp_path):
    assert finished_video.status == "completed"
    assert finished_video.progress == 100
    assert (finished_video.model, finished_video.size) == ("sora-2", "1280x720")
    assert finished_video.error is None
    assert finished_video.completed_at >= finished_video.created_at
    assert finished_video.expires_at > finished_video.completed_at
    path = tmp_path / "video.mp4"
    client.videos.download_content(finished_video.id).write_to_file(path)
    video = read_video(path)
    assert len(video.frames) == 33
    assert finished_video.seconds == "4.125"
    assert video.frames.shape[1:3] == (720, 1280)
    assert (finished_video.kinema["width"], finished_video.kinema["height"]) == (1280, 720)


@pytest.mark.parametrize(
    ("variant", "kind", "head"),
    [
        ("video", "video/mp4", b"\0\0\0 ftyp"),
        ("thumbnail", "image/webp", b"RIFF"),
        ("spritesheet", "image/jpeg", b"\xff\xd8"),
    ],
)
def test_every_variant_comes_as_its_type(client, finished_video, variant, kind, head):
    response = client.videos.with_raw_response.download_content(finished_video.id, variant=variant)
    assert response.headers["content-type"] == kind
    assert response.content.startswith(head)


def test_ranges_are_served(running, client, finished_video):
    whole = client.videos.download_content(finished_video.id).read()
    url = f"{running.url}/videos/{finished_video.id}/content"
    auth = {"authorization": f"Bearer {ALICE}"}
    part = httpx.get(url, headers={**auth, "range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == whole[10:20]
    beyond = httpx.get(url, headers={**auth, "range": f"bytes={len(whole)}-"})
    assert beyond.status_code == 416
    assert beyond.json()["error"]["message"]


def test_omitted_fields_have_the_api_s_defaults(client):
    video = client.videos.create(prompt="a ball")
    assert (video.model, video.seconds, video.size) == ("sora-2", "4.125", "64x64")
    assert (video.status, video.progress, video.warnings) == ("queued", 0, [])


def test_under_its_own_name_the_model_has_its_own_defaults(running):
    with openai.OpenAI(api_key=ALICE, base_url=running.url) as client:
        video = client.videos.create(prompt="a ball", model="testcard")
    assert (video.model, video.seconds, video.size) == ("testcard", "2.125", "64x64")


@pytest.mark.parametrize("body", ["json", "multipart"])
def test_json_and_multipart_are_equivalent(running, body):
    fields = {
        "prompt": "a ball", "seconds": "4", "size": "1024x1792", "seed": "7", "num_inference_steps": "3",
        "loop": "true", "guidance_scale": "2.5", "flow_shift": "4", "upscale": "2", "negative_prompt": "rain",
    }  # fmt: skip
    auth = {"authorization": f"Bearer {ALICE}"}
    if body == "json":
        typed = {
            **fields, "seed": 7, "num_inference_steps": 3, "loop": True, "guidance_scale": 2.5,
            "flow_shift": 4, "upscale": 2,
        }  # fmt: skip
        response = httpx.post(f"{running.url}/videos", json=typed, headers=auth)
    else:
        response = httpx.post(
            f"{running.url}/videos", files={k: (None, v) for k, v in fields.items()}, headers=auth
        )
    video = response.json()
    assert response.status_code == 200, video
    assert video["kinema"]["seed"] == 7
    # The size and length of the file, here upscaled by 2.
    assert (video["size"], video["seconds"]) == ("96x160", "4.125")
    assert video["warnings"] == [
        "size: 1024x1792 is generated as 48x80", "seconds: 4 s are generated as 4.125 s"
    ]  # fmt: skip
    nullable = {"completed_at", "expires_at", "prompt", "remixed_from_video_id", "error"}
    assert nullable <= set(video)


def test_extra_fields_arrive_through_extra_body(client):
    storyboard = [{"prompt": "a ball"}, {"prompt": "a cube", "seconds": 2, "transition": "blend"}]
    video = client.videos.create(
        prompt="a ball",
        extra_body={"seed": 5, "num_inference_steps": 2, "loop": True, "storyboard": storyboard},
    )
    assert video.kinema["seed"] == 5


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_images_are_detected_by_their_bytes(client, kind):
    image = server.image_bytes(kind=kind)
    assert client.videos.create(prompt="x", input_reference=image).status == "queued"


def test_images_may_be_data_urls(client):
    url = "data:image/png;base64," + base64.b64encode(server.image_bytes()).decode()
    video = client.videos.create(
        prompt="x", extra_body={"input_reference": {"image_url": url}, "last_image": {"image_url": url}}
    )
    assert video.status == "queued"


def test_remix_edit_extend_and_interpolate(client, small_video):
    remix = client.videos.remix(small_video.id, prompt="a blue ball")
    assert remix.remixed_from_video_id == small_video.id
    assert (remix.size, remix.seconds) == (small_video.size, small_video.seconds)

    def post(path, **body):
        return client.post(path, cast_to=type(small_video), body={"prompt": "it rolls on", **body})

    source = {"id": small_video.id}
    edit = post("/videos/edits", video=source)
    assert edit.remixed_from_video_id == small_video.id
    extension = post("/videos/extensions", video=source, seconds="4")
    interpolation = post("/videos/interpolations", video=source, next_video=source, seconds="4")
    assert (extension.seconds, interpolation.seconds) == ("8.125", "12.25")
    for video in (remix, edit, extension, interpolation):
        done = client.videos.poll(video.id, poll_interval_ms=100)
        assert done.status == "completed", done.error


@pytest.mark.skipif(
    not hasattr(openai.resources.Videos, "edit"), reason="this version of the client has no such call"
)
def test_uploaded_videos_are_edited_and_extended(client, small_video):
    content = client.videos.download_content(small_video.id).read()
    edit = client.videos.edit(prompt="a blue ball", video=io.BytesIO(content))
    extension = client.videos.extend(prompt="it rolls on", seconds="4", video=content)
    assert (edit.seconds, extension.seconds) == ("4.125", "8.125")
    for video in (edit, extension):
        done = client.videos.poll(video.id, poll_interval_ms=100)
        assert done.status == "completed", done.error


def test_pages_continue_after_the_last_video_even_if_it_was_deleted(running):
    with openai.OpenAI(api_key=BOB, base_url=running.url) as bob:
        ids = [bob.videos.create(prompt=f"video {number}").id for number in range(7)]
        assert [video.id for video in bob.videos.list(limit=2)] == ids[::-1]
        assert [video.id for video in bob.videos.list(limit=3, order="asc")] == ids
        listed = []
        for video in bob.videos.list(limit=2):
            listed.append(video.id)
            deleted = bob.videos.delete(video.id)
            assert (deleted.id, deleted.object, deleted.deleted) == (video.id, "video.deleted", True)
        assert listed == ids[::-1]
        page = bob.videos.list()
        assert (page.data, page.has_more, page.last_id) == ([], False, None)


def test_a_video_is_deleted_with_its_files(running, client):
    video = client.videos.create_and_poll(prompt="short lived", poll_interval_ms=100)
    folder = running.data / "videos" / video.id
    server.wait_until(lambda: {path.name for path in folder.glob("*/*")} == set(SERVED_FILES))
    client.videos.delete(video.id)
    server.wait_until(lambda: not folder.exists())
    for call in (client.videos.retrieve, client.videos.download_content, client.videos.delete):
        with pytest.raises(openai.NotFoundError):
            call(video.id)


def test_owners_do_not_see_the_videos_of_others(running, finished_video):
    with openai.OpenAI(api_key=BOB, base_url=running.url, max_retries=0) as bob:
        for call in (bob.videos.retrieve, bob.videos.download_content, bob.videos.delete):
            with pytest.raises(openai.NotFoundError):
                call(finished_video.id)
        with pytest.raises(openai.NotFoundError):
            bob.videos.remix(finished_video.id, prompt="x")
        assert finished_video.id not in [video.id for video in bob.videos.list()]


def test_requests_without_a_valid_key_are_401s(running):
    for key in ("wrong-key-0123456789", ALICE[:-1], ALICE + "x"):
        with (
            openai.OpenAI(api_key=key, base_url=running.url, max_retries=0) as nobody,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            nobody.videos.list()
        assert caught.value.code == "invalid_api_key"
    assert httpx.get(f"{running.url}/videos").status_code == 401
    assert httpx.get(f"{running.url}/nothing").status_code == 401
    assert httpx.get(running.url.removesuffix("/v1") + "/metrics").status_code == 401


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"prompt": "x", "model": "veo"}, "model"),
        ({"prompt": "x", "size": "63x64"}, "size"),
        ({"prompt": "x", "size": "99999x99999"}, "size"),
        ({"prompt": "x", "size": "wide"}, "size"),
        ({"prompt": "x", "seconds": "0"}, "seconds"),
        ({"prompt": "x", "seconds": "nan"}, "seconds"),
        ({"prompt": "x", "seconds": "1e9"}, "seconds"),
        ({"prompt": "x", "seconds": "500"}, "seconds"),
        ({"prompt": "x", "seconds": "100", "extra_body": {"fps": 100}}, "fps"),
        ({"prompt": "x", "extra_body": {"flow_shift": 0}}, "flow_shift"),
        ({"prompt": "x", "extra_body": {"upscale": 3}}, "upscale"),
        ({"prompt": "x", "size": "512x512", "extra_body": {"upscale": 4}}, "upscale"),
        ({"prompt": "x", "extra_body": {"keyframes": [{"seconds": 1}]}}, "keyframes.0.image"),
        (
            {"prompt": "x", "extra_body": {"keyframes": [{"seconds": 99, "image": {"image_url": "x"}}]}},
            "keyframes",
        ),
        (
            {"prompt": "x", "extra_body": {"keyframes": [{"seconds": 1, "image": {"image_url": "x"}}]}},
            "keyframes.0.image",
        ),
        (
            {
                "prompt": "x",
                "extra_body": {"storyboard": [{"prompt": "a", "image": {"image_url": "data:,"}}]},
            },
            "storyboard.0.image",
        ),
        ({"prompt": "x", "extra_body": {"num_inference_steps": 0}}, "num_inference_steps"),
        ({"prompt": "x", "extra_body": {"num_inference_steps": 500}}, "num_inference_steps"),
        ({"prompt": "x", "extra_body": {"seed": -1}}, "seed"),
        ({"prompt": "x", "extra_body": {"guidance": 3}, "extra_query": {"strict": True}}, "guidance"),
        ({"prompt": "x", "extra_body": {"guidance_scale_2": 3}}, "guidance_scale"),
        ({"prompt": "x", "extra_body": {"boundary_ratio": 0.5}}, "boundary_ratio"),
        ({"prompt": "x", "extra_body": {"aspect_ratio": "wide"}}, "aspect_ratio"),
        ({"prompt": "x", "extra_body": {"resolution": "8K"}}, "resolution"),
        ({"prompt": "x", "extra_body": {"storyboard": [{"prompt": "a", "seconds": 1}]}}, "storyboard"),
        ({"prompt": "x", "input_reference": b"no image"}, "input_reference"),
        (
            {"prompt": "x", "extra_body": {"input_reference": {"image_url": "https://example.org/a.png"}}},
            "input_reference",
        ),
        (
            {"prompt": "x", "extra_body": {"input_reference": {"image_url": "file:///etc/passwd"}}},
            "input_reference",
        ),
    ],
)
def test_invalid_requests_are_400s_that_name_the_parameter(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.videos.create(**fields)
    error = caught.value
    assert set(error.body) == {"message", "type", "param", "code"}
    assert error.body["type"] == "invalid_request_error"
    assert error.body["param"] == param
    assert error.request_id
    assert "Traceback" not in error.message


def test_content_of_an_unfinished_video_is_a_400(client):
    video = client.videos.create(prompt="pace=5 slow")
    with pytest.raises(openai.BadRequestError) as caught:
        client.videos.download_content(video.id)
    assert caught.value.response.headers["x-should-retry"] == "false"
    client.videos.delete(video.id)


def test_workers_leave_the_processor_to_the_server(running):
    """Where both need it: answers do not wait for videos."""
    process = psutil.Process(running.process.pid)
    (worker,) = process.children()
    assert worker.nice() > process.nice()


def test_cancelling_and_events(running, client):
    video = client.videos.create(prompt="pace=0.2", extra_body={"num_inference_steps": 100})
    auth = {"authorization": f"Bearer {ALICE}"}
    names, steps = [], []
    with httpx.stream("GET", f"{running.url}/videos/{video.id}/events", headers=auth, timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
            if line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                steps.append(data.get("step"))
                if names[-1] == "preview":
                    assert data["image"].startswith("data:image/webp;base64,")
                    httpx.post(f"{running.url}/videos/{video.id}/cancel", headers=auth)
    assert names[-1] == "failed"
    assert "preview" in names
    assert steps[-1] is None
    failed = client.videos.retrieve(video.id)
    assert (failed.status, failed.error.code) == ("failed", "cancelled")
    assert failed.progress < 100
    assert httpx.post(f"{running.url}/videos/{video.id}/cancel", headers=auth).status_code == 200


def test_a_job_that_crashes_workers_fails_and_other_jobs_complete(running, client):
    deadly = client.videos.create(prompt="die=2")
    other = client.videos.create(prompt="a ball")
    failed = client.videos.poll(deadly.id, poll_interval_ms=200)
    assert (failed.status, failed.error.code) == ("failed", "worker_lost")
    folder = running.data / "videos" / deadly.id
    server.wait_until(lambda: [path.name for path in folder.iterdir()] == ["job.json"])
    assert client.videos.poll(other.id, poll_interval_ms=100).status == "completed"


def test_an_idempotency_key_makes_one_video_of_a_repeated_request(running):
    auth = {"authorization": f"Bearer {ALICE}", "idempotency-key": "once"}
    first, second = (
        httpx.post(f"{running.url}/videos", json={"prompt": "once"}, headers=auth).json() for _ in range(2)
    )
    assert first["id"] == second["id"]
    other = httpx.post(f"{running.url}/videos", json={"prompt": "twice"}, headers=auth)
    assert other.status_code == 400
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    bob = httpx.post(
        f"{running.url}/videos", json={"prompt": "once"}, headers={**auth, "authorization": f"Bearer {BOB}"}
    )
    assert bob.json()["id"] != first["id"]


def test_models_health_metrics_and_document(running, client):
    assert [model.id for model in client.models.list()] == ["testcard", "sora-2", "sora-2-pro"]
    assert client.models.retrieve("sora-2").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("veo")
    base = running.url.removesuffix("/v1")
    assert httpx.get(f"{base}/healthz").json()["status"] == "ok"
    text = httpx.get(f"{base}/metrics", headers={"authorization": f"Bearer {ALICE}"}).text
    assert 'kinema_videos{status="completed"}' in text
    assert 'kinema_requests_total{method="POST",path="/v1/videos",status="200"}' in text
    paths = httpx.get(f"{base}/openapi.json").json()["paths"]
    assert {"/v1/videos", "/v1/videos/edits", "/v1/videos/extensions", "/v1/videos/{video_id}/remix"} <= set(
        paths
    )


def test_poll_after_header_is_plain_digits(client):
    response = client.videos.with_raw_response.create(prompt="x")
    assert int(response.headers["openai-poll-after-ms"]) > 0
