"""LoRAs of a server: named by the operator, known to clients by name only."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from starlette.testclient import TestClient

from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.models.lora.reader import open_lora
from kinema.pipeline.pipeline import load
from kinema.pipeline.reproduce import read_metadata
from kinema.pipeline.request import Lora, VideoRequest
from kinema.server.authentication import LOCAL_OWNER
from kinema.server.backends.fake import FakeBackend
from kinema.server.backends.pipeline import PipelineBackend
from kinema.server.settings import load_settings
from kinema.server.worker_config import worker_command, worker_config
from tests.fixtures import server
from tests.fixtures.lora_files import random_factors, write_family


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with server.in_process_server(tmp_path_factory.mktemp("server") / "data") as running:
        server.publish_model(running, FakeBackend(("style", "motion")).model_info)
        yield running


@pytest.fixture(scope="module")
def client(app):
    with TestClient(app, base_url="http://localhost") as http:
        yield http


def test_loras_arrive_in_the_request_and_are_listed(app, client):
    assert client.get("/v1/models/sora-2").json()["kinema"]["loras"] == ["style", "motion"]
    loras = [{"name": "style", "strength": 0.5, "low_noise_strength": 0.25}, {"name": "motion"}]
    video = client.post("/v1/videos", json={"prompt": "x", "loras": loras}).json()
    request = app.state.server.store.get(video["id"], owner=LOCAL_OWNER).request
    assert request.loras == (
        Lora(file="style", strength=0.5, low_noise_strength=0.25),
        Lora(file="motion"),
    )


def test_loras_in_multipart_bodies(app, client):
    files = {"prompt": (None, "x"), "loras": (None, '[{"name": "style", "strength": 2}]')}
    video = client.post("/v1/videos", files=files).json()
    request = app.state.server.store.get(video["id"], owner=LOCAL_OWNER).request
    assert request.loras == (Lora(file="style", strength=2.0),)


@pytest.mark.parametrize(
    ("loras", "param"),
    [
        ([{"name": "../style.safetensors"}], "loras.0.name"),
        ([{"name": "style"}, {"name": "other"}], "loras.1.name"),
        ([{"name": "style", "strength": 100}], "loras.0.strength"),
        ([{}], "loras.0.name"),
        ([{"name": "style"}] * 9, "loras"),
        ("style", "loras"),
    ],
)
def test_other_loras_are_refused(loras, param, client):
    response = client.post("/v1/videos", json={"prompt": "x", "loras": loras})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_a_path_is_not_a_field(app, client):
    body = {"prompt": "x", "loras": [{"name": "style", "path": "/etc/passwd"}]}
    response = client.post("/v1/videos", json=body)
    if response.status_code == 200:
        request = app.state.server.store.get(response.json()["id"], owner=LOCAL_OWNER).request
        assert request.loras == (Lora(file="style"),)


def test_settings(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('[[loras]]\nname = "style"\npath = "style.safetensors"\n')
    settings = load_settings(file, data_dir=tmp_path)
    assert [lora.name for lora in settings.loras] == ["style"]
    assert '"style"' in worker_command(worker_config(settings, worker_index=0, attached=True))[-1]
    file.write_text('[[loras]]\nname = "a/b"\npath = "x"\n')
    with pytest.raises(UserError, match=r"loras\.0\.name"):
        load_settings(file, data_dir=tmp_path)
    file.write_text('[[loras]]\nname = "a"\npath = "x"\n[[loras]]\nname = "a"\npath = "y"\n')
    with pytest.raises(UserError, match="two LoRAs have one name"):
        load_settings(file, data_dir=tmp_path)
    file.write_text('[[loras]]\nname = "a"\npath = "x"\npth = "x"\n')
    with pytest.raises(UserError, match=r"loras\.0\.pth.*is not a setting \(did you mean 'path'\?\)"):
        load_settings(file, data_dir=tmp_path)


def test_a_backend_knows_loras_by_name_only(tmp_path):
    factors = random_factors(open_model("world").dit, size=0.04)
    path = write_family(tmp_path / "x.safetensors", "A", factors)
    backend = PipelineBackend("world", "cpu", loras={"style": path})
    assert backend.model_info.loras == ("style",)
    request = VideoRequest(
        prompt="a red ball rolls to the left",
        size=(64, 64),
        num_frames=5,
        num_inference_steps=2,
        loras=(Lora(file="style"),),
    )
    *_, result = backend.generate(request, tmp_path / "video.mp4", resume_from=None)
    by_path = dataclasses.replace(request, loras=(Lora(file=path),))
    assert np.array_equal(result.sample_frames, load("world", device="cpu").generate(by_path).frames)
    metadata = read_metadata(tmp_path / "video.mp4")
    assert metadata.request.loras == (Lora(file="style"),)
    assert metadata.files[-1].sha256 == open_lora(path).sha256
    assert str(tmp_path) not in metadata.to_json()
    with pytest.raises(UserError, match="no longer offered"):
        list(backend.generate(by_path, tmp_path / "other.mp4", resume_from=None))
    with pytest.raises(UserError, match="there is no LoRA"):
        PipelineBackend("world", "cpu", loras={"style": tmp_path / "missing.safetensors"})
