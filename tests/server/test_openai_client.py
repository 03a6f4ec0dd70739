"""The official client, unchanged and strict, against a server process: every call and every error."""

from __future__ import annotations

import base64
import io
import json

import httpx
import openai
import pytest

from kinema.media.read import read_video
from tests.fixtures import server
from tests.fixtures.server import ALICE, BOB

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    keys = {"KINEMA_API_KEYS": f"alice:{ALICE},bob:{BOB}"}
    with server.running_server(tmp_path_factory.mktemp("serve") / "data", env=keys) as server:
        yield server


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(
        api_key=ALICE, base_url=served.url, max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


@pytest.fixture(scope="module")
def finished(client):
    return client.videos.create_and_poll(
        prompt="a red ball", seconds="4", size="1280x720", poll_interval_ms=100
    )


def test_a_video_is_made_and_downloaded(client, finished, tmp_path):
    assert finished.status == "completed"
    assert finished.progress == 100
    assert (finished.model, finished.seconds, finished.size) == ("sora-2", "4", "1280x720")
    assert finished.error is None
    assert finished.completed_at >= finished.created_at
    assert finished.expires_at > finished.completed_at
    path = tmp_path / "film.mp4"
    client.videos.download_content(finished.id).write_to_file(path)
    film = read_video(path)
    assert len(film.frames) == 32
    height, width = film.frames.shape[1:3]
    assert width > height
    assert (width, height) == (finished.kinema["width"], finished.kinema["height"])


@pytest.mark.parametrize(
    ("variant", "kind", "head"),
    [
        ("video", "video/mp4", b"\0\0\0 ftyp"),
        ("thumbnail", "image/webp", b"RIFF"),
        ("spritesheet", "image/jpeg", b"\xff\xd8"),
    ],
)
def test_every_variant_comes_as_its_type(client, finished, variant, kind, head):
    answer = client.videos.with_raw_response.download_content(finished.id, variant=variant)
    assert answer.headers["content-type"] == kind
    assert answer.content.startswith(head)


def test_ranges_are_served(served, client, finished):
    whole = client.videos.download_content(finished.id).read()
    url = f"{served.url}/videos/{finished.id}/content"
    auth = {"authorization": f"Bearer {ALICE}"}
    part = httpx.get(url, headers={**auth, "range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == whole[10:20]
    beyond = httpx.get(url, headers={**auth, "range": f"bytes={len(whole)}-"})
    assert beyond.status_code == 416
    assert beyond.json()["error"]["message"]


def test_what_is_left_out_gets_the_contracts_defaults(client):
    video = client.videos.create(prompt="a ball")
    assert (video.model, video.seconds, video.size) == ("sora-2", "4", "720x1280")
    assert (video.status, video.progress) == ("queued", 0)


def test_under_its_own_name_the_model_has_its_own_defaults(served):
    with openai.OpenAI(api_key=ALICE, base_url=served.url) as client:
        video = client.videos.create(prompt="a ball", model="testcard")
    assert (video.model, video.seconds, video.size) == ("testcard", "2.125", "64x64")


@pytest.mark.parametrize("body", ["json", "multipart"])
def test_json_and_multipart_say_the_same(served, body):
    fields = {
        "prompt": "a ball", "seconds": "4", "size": "720x1280", "seed": "7", "steps": "3", "loop": "true",
        "guidance": "2.5", "negative_prompt": "rain",
    }  # fmt: skip
    auth = {"authorization": f"Bearer {ALICE}"}
    if body == "json":
        typed = {**fields, "seed": 7, "steps": 3, "loop": True, "guidance": 2.5}
        answer = httpx.post(f"{served.url}/videos", json=typed, headers=auth)
    else:
        answer = httpx.post(
            f"{served.url}/videos", files={k: (None, v) for k, v in fields.items()}, headers=auth
        )
    video = answer.json()
    assert answer.status_code == 200, video
    assert video["kinema"]["seed"] == 7
    assert (video["size"], video["seconds"]) == ("720x1280", "4")
    nullable = {"completed_at", "expires_at", "prompt", "remixed_from_video_id", "error"}
    assert nullable <= set(video)


def test_extra_fields_arrive_through_extra_body(client):
    storyboard = [{"prompt": "a ball"}, {"prompt": "a cube", "seconds": 2, "transition": "blend"}]
    video = client.videos.create(
        prompt="a ball", extra_body={"seed": 5, "steps": 2, "loop": True, "storyboard": storyboard}
    )
    assert video.kinema["seed"] == 5


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_images_are_detected_by_their_bytes(client, kind):
    given = server.image_bytes(kind=kind)
    assert client.videos.create(prompt="x", input_reference=given).status == "queued"


def test_images_may_be_data_urls(client):
    url = "data:image/png;base64," + base64.b64encode(server.image_bytes()).decode()
    video = client.videos.create(
        prompt="x", extra_body={"input_reference": {"image_url": url}, "last_frame": {"image_url": url}}
    )
    assert video.status == "queued"


def test_remix_edit_extend_and_connect(client, finished):
    remix = client.videos.remix(finished.id, prompt="a blue ball")
    assert remix.remixed_from_video_id == finished.id
    assert (remix.size, remix.seconds) == (finished.size, finished.seconds)

    def post(path, **body):
        return client.post(path, cast_to=type(finished), body={"prompt": "it rolls on", **body})

    given = {"id": finished.id}
    edit = post("/videos/edits", video=given)
    assert edit.remixed_from_video_id == finished.id
    extension = post("/videos/extensions", video=given, seconds="4")
    bridge = post("/videos/connections", video=given, next_video=given, seconds="4")
    assert (extension.seconds, bridge.seconds) == ("8", "12")
    for video in (remix, edit, extension, bridge):
        done = client.videos.poll(video.id, poll_interval_ms=100)
        assert done.status == "completed", done.error


@pytest.mark.skipif(not hasattr(openai.resources.Videos, "edit"), reason="this version of the client can't")
def test_videos_of_one_s_own_are_edited_and_extended(client, finished):
    content = client.videos.download_content(finished.id).read()
    edit = client.videos.edit(prompt="a blue ball", video=io.BytesIO(content))
    extension = client.videos.extend(prompt="it rolls on", seconds="4", video=content)
    assert (edit.seconds, extension.seconds) == ("4", "8")
    for video in (edit, extension):
        done = client.videos.poll(video.id, poll_interval_ms=100)
        assert done.status == "completed", done.error


def test_pages_go_on_where_the_last_one_ended_even_if_it_was_deleted(served):
    with openai.OpenAI(api_key=BOB, base_url=served.url, _strict_response_validation=True) as bob:
        made = [bob.videos.create(prompt=f"film {number}").id for number in range(7)]
        assert [video.id for video in bob.videos.list(limit=2)] == made[::-1]
        assert [video.id for video in bob.videos.list(limit=3, order="asc")] == made
        seen = []
        for video in bob.videos.list(limit=2):
            seen.append(video.id)
            gone = bob.videos.delete(video.id)
            assert (gone.id, gone.object, gone.deleted) == (video.id, "video.deleted", True)
        assert seen == made[::-1]
        page = bob.videos.list()
        assert (page.data, page.has_more, page.last_id) == ([], False, None)


def test_a_deleted_video_is_gone_with_its_files(served, client):
    video = client.videos.create_and_poll(prompt="short lived", poll_interval_ms=100)
    folder = served.data / "videos" / video.id
    assert {path.name for path in folder.iterdir()} == {"film.mp4", "thumbnail.webp", "spritesheet.jpg"}
    client.videos.delete(video.id)
    assert not folder.exists()
    for call in (client.videos.retrieve, client.videos.download_content, client.videos.delete):
        with pytest.raises(openai.NotFoundError):
            call(video.id)


def test_nobody_sees_the_videos_of_others(served, finished):
    with openai.OpenAI(api_key=BOB, base_url=served.url, max_retries=0) as bob:
        for call in (bob.videos.retrieve, bob.videos.download_content, bob.videos.delete):
            with pytest.raises(openai.NotFoundError):
                call(finished.id)
        with pytest.raises(openai.NotFoundError):
            bob.videos.remix(finished.id, prompt="x")
        assert finished.id not in [video.id for video in bob.videos.list()]


def test_without_a_key_nothing_is_answered(served):
    for key in ("wrong-key-0123456789", ALICE[:-1], ALICE + "x"):
        with (
            openai.OpenAI(api_key=key, base_url=served.url, max_retries=0) as nobody,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            nobody.videos.list()
        assert caught.value.code == "invalid_api_key"
    assert httpx.get(f"{served.url}/videos").status_code == 401
    assert httpx.get(f"{served.url}/nothing").status_code == 401
    assert httpx.get(served.url.removesuffix("/v1") + "/metrics").status_code == 401


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"prompt": "x", "model": "veo"}, None),
        ({"prompt": "x", "size": "63x64"}, None),
        ({"prompt": "x", "size": "99999x99999"}, None),
        ({"prompt": "x", "size": "wide"}, None),
        ({"prompt": "x", "seconds": "0"}, "seconds"),
        ({"prompt": "x", "seconds": "nan"}, "seconds"),
        ({"prompt": "x", "seconds": "1e9"}, "seconds"),
        ({"prompt": "x", "extra_body": {"steps": 0}}, "steps"),
        ({"prompt": "x", "extra_body": {"steps": 500}}, "steps"),
        ({"prompt": "x", "extra_body": {"seed": -1}}, "seed"),
        ({"prompt": "x", "extra_body": {"guidence": 3}}, "guidence"),
        ({"prompt": "x", "extra_body": {"storyboard": [{"prompt": "a", "seconds": 1}]}}, "storyboard"),
        ({"prompt": "x", "input_reference": b"no picture"}, None),
        (
            {"prompt": "x", "extra_body": {"input_reference": {"image_url": "https://example.org/a.png"}}},
            None,
        ),
        ({"prompt": "x", "extra_body": {"input_reference": {"image_url": "file:///etc/passwd"}}}, None),
    ],
)
def test_what_is_wrong_is_a_400_that_says_so(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.videos.create(**fields)
    error = caught.value
    assert set(error.body) == {"message", "type", "param", "code"}
    assert error.body["type"] == "invalid_request_error"
    assert error.body["param"] == param
    assert error.request_id
    assert "Traceback" not in error.message


def test_content_that_is_not_there_is_never_a_200(client):
    video = client.videos.create(prompt="pace=5 slow")
    with pytest.raises(openai.BadRequestError) as caught:
        client.videos.download_content(video.id)
    assert caught.value.response.headers["x-should-retry"] == "false"
    client.videos.delete(video.id)


def test_cancelling_and_events(served, client):
    video = client.videos.create(prompt="pace=0.2", extra_body={"steps": 100})
    auth = {"authorization": f"Bearer {ALICE}"}
    names, steps = [], []
    with httpx.stream("GET", f"{served.url}/videos/{video.id}/events", headers=auth, timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
            if line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                steps.append(data.get("step"))
                if names[-1] == "preview":
                    assert data["image"].startswith("data:image/webp;base64,")
                    httpx.post(f"{served.url}/videos/{video.id}/cancel", headers=auth)
    assert names[-1] == "failed"
    assert "preview" in names
    assert steps[-1] is None
    failed = client.videos.retrieve(video.id)
    assert (failed.status, failed.error.code) == ("failed", "cancelled")
    assert failed.progress < 100
    assert httpx.post(f"{served.url}/videos/{video.id}/cancel", headers=auth).status_code == 200


def test_a_request_that_kills_the_worker_fails_with_a_reason_and_nobody_else_suffers(served, client):
    deadly = client.videos.create(prompt="die=2")
    other = client.videos.create(prompt="a ball")
    failed = client.videos.poll(deadly.id, poll_interval_ms=200)
    assert (failed.status, failed.error.code) == ("failed", "worker_lost")
    server.wait_until(lambda: not list((served.data / "videos" / deadly.id).iterdir()))
    assert client.videos.poll(other.id, poll_interval_ms=100).status == "completed"


def test_an_idempotency_key_makes_one_video_of_a_repeated_request(served):
    auth = {"authorization": f"Bearer {ALICE}", "idempotency-key": "once"}
    first, second = (
        httpx.post(f"{served.url}/videos", json={"prompt": "once"}, headers=auth).json() for _ in range(2)
    )
    assert first["id"] == second["id"]
    other = httpx.post(f"{served.url}/videos", json={"prompt": "twice"}, headers=auth)
    assert other.status_code == 400
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    bob = httpx.post(
        f"{served.url}/videos", json={"prompt": "once"}, headers={**auth, "authorization": f"Bearer {BOB}"}
    )
    assert bob.json()["id"] != first["id"]


def test_models_health_metrics_and_document(served, client):
    assert [model.id for model in client.models.list()] == ["testcard", "sora-2", "sora-2-pro"]
    assert client.models.retrieve("sora-2").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("veo")
    base = served.url.removesuffix("/v1")
    assert httpx.get(f"{base}/healthz").json()["status"] == "ok"
    text = httpx.get(f"{base}/metrics", headers={"authorization": f"Bearer {ALICE}"}).text
    assert 'kinema_videos{status="completed"}' in text
    assert 'kinema_requests_total{method="POST",path="/v1/videos",status="200"}' in text
    paths = httpx.get(f"{base}/openapi.json").json()["paths"]
    assert {"/v1/videos", "/v1/videos/edits", "/v1/videos/extensions", "/v1/videos/{video_id}/remix"} <= set(
        paths
    )


def test_poll_after_header_is_plain_digits(client):
    answer = client.videos.with_raw_response.create(prompt="x")
    assert int(answer.headers["openai-poll-after-ms"]) > 0
