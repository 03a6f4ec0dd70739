"""fal's own client against fal's queue of this server."""

from __future__ import annotations

import base64
import contextlib
import json

import fal_client
import httpx
import pytest

from tests.fixtures import server
from tests.fixtures.server import ALICE, BOB

IMAGE_URL = "data:image/png;base64," + base64.b64encode(server.image_bytes(40, 30)).decode()
APP = "kinema/testcard"


@pytest.fixture(scope="module")
def client(host):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{host}/fal/")
        patch.setattr(fal_client.client, "RUN_URL_FORMAT", f"{host}/fal/run/")
        with closing(ALICE) as own:
            yield own


@contextlib.contextmanager
def closing(key):
    """A client whose connections are closed; it has no method for that."""
    own = fal_client.SyncClient(key=key)
    with own._client:
        yield own


def test_subscribe_makes_follows_and_downloads_a_video(client):
    updates = []
    result = client.subscribe(
        APP,
        {"prompt": "pace=0.05 a red ball", "aspect_ratio": "16:9", "duration": "1s", "seed": 5,
         "num_inference_steps": 6, "enable_safety_checker": True},
        on_queue_update=updates.append,
        with_logs=True,
    )  # fmt: skip
    assert isinstance(updates[-1], fal_client.Completed)
    assert updates[-1].error is None
    assert any(isinstance(update, fal_client.InProgress) and update.logs for update in updates)
    video = result["video"]
    assert (result["seed"], video["width"], video["height"]) == (5, 80, 48)
    assert (video["num_frames"], video["fps"], video["duration"]) == (9, 8.0, 1.125)
    # fal's links need no key.
    content = httpx.get(video["url"])
    assert (content.status_code, len(content.content)) == (200, video["file_size"])
    assert result["warnings"][-1] == "enable_safety_checker: there is no such field"


def test_submit_status_result_and_cancel(client):
    handle = client.submit(
        f"{APP}/image-to-video", {"prompt": "a ball", "image_url": IMAGE_URL, "end_image_url": IMAGE_URL}
    )
    assert client.result(APP, handle.request_id)["video"]["content_type"] == "video/mp4"
    slow = client.submit(APP, {"prompt": "pace=0.2", "num_inference_steps": 100})
    waiting = client.submit(APP, {"prompt": "x"})
    assert isinstance(waiting.status(), fal_client.Queued)
    with pytest.raises(fal_client.FalClientHTTPError, match="still in progress"):
        fal_client.client._raise_for_status(client._client.get(slow.response_url))
    slow.cancel()
    status = client.status(APP, slow.request_id)
    assert isinstance(status, fal_client.Completed)
    assert status.error_type == "cancelled"
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        slow.get()
    assert (caught.value.status_code, caught.value.error_type) == (400, "cancelled")
    waiting.get()
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        waiting.cancel()
    assert caught.value.status_code == 400


def test_run_blocks_until_the_video_is_there(client):
    assert client.run(APP, {"prompt": "a ball", "num_frames": 9})["video"]["num_frames"] == 9


def test_videos_are_extended_and_edited(client):
    first = client.run(APP, {"prompt": "a ball", "num_frames": 9})
    longer = client.run(
        f"{APP}/extend-video", {"prompt": "on", "video_url": first["video"]["url"], "duration": 1}
    )
    assert longer["video"]["duration"] == 2.125
    edited = client.run(f"{APP}/video-to-video", {"prompt": "blue", "video_url": first["video"]["url"]})
    assert edited["video"]["duration"] == 1.125


async def _async_round(host):
    own = fal_client.AsyncClient(key=ALICE)
    async with await own._client:
        result = await own.subscribe(APP, {"prompt": "a ball", "num_frames": 5})
    return result["video"]["num_frames"]


def test_the_asynchronous_client(client, host):
    import asyncio

    assert asyncio.run(_async_round(host)) == 5


def test_the_status_is_streamed(client, host):
    handle = client.submit(APP, {"prompt": "pace=0.05", "num_frames": 5})
    events = []
    headers = {"authorization": f"Key {ALICE}"}
    with httpx.stream("GET", f"{handle.status_url}/stream", headers=headers, timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: "))["status"])
    assert events[-1] == "COMPLETED"
    assert set(events) <= {"IN_QUEUE", "IN_PROGRESS", "COMPLETED"}


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "duration": "long"}, "duration"),
        ({"prompt": "x", "duration": 500}, "duration"),
        ({"prompt": "x", "image_url": "https://example.org/a.png"}, "image_url"),
        ({"prompt": "x", "image_size": "wide"}, "image_size"),
        ({"prompt": "x", "image_size": {"width": 63, "height": 64}}, "image_size"),
        ({"prompt": "x", "motion_strength": 0.5}, "motion_strength"),
        ({"prompt": "x", "image_url": IMAGE_URL, "first_frame_url": IMAGE_URL}, "first_frame_url"),
    ],
)
def test_errors_have_fal_s_shape(client, host, arguments, param):
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        client.submit(APP, arguments)
    body = caught.value.response.json()
    assert caught.value.status_code == 400
    assert caught.value.message == body["detail"] == body["error"]["message"]
    assert (body["error"]["code"], body["error"]["param"]) == (400, param)


def test_webhooks_go_to_allowed_hosts_only(client):
    client.submit(APP, {"prompt": "x"}, webhook_url="https://hooks.example.org/a")
    with pytest.raises(fal_client.FalClientHTTPError, match=r"https URL of: hooks\.example\.org"):
        client.submit(APP, {"prompt": "x"}, webhook_url="https://evil.example.org/a")


def test_keys_models_and_paths_are_checked(client, host):
    handle = client.submit(APP, {"prompt": "x"})
    with closing(BOB) as bob, pytest.raises(fal_client.FalClientHTTPError) as caught:
        bob.status(APP, handle.request_id)
    assert caught.value.status_code == 404
    for key, app, status in (
        ("wrong-key-0123", APP, 401),
        (ALICE, "kinema/veo", 400),
        (ALICE, f"{APP}/x", 404),
    ):
        with closing(key) as other, pytest.raises(fal_client.FalClientHTTPError) as caught:
            other.submit(app, {"prompt": "x"})
        assert caught.value.status_code == status
