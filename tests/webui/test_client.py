"""The client of the HTTP API against a server in memory."""

from pathlib import Path

import pytest
from PIL import Image

httpx = pytest.importorskip("httpx")

from kinema.errors import UserError  # noqa: E402
from kinema.pipeline.request import Keyframe, Shot, VideoRequest  # noqa: E402
from kinema.webui.client import Client  # noqa: E402
from tests.webui.fake_server import FakeServer  # noqa: E402


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setattr("kinema.webui.client._RECONNECT_DELAY", 0.0)
    with Client("http://server/v1/", transport=server.transport()) as client:
        yield client


def test_follow_until_final_status(client, server, tmp_path):
    created = client.create(VideoRequest(prompt="a red ball", size=(80, 48), seconds=2.125, seed=3))
    assert (created.status, created.seed) == ("queued", 3)
    states = list(client.follow(created.id))
    assert [video.status for video in states] == ["queued"] + ["in_progress"] * 9 + ["completed"]
    assert [video.progress for video in states] == sorted(video.progress for video in states)
    assert states[2].preview is not None
    assert states[2].preview[:4] == b"RIFF"
    assert states[-1].progress == 100
    assert all(video.prompt == "a red ball" for video in states)
    assert client.download(created.id, tmp_path / "video.mp4").read_bytes() == b"video"
    assert client.content(created.id, "thumbnail")[:4] == b"RIFF"


def test_unset_fields_are_not_sent(client, server):
    client.create(VideoRequest(prompt="a"))
    assert server.bodies[-1] == ("/videos", {"prompt": "a", "seed": 0})


def test_all_fields_use_the_api_names(client, server, tmp_path):
    path = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(path)
    client.create(
        VideoRequest(
            prompt="a", size=(64, 48), seconds=3.5, seed=0, fps=8.0, num_inference_steps=7,
            guidance_scale=2.5, flow_shift=3.0, negative_prompt="rain", image=path, last_image=path,
            loop=True, upscale=2,
            keyframes=(Keyframe(seconds=1.0, image=path),),
            storyboard=(Shot(prompt="b"), Shot(prompt="c", seconds=1.0, transition="blend", image=path)),
        )
    )  # fmt: skip
    body = server.bodies[-1][1]
    url = body["input_reference"]["image_url"]
    assert url.startswith("data:image/png;base64,")
    assert body == {
        "prompt": "a", "size": "64x48", "seconds": "3.5", "seed": 0, "fps": 8.0, "num_inference_steps": 7,
        "guidance_scale": 2.5, "flow_shift": 3.0, "negative_prompt": "rain", "upscale": 2, "loop": True,
        "input_reference": {"image_url": url}, "last_image": {"image_url": url},
        "keyframes": [{"seconds": 1.0, "image": {"image_url": url}}], "storyboard": [
            {"prompt": "b", "seconds": 0.0, "transition": "cut"},
            {"prompt": "c", "seconds": 1.0, "transition": "blend", "image": {"image_url": url}},
        ],
    }  # fmt: skip


def test_bodies_validate_against_server_schemas(client, server, tmp_path):
    """The bodies of the client are valid for the schemas of the real server."""
    pytest.importorskip("pydantic")
    requests = pytest.importorskip("kinema.server.schemas.requests")
    path = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(path)
    request = VideoRequest(
        prompt="a", size=(64, 48), seconds=3.5, seed=0, fps=8.0, num_inference_steps=7, guidance_scale=2.5,
        flow_shift=3.0, negative_prompt="rain", image=path, last_image=path, loop=True, upscale=2,
        keyframes=(Keyframe(seconds=1.0, image=path),),
        storyboard=(Shot(prompt="b", image=path), Shot(prompt="c", seconds=1.0)),
    )  # fmt: skip
    video_id = client.create(request).id
    client.remix(video_id, "b")
    client.extend(video_id, "c", 2.0, backward=True)
    client.interpolate(video_id, video_id, "d")
    schemas = [
        requests.CreateVideoRequest,
        requests.RemixRequest,
        requests.ExtendRequest,
        requests.InterpolateRequest,
    ]
    for (_, body), schema in zip(server.bodies, schemas, strict=True):
        requests.validate_body(schema, body)


