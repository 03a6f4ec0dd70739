"""OpenRouter's documented requests, as its guides write them with curl, requests and fetch."""

from __future__ import annotations

import base64
import json
import time

import httpx
import pytest

from tests.fixtures import server
from tests.fixtures.server import ALICE, BOB

IMAGE_URL = "data:image/png;base64," + base64.b64encode(server.image_bytes(40, 30)).decode()
HEADERS = {"authorization": f"Bearer {ALICE}"}


@pytest.fixture(scope="module")
def client(host):
    with httpx.Client(base_url=host, headers=HEADERS, timeout=60) as http:
        yield http


def submit(client, **body):
    response = client.post("/api/v1/videos", json={"model": "kinema/testcard", "prompt": "a ball", **body})
    assert response.status_code == 202, response.text
    return response.json()


def poll(client, job):
    """The loop of the documentation: it follows `polling_url` until the status is final."""
    while True:
        status = client.get(job["polling_url"]).json()
        if status["status"] not in ("pending", "in_progress"):
            return status
        time.sleep(0.05)


def test_the_documented_flow(client, host):
    job = submit(
        client,
        prompt="A serene mountain landscape at sunset",
        aspect_ratio="16:9",
        duration=1,
        resolution="720p",
        seed=42,
        generate_audio=False,
        http_referer="https://example.org",
    )
    assert job["status"] in ("pending", "in_progress", "completed")
    assert job["polling_url"] == f"{host}/api/v1/videos/{job['id']}"
    assert (job["size"], job["ignored"]) == ("1280x720", ["http_referer"])
    done = poll(client, job)
    assert (done["status"], done["usage"]) == ("completed", {"cost": 0.0})
    content = client.get(done["unsigned_urls"][0])
    assert content.headers["content-type"] == "video/mp4"
    assert content.content[4:8] == b"ftyp"
    assert httpx.get(done["unsigned_urls"][0]).status_code == 401
    # The other link needs no key.
    assert httpx.get(done["urls"][0]).content == content.content


def test_frame_images_and_provider_options(client):
    job = submit(
        client,
        frame_images=[
            {"type": "image_url", "image_url": {"url": IMAGE_URL}, "frame_type": "first_frame"},
            {"type": "image_url", "image_url": {"url": IMAGE_URL}, "frame_type": "last_frame"},
        ],
        provider={"options": {"kinema": {"num_inference_steps": 3}, "other": {"x": 1}}},
    )
    assert poll(client, job)["status"] == "completed"
    video = client.get(f"/v1/videos/{job['id']}").json()
    assert video["kinema"]["total_steps"] == 3


def test_a_cancelled_job_says_so(client):
    job = submit(client, prompt="pace=0.2", provider={"options": {"kinema": {"num_inference_steps": 100}}})
    client.post(f"/v1/videos/{job['id']}/cancel")
    done = poll(client, job)
    assert (done["status"], done["error"]) == ("cancelled", "The video was cancelled.")
    response = client.get(f"/api/v1/videos/{job['id']}/content?index=0")
    assert (response.status_code, response.json()["error"]["code"]) == (400, 400)


def test_the_list_of_models_has_capabilities(client):
    (model,) = client.get("/api/v1/videos/models").json()["data"]
    assert model["id"] == "kinema/testcard"
    assert model["supported_sizes"][0] == "64x64"
    assert "720p" in model["supported_resolutions"]
    assert "1080p" not in model["supported_resolutions"]
    assert model["supported_frame_images"] == ["first_frame", "last_frame"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "google/veo-3.1"}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"duration": 500}, "duration"),
        ({"duration": "long"}, "duration"),
        ({"resolution": "9p"}, "resolution"),
        ({"aspect_ratio": "0:1"}, "aspect_ratio"),
        ({"generate_audio": True}, "generate_audio"),
        ({"input_references": [{"type": "image_url", "image_url": {"url": IMAGE_URL}}]}, "input_references"),
        ({"frame_images": [{"image_url": {"url": IMAGE_URL}}]}, "frame_images.0.frame_type"),
        ({"frame_images": [{"image_url": {"url": "x"}, "frame_type": "last_frame"}]}, "frame_images"),
        ({"callback_url": "https://evil.example.org/"}, "callback_url"),
        ({"callback_url": "http://hooks.example.org/"}, "callback_url"),
        ({"callback_url": "https://user@hooks.example.org/"}, "callback_url"),
    ],
)
def test_errors_have_openrouter_s_shape(client, body, param):
    response = client.post("/api/v1/videos", json={"model": "testcard", "prompt": "x", **body})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == (400, param)
    assert error["message"]


