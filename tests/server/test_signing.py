"""Signing of a job's video with its request, whose inputs are files in the job's folder."""

import numpy as np
import pytest

pytest.importorskip("c2pa")

from starlette.testclient import TestClient

from kinema.errors import UserError
from kinema.media import save_png, write_video
from kinema.pipeline.content_credentials import build_provenance
from kinema.pipeline.request import (
    EditInput,
    ExtendInput,
    InterpolateInput,
    Keyframe,
    Shot,
    VideoRequest,
)
from kinema.provenance.certificates import load_identity
from kinema.provenance.manifest import sign
from kinema.provenance.verify import verify_credentials
from kinema.server.storage import resolve_input_files
from tests.fixtures import server

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def job_dir(tmp_path):
    path = tmp_path / "video_1"
    path.mkdir()
    for name in ("video.mp4", "source-video.mp4", "source-next_video.mp4"):
        write_video(path / name, FRAMES, fps=8)
    for name in ("input_reference.png", "last_image.png", "storyboard-1-image.png", "mask.png"):
        save_png(path / name, FRAMES[0])
    return path


@pytest.mark.parametrize(
    ("request_", "prompt", "roles"),
    [
        (VideoRequest(prompt="a", seed=7), "a", []),
        (
            VideoRequest(prompt="a", image="input_reference.png", last_image="last_image.png"),
            "a",
            ["first frame", "last frame"],
        ),
        (
            VideoRequest(prompt="a", keyframes=(Keyframe(seconds=0.5, image="last_image.png"),)),
            "a",
            ["keyframe"],
        ),
        (VideoRequest(prompt="a", source=EditInput(video="source-video.mp4")), "a", ["edited"]),
        (
            VideoRequest(prompt="a", source=EditInput(video="source-video.mp4", mask="mask.png")),
            "a",
            ["edited", "mask"],
        ),
        (VideoRequest(prompt="a", source=ExtendInput(video="source-video.mp4")), "a", ["extended"]),
        (
            VideoRequest(
                prompt="a", source=InterpolateInput(first="source-video.mp4", last="source-next_video.mp4")
            ),
            "a",
            ["interpolated"] * 2,
        ),
        (
            VideoRequest(
                storyboard=(Shot(prompt="b"), Shot(prompt="c", seconds=1.0, image="storyboard-1-image.png"))
            ),
            "b / c",
            ["keyframe"],
        ),
    ],
)
def test_every_task_declares_its_inputs(job_dir, request_, prompt, roles):
    resolved = resolve_input_files(request_, job_dir)
    video = job_dir / "video.mp4"
    sign(video, build_provenance(resolved, model="testcard"), identity=load_identity("", ""))
    found = verify_credentials(video)
    assert (found.state, found.prompt, found.model, found.seed) == (
        "valid",
        prompt,
        "testcard",
        request_.seed,
    )
    assert [source.role for source in found.sources] == roles


def test_a_missing_input_file_is_an_error(job_dir):
    with pytest.raises(UserError, match="no longer exists"):
        resolve_input_files(VideoRequest(prompt="a", image="gone.png"), job_dir)


def test_an_invalid_certificate_is_an_error_at_the_start(tmp_path):
    with pytest.raises(UserError, match="can't read"):
        load_identity(str(tmp_path / "gone.pem"), "")


def test_a_worker_signs_its_videos(tmp_path):
    data = tmp_path / "data"
    with (
        server.in_process_server(data, with_worker=True, sign=True) as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        files = {"prompt": (None, "a ball"), "seed": (None, "3"), "input_reference": server.image_bytes()}
        video = client.post("/v1/videos", files=files).json()["id"]
        status = server.wait_until(
            lambda: (
                (now := client.get(f"/v1/videos/{video}").json()["status"]) in ("completed", "failed") and now
            )
        )
        path = app.state.server.files.path(app.state.server.store.get(video, owner=None), "video.mp4")
    assert status == "completed"
    found = verify_credentials(path)
    assert (found.state, found.prompt, found.model, found.seed) == ("valid", "a ball", "testcard", 3)
    assert [source.role for source in found.sources] == ["first frame"]
