"""`POST /v1/videos/estimate`: what the estimating process gets, and what the client gets back."""

from __future__ import annotations

import base64
import json

import pytest
from starlette.testclient import TestClient

from kinema.server.app import create_app
from kinema.server.child_process import ChildResult, run_module
from kinema.server.routes import estimate
from kinema.server.settings import Limits, Settings
from tests.fixtures import server

IMAGE = {"image_url": "data:image/png;base64," + base64.b64encode(server.image_bytes(40, 30)).decode()}
RESULT = {"seconds": 1.5, "peak_memory": 10, "available_memory": 20}


@pytest.fixture
def client(tmp_path):
    settings = Settings(
        data_dir=tmp_path / "data", model="world", device="cpu", workers=0, limits=Limits(min_free_bytes=0)
    )
    app = create_app(settings)
    server.publish_fake_model(app)
    with TestClient(app, base_url="http://localhost") as http:
        yield http


def test_a_request_is_estimated_once_whatever_its_text_seed_and_images(client, monkeypatch):
    calls = []

    async def run(*arguments, **_):
        calls.append(arguments)
        return ChildResult(returncode=0, output=json.dumps(RESULT).encode(), error="")

    monkeypatch.setattr(estimate, "run_module", run)
    for prompt, seed in (("a ball", 1), ("a cube", 2)):
        body = {"prompt": prompt, "seed": seed, "size": "64x32", "seconds": 2, "input_reference": IMAGE}
        response = client.post("/v1/videos/estimate", json=body)
        assert (response.status_code, response.json()) == (200, RESULT)
    ((module, model, device, request),) = calls
    assert (module, model, device) == ("kinema.server.estimate_worker", "world", "cpu")
    values = json.loads(request)
    assert values.pop("image").startswith("data:image/png;base64,")
    assert values == {"prompt": "a video", "size": [64, 32], "seconds": 2.0}
    assert client.post("/v1/videos/estimate", json={"prompt": "x", "upscale": 2}).status_code == 200
    assert json.loads(calls[1][3])["upscale"] == 2


def test_errors_of_an_estimate_are_one_line(client, monkeypatch):
    async def refuse(*_, **__):
        return ChildResult(returncode=2, output=b"", error="sides must be multiples of 32")

    async def crash(*_, **__):
        return ChildResult(returncode=1, output=b"", error="Traceback")

    async def hang(*_, **__):
        raise TimeoutError

    for run, status, message in (
        (refuse, 400, "multiples of 32"),
        (crash, 500, "the server's log"),
        (hang, 503, "takes too long"),
    ):
        monkeypatch.setattr(estimate, "run_module", run)
        response = client.post("/v1/videos/estimate", json={"prompt": "x"})
        assert response.status_code == status
        assert response.json()["error"]["code"] == "no_estimate"
        assert message in response.json()["error"]["message"]
    response = client.post("/v1/videos/estimate", json={"prompt": "x", "size": "63x64"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "size")


def test_the_test_card_has_no_estimate(tmp_path):
    with (
        server.in_process_server(tmp_path / "data") as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        response = client.post("/v1/videos/estimate", json={"prompt": "x"})
        assert (response.status_code, response.json()["error"]["code"]) == (400, "no_estimate")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_module_s_result_and_its_time_limit():
    result = await run_module("kinema.server.media_sandbox", "image", "gone", "x.png", "9", timeout_s=60)
    assert result.returncode == 2
    assert result.error == "it is damaged, or not an image"
    with pytest.raises(TimeoutError):
        await run_module("timeit", "-n", "1", "import time; time.sleep(60)", timeout_s=0.5)
