"""`GET /v1/videos/{id}/check`: what the checking process gets, and which videos are not scored."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from kinema.server.backends.fake import FakeBackend
from kinema.server.child_process import ChildResult
from kinema.server.routes import check
from tests.fixtures import server

RESULT = {
    "scored": True, "reason": "", "prompt": "a red ball", "objects": ["1 red ball"],
    "verdicts": {"colour": True, "direction": False}, "is_correct": False,
}  # fmt: skip


@pytest.fixture
def client(tmp_path):
    with (
        server.in_process_server(tmp_path / "data", with_worker=True) as app,
        TestClient(app, base_url="http://localhost") as http,
    ):
        # As a model of the lab is: one that lists the words it knows.
        model = dataclasses.replace(FakeBackend().model_info, vocabulary=("a", "red", "ball"))
        server.publish_model(app, model)
        yield http


def make(client, path="", **body):
    response = client.post(f"/v1/videos{path}", json={"prompt": "a red ball rolls to the left", **body})
    assert response.status_code == 200, response.text
    video_id = response.json()["id"]
    server.wait_until(lambda: client.get(f"/v1/videos/{video_id}").json()["status"] == "completed")
    return video_id


def test_a_video_is_checked_once(client, monkeypatch):
    calls = []

    async def run(*arguments, **_):
        calls.append(arguments)
        return ChildResult(returncode=0, output=json.dumps(RESULT).encode(), error="")

    monkeypatch.setattr(check, "run_module", run)
    video_id = make(client)
    for _ in range(2):
        response = client.get(f"/v1/videos/{video_id}/check")
        assert response.status_code == 200
        assert response.json() == {"object": "video.check", "id": video_id, **RESULT}
    ((module, path, prompt),) = calls
    assert (module, prompt) == ("kinema.evaluation.check", "a red ball rolls to the left")
    assert Path(path).name == "video.mp4"
    assert video_id in path
    assert client.get("/v1/videos/video_none/check").status_code == 404


def test_videos_that_several_prompts_describe_are_not_scored(client, monkeypatch):
    monkeypatch.setattr(check, "run_module", None)
    source = make(client)
    shots = [{"prompt": "a ball", "seconds": 0}, {"prompt": "a cube", "seconds": 1}]
    for video_id in (
        make(client, "/edits", video={"id": source}),
        make(client, storyboard=shots, seconds=3),
    ):
        result = client.get(f"/v1/videos/{video_id}/check").json()
        assert not result["scored"]
        assert "one prompt" in result["reason"]
        assert result["is_correct"] is None


def test_a_model_of_another_world_is_not_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "run_module", None)
    with (
        server.in_process_server(tmp_path / "data", with_worker=True) as app,
        TestClient(app, base_url="http://localhost") as http,
    ):
        result = http.get(f"/v1/videos/{make(http)}/check").json()
    assert not result["scored"]
    assert "lab" in result["reason"]


@pytest.mark.parametrize(("returncode", "status"), [(2, 400), (1, 500)])
def test_errors_of_a_check_are_one_line(client, monkeypatch, returncode, status):
    async def fail(*_, **__):
        return ChildResult(returncode=returncode, output=b"", error="the file is damaged")

    monkeypatch.setattr(check, "run_module", fail)
    response = client.get(f"/v1/videos/{make(client)}/check")
    assert response.status_code == status
    assert response.json()["error"]["code"] == "no_check"
