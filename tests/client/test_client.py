"""The client against a server process: every method, and every error."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json

import httpx
import pytest

from kinema.client import (
    AsyncClient,
    Client,
    ClientError,
    Create,
    Edit,
    Extend,
    Interpolate,
    Keyframe,
    Remix,
    Shot,
    Source,
    Video,
    protocol,
)
from kinema.server.openapi import dump_openapi
from tests.fixtures import server
from tests.fixtures.server import ALICE


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    keys = {"KINEMA_API_KEYS": f"alice:{ALICE}"}
    with server.running_server(tmp_path_factory.mktemp("server") / "data", env=keys) as process:
        yield process


@pytest.fixture(scope="module")
def client(running):
    with Client(running.url, key=ALICE) as own:
        yield own


@pytest.fixture(scope="module")
def finished(client):
    return client.wait(client.create(Create(prompt="a red ball", seconds=1, seed=3)).id)


@pytest.fixture(scope="module")
def document():
    return json.loads(dump_openapi())["components"]["schemas"]


@pytest.mark.parametrize("request_type", [Create, Edit, Extend, Interpolate, Remix])
def test_requests_have_the_fields_of_the_document(document, request_type):
    names = {Create: "CreateVideoRequest"}.get(request_type, f"{request_type.__name__}Request")
    own = {field.name for field in dataclasses.fields(request_type)}
    assert own == set(document[names]["properties"])


def test_shots_keyframes_and_videos_have_the_fields_of_the_document(document):
    for own, name in ((Shot, "ShotRequest"), (Keyframe, "KeyframeRequest"), (Source, "VideoSource")):
        assert {field.name for field in dataclasses.fields(own)} == set(document[name]["properties"])
    fields = {field.name for field in dataclasses.fields(Video)} - {"preview", "remixed_from"}
    expected = set(document["VideoObject"]["properties"]) | set(document["KinemaInfo"]["properties"])
    assert fields == expected - {"object", "kinema", "remixed_from_video_id"}


def test_a_video_is_generated_followed_and_downloaded(client, tmp_path):
    video = client.create(
        Create(prompt="pace=0.02", num_frames=9, size="64x48", input_reference=server.image_bytes())
    )
    states = list(client.follow(video.id))
    assert states[-1].status == "completed"
    assert [state.progress for state in states] == sorted(state.progress for state in states)
    assert any(state.preview for state in states)
    assert (states[-1].size, states[-1].num_frames, states[-1].width) == ("64x48", 9, 64)
    path = client.download(video.id, tmp_path / "video.mp4")
    assert path.read_bytes() == client.content(video.id)
    assert client.content(video.id, "thumbnail")[:4] == b"RIFF"


def test_every_task(client, finished, tmp_path):
    image = tmp_path / "a.png"
    image.write_bytes(server.image_bytes())
    data = server.video_bytes(tmp_path / "v.mp4")
    requests = [
        client.extend(Extend(prompt="on", video=finished.id, seconds=1)),
        client.extend(Extend(prompt="on", video=data, num_frames=8, seed=4)),
        client.edit(Edit(prompt="blue", video=tmp_path / "v.mp4", mask=image, strength=0.5)),
        client.interpolate(Interpolate(prompt="x", video=finished.id, next_video=finished.id, seconds=1)),
        client.remix(finished.id, Remix(prompt="blue")),
        client.create(
            Create(
                prompt="x",
                seconds=2,
                keyframes=(Keyframe(seconds=1, image=image),),
                last_image=server.image_bytes(),
            )
        ),
        client.create(
            Create(prompt="x", seconds=2, storyboard=(Shot(prompt="a"), Shot(prompt="b", seconds=1)))
        ),
    ]
    tasks = [client.wait(video.id).task for video in requests]
    assert tasks == ["extend", "extend", "edit", "interpolate", "edit", "generate", "generate"]
    sources, derived = client.history(finished.id)
    assert sources == []
    assert len(derived) == 3
    sources, _ = client.history(requests[0].id)
    assert [one.id for one in sources] == [finished.id]


def test_the_library(client, finished):
    video = client.create(Create(prompt="a green cube falls"))
    client.set_labels(video.id, favorite=True, folder="cubes")
    assert [one.id for one in client.list(search="CUBE green").videos] == [video.id]
    assert [one.id for one in client.list(favorite=True).videos] == [video.id]
    assert [one.id for one in client.list(folder="cubes").videos] == [video.id]
    assert client.list(limit=1).has_more
    assert video.id not in [one.id for one in client.list(after=video.id).videos]
    client.set_labels(video.id, folder="")
    assert client.retrieve(video.id).folder is None
    client.delete(video.id)
    with pytest.raises(ClientError) as caught:
        client.retrieve(video.id)
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    assert client.restore(video.id).favorite
    assert finished.id in [one.id for one in client.list(status="completed").videos]


def test_errors_have_the_server_s_words(client):
    with pytest.raises(ClientError) as caught:
        client.create(Create(prompt="x", size="63x64"))
    error = caught.value
    assert (error.status, error.param) == (400, "size")
    assert "multiples of 16" in str(error)
    slow = client.create(Create(prompt="pace=0.2", num_inference_steps=100))
    assert client.cancel(slow.id).error is not None
    with pytest.raises(ClientError, match="cancelled"):
        client.wait(slow.id)
    with pytest.raises(ClientError, match="can't read"):
        client.create(Create(prompt="x", input_reference="/nowhere.png"))
    with pytest.raises(ClientError, match="not a JPEG"):
        client.create(Create(prompt="x", input_reference=b"text"))
    with pytest.raises(ClientError) as caught:
        client.estimate(Create(prompt="x"))
    assert caught.value.code == "no_estimate"


def test_an_idempotency_key_submits_once(client):
    ids = {client.create(Create(prompt="once"), idempotency_key="k").id for _ in range(2)}
    assert len(ids) == 1
    assert client.models()[0].id == "testcard"


def test_servers_that_are_no_servers():
    for address in ("http://a:b:c", "localhost:8000", "ftp://x"):
        with pytest.raises(ClientError, match="is no address"):
            Client(address)
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(ClientError, match="can't reach"):
        nobody.list()
    for response in (httpx.Response(200, text="<html>"), httpx.Response(200, json={"id": 1})):
        transport = httpx.MockTransport(lambda _, r=response: r)
        with Client("http://x", transport=transport) as other, pytest.raises(ClientError, match="does not"):
            other.retrieve("video_x")
    busy = httpx.Response(429, json={"error": {"message": "full"}}, headers={"retry-after-ms": "2000"})
    transport = httpx.MockTransport(lambda _: busy)
    with Client("http://x", transport=transport) as other, pytest.raises(ClientError, match="full") as caught:
        other.list()
    assert caught.value.retry_after_s == 2.0


def test_an_interrupted_stream_is_opened_again(client, finished, monkeypatch):
    monkeypatch.setattr(protocol, "RECONNECT_DELAY_S", 0.01)
    body = protocol_object(finished)
    progress = {"status": "in_progress", "progress": 20}
    answers = iter(
        [
            httpx.Response(200, json={**body, "status": "in_progress", "progress": 10}),
            httpx.Response(200, text=f"event: progress\ndata: {json.dumps(progress)}\n\n"),
            httpx.Response(200, json={**body, "status": "in_progress", "progress": 30}),
            httpx.Response(200, text=f"event: completed\ndata: {json.dumps(body)}\n\n"),
        ]
    )
    with Client("http://x", transport=httpx.MockTransport(lambda _: next(answers))) as other:
        assert [video.progress for video in other.follow(finished.id)] == [10, 20, 30, 100]


def protocol_object(video):
    """A video as the server sends it."""
    return {
        "id": video.id, "status": "completed", "progress": 100, "model": video.model, "size": video.size,
        "seconds": str(video.seconds), "created_at": video.created_at, "prompt": "x", "error": None,
    }  # fmt: skip


def test_the_asynchronous_client_has_the_same_methods(running, tmp_path):
    def methods(own):
        return {
            name: list(inspect.signature(function).parameters)
            for name, function in inspect.getmembers(own, inspect.isfunction)
            if name[0] != "_"
        }

    assert methods(Client) == methods(AsyncClient)

    async def run():
        async with AsyncClient(running.url, key=ALICE) as client:
            video = await client.create(Create(prompt="a ball", num_frames=5))
            done = await client.wait(video.id)
            assert done.num_frames == 5
            path = await client.download(video.id, tmp_path / "a.mp4")
            assert path.read_bytes()[4:8] == b"ftyp"
            assert video.id in [one.id for one in (await client.list(limit=100)).videos]
            with pytest.raises(ClientError):
                await client.retrieve("video_x")

    asyncio.run(run())


def test_the_client_imports_neither_torch_nor_the_server():
    import subprocess
    import sys

    code = (
        "import sys, kinema.client; "
        "print(sorted({'torch', 'numpy', 'fastapi', 'av', 'pydantic'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
