"""`kinema inspect` on a generated video, with and without the packages that check credentials."""

import json

import pytest

from kinema.cli import main
from kinema.pipeline.pipeline import load
from kinema.provenance import certificates


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    path = tmp_path_factory.mktemp("inspect") / "video.mp4"
    video = load("world", device="cpu").generate("a red ball", num_inference_steps=2, seed=7, num_frames=5)
    video.save(path)
    return path


def inspect(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["inspect", *map(str, arguments)])
    return ended.value.code, capsys.readouterr().out


def test_prompt_seed_and_settings_are_shown(generated, capsys):
    code, out = inspect(capsys, generated)
    lines = out.splitlines()
    assert code == 3
    assert "  model      world" in lines
    assert "  prompt     a red ball" in lines
    assert "  seed       7" in lines
    assert any(line.startswith("  settings   task generate, steps 2, guidance_scale") for line in lines)


def test_json_has_fields(generated, capsys):
    values = json.loads(inspect(capsys, generated, "--json")[1])
    assert values["state"] == "unsigned"
    assert values["generation"]["request"]["prompt"] == "a red ball"
    assert values["generation"]["request"]["seed"] == 7
    assert "comment" not in values["video"]


def test_nothing_but_credentials_needs_an_extra(generated, capsys, monkeypatch):
    monkeypatch.setattr(certificates, "has_libraries", lambda: False)
    code, out = inspect(capsys, generated)
    assert code == 4
    assert "UNCHECKED: checking content credentials needs packages that are not installed" in out
    assert "pip install 'c2pa-python" in out
    assert "  prompt     a red ball" in out
