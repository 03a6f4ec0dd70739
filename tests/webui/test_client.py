"""The client of our HTTP API, against a server in memory."""

from pathlib import Path

import pytest
from PIL import Image

httpx = pytest.importorskip("httpx")

from kinema.errors import UserError  # noqa: E402
from kinema.webui.client import Client, Shot, VideoRequest  # noqa: E402
from tests.webui.fake_server import FakeServer  # noqa: E402


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setattr("kinema.webui.client._PAUSE", 0.0)
    with Client("http://films/v1/", transport=server.transport()) as made:
        yield made


def test_follow_until_final_status(client, server, tmp_path):
    begun = client.create(VideoRequest(prompt="a red ball", size="80x48", seconds=2.125, seed=3))
    assert (begun.status, begun.seed) == ("queued", 3)
    seen = list(client.follow(begun.id))
    assert [video.status for video in seen] == ["queued"] + ["in_progress"] * 9 + ["completed"]
    assert [video.progress for video in seen] == sorted(video.progress for video in seen)
    assert seen[2].preview is not None
    assert seen[2].preview[:4] == b"RIFF"
    assert seen[-1].progress == 100
    assert all(video.prompt == "a red ball" for video in seen)
    assert client.download(begun.id, tmp_path / "film.mp4").read_bytes() == b"film"
    assert client.content(begun.id, "thumbnail")[:4] == b"RIFF"


def test_unset_fields_are_not_sent(client, server):
    client.create(VideoRequest(prompt="a"))
    assert server.bodies[-1] == ("/videos", {"prompt": "a"})


def test_all_fields_use_the_api_names(client, server, tmp_path):
    path = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(path)
    client.create(
        VideoRequest(
            prompt="a", size="64x48", seconds=3.5, seed=0, num_inference_steps=7, guidance_scale=2.5, negative_prompt="rain",
            image=path, last_image=path, loop=True,
            shots=(Shot(prompt="b"), Shot(prompt="c", seconds=1.0, transition="blend", image=path)),
        )
    )  # fmt: skip
    body = server.bodies[-1][1]
    url = body["input_reference"]["image_url"]
    assert url.startswith("data:image/png;base64,")
    assert body == {
        "prompt": "a", "size": "64x48", "seconds": "3.5", "seed": 0, "steps": 7, "guidance": 2.5,
        "negative_prompt": "rain", "input_reference": {"image_url": url}, "last_frame": {"image_url": url},
        "loop": True, "storyboard": [
            {"prompt": "b", "seconds": 0.0, "transition": "cut"},
            {"prompt": "c", "seconds": 1.0, "transition": "blend", "image": {"image_url": url}},
        ],
    }  # fmt: skip


def test_bodies_validate_against_server_schemas(client, server, tmp_path):
    """The client's bodies against the server's own models: no test double can drift from them."""
    pytest.importorskip("pydantic")
    bodies = pytest.importorskip("kinema.server.schemas.requests")
    path = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(path)
    order = VideoRequest(
        prompt="a", size="64x48", seconds=3.5, seed=0, num_inference_steps=7, guidance_scale=2.5, negative_prompt="rain", image=path,
        last_image=path, loop=True, shots=(Shot(prompt="b", image=path), Shot(prompt="c", seconds=1.0)),
    )  # fmt: skip
    film = client.create(order).id
    client.remix(film, "b")
    client.extend(film, "c", 2.0, backward=True)
    client.connect(film, film, "d")
    kinds = [bodies.CreateBody, bodies.RemixBody, bodies.ExtendBody, bodies.ConnectBody]
    for (_, body), kind in zip(server.bodies, kinds, strict=True):
        bodies.checked(kind, body)


def test_task_endpoints(client, server):
    film = client.create(VideoRequest(prompt="a")).id
    client.remix(film, "b")
    client.extend(film, "c", 2.0, backward=True)
    client.connect(film, film, "d")
    assert server.bodies[1:] == [
        (f"/videos/{film}/remix", {"prompt": "b"}),
        ("/videos/extensions", {"video": {"id": film}, "prompt": "c", "seconds": "2", "backward": True}),
        ("/videos/connections", {"video": {"id": film}, "next_video": {"id": film}, "prompt": "d"}),
    ]


def test_cancel_list_and_delete(client):
    first, second = (client.create(VideoRequest(prompt=words)).id for words in "ab")
    assert client.cancel(first).cancelled
    assert [video.id for video in client.videos()] == [second, first]
    client.delete(first)
    assert [video.id for video in client.videos()] == [second]
    with pytest.raises(UserError, match="There is no video"):
        client.retrieve(first)


def test_broken_stream_reconnects(client, server):
    server.breaks = 3
    film = client.create(VideoRequest(prompt="a")).id
    assert list(client.follow(film))[-1].status == "completed"


def test_silent_stream_gives_up(client, server, monkeypatch):
    monkeypatch.setattr(FakeServer, "_stream_events", lambda *_: "")
    film = client.create(VideoRequest(prompt="a")).id
    with pytest.raises(UserError, match="stopped telling"):
        list(client.follow(film))


def test_deleted_video_ends_the_stream(client, server, monkeypatch):
    monkeypatch.setattr(FakeServer, "_stream_events", lambda *_: 'event: deleted\ndata: {"id": "x"}\n\n')
    film = client.create(VideoRequest(prompt="a")).id
    assert list(client.follow(film))[-1].error == "It was deleted."


def test_cost_estimate_and_model_info(client):
    served = client.served()
    assert (served.name, served.width, served.height, served.unit) == ("fake", 64, 48, 16)
    plan = client.plan(VideoRequest(prompt="a"))
    assert (plan.seconds, plan.memory, plan.fits) == (90.0, 2**31, True)


def _connection_refused(request):
    raise httpx.ConnectError("refused")


def _read_timeout(request):
    raise httpx.ReadTimeout("slow")


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (_connection_refused, "can't reach the server at http://films; is `kinema serve` running there"),
        (_read_timeout, "does not answer in time"),
        (lambda _: httpx.Response(200, text="<html>"), "does not speak the Videos API"),
        (lambda _: httpx.Response(200, json=[1]), "does not speak the Videos API"),
        (lambda _: httpx.Response(200, json={"id": 1}), "does not speak the Videos API"),
        (lambda _: httpx.Response(502, text="<html>"), "answered 502 without saying why"),
        (lambda _: httpx.Response(429, json={"error": {"message": "Too many wait."}}), "Too many wait"),
    ],
)  # fmt: skip
def test_errors_are_one_line(answer, line):
    with (
        Client("http://films", transport=httpx.MockTransport(answer)) as client,
        pytest.raises(UserError, match=line) as caught,
    ):
        client.retrieve("video_1")
    assert "\n" not in str(caught.value)


def test_foreign_server_is_rejected(server):
    other = httpx.MockTransport(lambda _: httpx.Response(200, json={"data": [{"id": "gpt"}]}))
    with (
        Client("http://films", transport=other) as client,
        pytest.raises(UserError, match="is not Kinema's"),
    ):
        client.model_info()


def test_api_key():
    server = FakeServer(key="secret-key")
    with Client("http://films", key="secret-key", transport=server.transport()) as client:
        assert client.list_videos() == []
    with (
        Client("http://films", transport=server.transport()) as client,
        pytest.raises(UserError, match="asks for an API key"),
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
    with pytest.raises(UserError, match="is no address"):
        Client("http://[::1")
