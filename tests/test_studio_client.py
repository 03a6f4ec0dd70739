"""The client of our HTTP API, against a server in memory."""

from pathlib import Path

import pytest
from PIL import Image

httpx = pytest.importorskip("httpx")

from kinema.errors import UserError  # noqa: E402
from kinema.studio.client import Client, Order, Shot  # noqa: E402
from tests.studio_server import FakeServer  # noqa: E402


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setattr("kinema.studio.client._PAUSE", 0.0)
    with Client("http://films/v1/", transport=server.transport()) as made:
        yield made


def test_a_film_is_followed_to_its_end(client, server, tmp_path):
    begun = client.create(Order(prompt="a red ball", size="80x48", seconds=2.125, seed=3))
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


def test_only_what_was_set_is_sent(client, server):
    client.create(Order(prompt="a"))
    assert server.bodies[-1] == ("/videos", {"prompt": "a"})


def test_everything_that_can_be_set_is_sent_under_the_names_of_the_contract(client, server, tmp_path):
    path = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(path)
    client.create(
        Order(
            prompt="a", size="64x48", seconds=3.5, seed=0, steps=7, guidance=2.5, negative="rain",
            first=path, last=path, loop=True,
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


def test_the_fields_are_those_that_the_server_takes(client, server, tmp_path):
    """The client's bodies against the server's own models: no test double can drift from them."""
    pytest.importorskip("pydantic")
    bodies = pytest.importorskip("kinema.server.schemas.requests")
    path = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(path)
    order = Order(
        prompt="a", size="64x48", seconds=3.5, seed=0, steps=7, guidance=2.5, negative="rain", first=path,
        last=path, loop=True, shots=(Shot(prompt="b", image=path), Shot(prompt="c", seconds=1.0)),
    )  # fmt: skip
    film = client.create(order).id
    client.remix(film, "b")
    client.extend(film, "c", 2.0, backward=True)
    client.connect(film, film, "d")
    kinds = [bodies.CreateBody, bodies.RemixBody, bodies.ExtendBody, bodies.ConnectBody]
    for (_, body), kind in zip(server.bodies, kinds, strict=True):
        bodies.checked(kind, body)


def test_the_other_verbs_go_where_the_contract_says(client, server):
    film = client.create(Order(prompt="a")).id
    client.remix(film, "b")
    client.extend(film, "c", 2.0, backward=True)
    client.connect(film, film, "d")
    assert server.bodies[1:] == [
        (f"/videos/{film}/remix", {"prompt": "b"}),
        ("/videos/extensions", {"video": {"id": film}, "prompt": "c", "seconds": "2", "backward": True}),
        ("/videos/connections", {"video": {"id": film}, "next_video": {"id": film}, "prompt": "d"}),
    ]


def test_cancel_list_and_delete(client):
    first, second = (client.create(Order(prompt=words)).id for words in "ab")
    assert client.cancel(first).cancelled
    assert [video.id for video in client.videos()] == [second, first]
    client.delete(first)
    assert [video.id for video in client.videos()] == [second]
    with pytest.raises(UserError, match="There is no video"):
        client.retrieve(first)


def test_a_broken_stream_is_opened_again(client, server):
    server.breaks = 3
    film = client.create(Order(prompt="a")).id
    assert list(client.follow(film))[-1].status == "completed"


def test_a_stream_that_never_says_anything_is_given_up(client, server, monkeypatch):
    monkeypatch.setattr(FakeServer, "_stream_events", lambda *_: "")
    film = client.create(Order(prompt="a")).id
    with pytest.raises(UserError, match="stopped telling"):
        list(client.follow(film))


def test_a_film_deleted_meanwhile_ends(client, server, monkeypatch):
    monkeypatch.setattr(FakeServer, "_stream_events", lambda *_: 'event: deleted\ndata: {"id": "x"}\n\n')
    film = client.create(Order(prompt="a")).id
    assert list(client.follow(film))[-1].error == "It was deleted."


def test_plan_and_model(client):
    served = client.served()
    assert (served.name, served.width, served.height, served.unit) == ("fake", 64, 48, 16)
    plan = client.plan(Order(prompt="a"))
    assert (plan.seconds, plan.memory, plan.fits) == (90.0, 2**31, True)


def _refusing(request):
    raise httpx.ConnectError("refused")


def _slow(request):
    raise httpx.ReadTimeout("slow")


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (_refusing, "can't reach the server at http://films; is `kinema serve` running there"),
        (_slow, "does not answer in time"),
        (lambda _: httpx.Response(200, text="<html>"), "does not speak the Videos API"),
        (lambda _: httpx.Response(200, json=[1]), "does not speak the Videos API"),
        (lambda _: httpx.Response(200, json={"id": 1}), "does not speak the Videos API"),
        (lambda _: httpx.Response(502, text="<html>"), "answered 502 without saying why"),
        (lambda _: httpx.Response(429, json={"error": {"message": "Too many wait."}}), "Too many wait"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_plain_line(answer, line):
    with (
        Client("http://films", transport=httpx.MockTransport(answer)) as client,
        pytest.raises(UserError, match=line) as caught,
    ):
        client.retrieve("video_1")
    assert "\n" not in str(caught.value)


def test_another_kind_of_server_is_told(server):
    other = httpx.MockTransport(lambda _: httpx.Response(200, json={"data": [{"id": "gpt"}]}))
    with (
        Client("http://films", transport=other) as client,
        pytest.raises(UserError, match="is not Kinema's"),
    ):
        client.served()


def test_a_key_is_sent_and_asked_for():
    server = FakeServer(key="secret-key")
    with Client("http://films", key="secret-key", transport=server.transport()) as client:
        assert client.videos() == []
    with (
        Client("http://films", transport=server.transport()) as client,
        pytest.raises(UserError, match="asks for an API key"),
    ):
        client.videos()


def test_what_is_no_picture_is_not_sent(client, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(UserError, match=r"notes.txt is not a JPEG, PNG or WebP"):
        client.create(Order(prompt="a", first=path))
    with pytest.raises(UserError, match=r"can't read gone\.png"):
        client.create(Order(prompt="a", first=Path("gone.png")))


def test_an_address_that_is_none():
    with pytest.raises(UserError, match="is no address"):
        Client("http://[::1")