def test_task_endpoints(client, server):
    video_id = client.create(VideoRequest(prompt="a")).id
    client.remix(video_id, "b")
    client.extend(video_id, "c", 2.0, backward=True)
    client.interpolate(video_id, video_id, "d")
    assert server.bodies[1:] == [
        (f"/videos/{video_id}/remix", {"prompt": "b"}),
        ("/videos/extensions", {"video": {"id": video_id}, "prompt": "c", "seconds": "2", "backward": True}),
        (
            "/videos/interpolations",
            {"video": {"id": video_id}, "next_video": {"id": video_id}, "prompt": "d"},
        ),
    ]


def test_cancel_list_and_delete(client):
    first, second = (client.create(VideoRequest(prompt=prompt)).id for prompt in "ab")
    assert client.cancel(first).cancelled
    assert [video.id for video in client.list_videos()] == [second, first]
    client.delete(first)
    assert [video.id for video in client.list_videos()] == [second]
    with pytest.raises(UserError, match="There is no video"):
        client.retrieve(first)


def test_broken_stream_reconnects(client, server):
    server.num_broken_streams = 3
    video_id = client.create(VideoRequest(prompt="a")).id
    assert list(client.follow(video_id))[-1].status == "completed"


def test_silent_stream_gives_up(client, server, monkeypatch):
    monkeypatch.setattr(FakeServer, "_events", lambda *_: "")
    video_id = client.create(VideoRequest(prompt="a")).id
    with pytest.raises(UserError, match="stopped sending events"):
        list(client.follow(video_id))


def test_deleted_video_ends_the_stream(client, server, monkeypatch):
    monkeypatch.setattr(FakeServer, "_events", lambda *_: 'event: deleted\ndata: {"id": "x"}\n\n')
    video_id = client.create(VideoRequest(prompt="a")).id
    assert list(client.follow(video_id))[-1].error == "The video was deleted."


def test_cost_estimate_and_model_info(client):
    info = client.model_info()
    assert (info.name, info.width, info.height, info.size_multiple) == ("fake", 64, 48, 16)
    assert info.tasks == ("edit", "extend", "interpolate")
    estimate = client.estimate(VideoRequest(prompt="a"))
    assert (estimate.seconds, estimate.peak_memory, estimate.fits) == (90.0, 2**31, True)


def _connection_refused(request):
    raise httpx.ConnectError("refused")


def _read_timeout(request):
    raise httpx.ReadTimeout("slow")


@pytest.mark.parametrize(
    ("response", "line"),
    [
        (_connection_refused, "can't reach the server at http://server; is `kinema serve` running there"),
        (_read_timeout, "does not answer in time"),
        (lambda _: httpx.Response(200, text="<html>"), "does not implement the Videos API"),
        (lambda _: httpx.Response(200, json=[1]), "does not implement the Videos API"),
        (lambda _: httpx.Response(200, json={"id": 1}), "does not implement the Videos API"),
        (lambda _: httpx.Response(502, text="<html>"), "answered 502 without an error message"),
        (lambda _: httpx.Response(429, json={"error": {"message": "The queue is full."}}), "queue is full"),
    ],
)  # fmt: skip
def test_errors_are_one_line(response, line):
    with (
        Client("http://server", transport=httpx.MockTransport(response)) as client,
        pytest.raises(UserError, match=line) as caught,
    ):
        client.retrieve("video_1")
    assert "\n" not in str(caught.value)


def test_foreign_server_is_rejected(server):
    other = httpx.MockTransport(lambda _: httpx.Response(200, json={"data": [{"id": "gpt"}]}))
    with (
        Client("http://server", transport=other) as client,
        pytest.raises(UserError, match="is not a Kinema server"),
    ):
        client.model_info()


def test_api_key():
    server = FakeServer(key="secret-key")
    with Client("http://server", key="secret-key", transport=server.transport()) as client:
        assert client.list_videos() == []
    with (
        Client("http://server", transport=server.transport()) as client,
        pytest.raises(UserError, match="needs an API key"),
    ):
        client.list_videos()


def test_non_image_is_rejected(client, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(UserError, match=r"notes.txt is not a JPEG, PNG or WebP"):
        client.create(VideoRequest(prompt="a", image=path))
    with pytest.raises(UserError, match=r"can't read gone\.png"):
        client.create(VideoRequest(prompt="a", image=Path("gone.png")))


def test_invalid_address():
    with pytest.raises(UserError, match="is not an address"):
        Client("http://[::1")