def test_errors_before_the_body_have_it_too(client, host):
    for response, status in (
        (httpx.post(f"{host}/api/v1/videos", json={}), 401),
        (client.get("/api/v1/videos/video_x"), 404),
        (client.get("/api/v1/nothing"), 404),
        (client.post("/api/v1/videos", content=b"{"), 400),
        (client.put("/api/v1/videos"), 405),
    ):
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (status, status)


def test_owners_do_not_see_the_jobs_of_others(client, host):
    job = submit(client)
    headers = {"authorization": f"Bearer {BOB}"}
    assert httpx.get(job["polling_url"], headers=headers).status_code == 404


def test_signed_links_open_one_file_only(client, host):
    done = poll(client, submit(client, duration=1))
    _, _, _, _, job_id, expiry, signature, name = done["urls"][0].split("/")
    other = poll(client, submit(client, duration=1))
    for path in (
        f"{other['id']}/{expiry}/{signature}/{name}",
        f"{job_id}/{int(expiry) + 1}/{signature}/{name}",
        f"{job_id}/{expiry}/{signature[:-1]}x/{name}",
        f"..%2f{job_id}/{expiry}/{signature}/{name}",
    ):
        assert httpx.get(f"{host}/files/{path}").status_code == 404
    client.delete(f"/v1/videos/{job_id}")
    assert httpx.get(done["urls"][0]).status_code == 404


def test_webhook_events_have_the_shape_of_their_dialect(tmp_path):
    from kinema.pipeline.request import VideoRequest
    from kinema.server.dialects.events import event_body
    from kinema.server.dialects.signed_links import LinkSigner
    from kinema.server.job import JobCreate, new_id, new_job
    from kinema.server.job_store import WebhookEvent

    job = new_job(
        JobCreate(
            id=new_id(), owner="o", model="testcard", size="64x64", seconds="2", prompt="x",
            request=VideoRequest(prompt="x", size=(64, 64)),
        ),
        created_at=1,
    )  # fmt: skip
    import dataclasses

    job = dataclasses.replace(job, status="completed", expires_at=2_000_000_000)

    def body(shape, job=job, kind="video.completed"):
        event = WebhookEvent(
            id="evt_1", kind=kind, video_id="video_1", endpoint="https://e", body_format=shape, created_at=1,
            attempts=0,
        )  # fmt: skip
        return json.loads(event_body(event, job, LinkSigner(tmp_path)))

    assert body("openai")["data"] == {"id": "video_1"}
    openrouter = body("openrouter http://host")
    assert openrouter["type"] == "video.generation.completed"
    assert openrouter["data"]["unsigned_urls"] == [f"http://host/api/v1/videos/{job.id}/content?index=0"]
    fal = body("fal http://host")
    assert (fal["status"], fal["request_id"]) == ("OK", job.id)
    assert fal["payload"]["video"]["url"].startswith(f"http://host/files/{job.id}/")
    failed = dataclasses.replace(job, status="failed", error_code="cancelled", error_message="m")
    assert body("openrouter http://host", failed)["type"] == "video.generation.cancelled"
    assert body("fal http://host", failed, "video.failed")["error"] == "m"
    assert body("fal http://host", None)["object"] == "event"
