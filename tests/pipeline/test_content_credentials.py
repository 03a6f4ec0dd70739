"""Films of ours signed with the request that is in their files, which stays there."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("c2pa")

from kinema.cli import main
from kinema.errors import UserError
from kinema.media import probe, save_png, write_video
from kinema.media.mp4_uuid_box import append_box, read_box
from kinema.pipeline.metadata import (
    FileReference,
    GenerationMetadata,
    KeyframeRecord,
    RequestRecord,
    ShotRecord,
)
from kinema.pipeline.reproduce import read_metadata
from kinema.provenance.sign_video import build_provenance, sign_video
from kinema.provenance.verify import verify_credentials

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), dtype=np.uint8)
RECORD = RequestRecord(
    prompt="a red ball", negative_prompt="", size=(48, 32), num_frames=5, seconds=None, fps=8.0, num_inference_steps=3,
    guidance_scale=(2.0,), flow_shift=3.0, seed=2**62 + 1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def make_test_video(path: Path, record: RequestRecord = RECORD) -> Path:
    origin = GenerationMetadata(
        model="world", fingerprint="f", request=record, device="cpu", dtype="float32", int8=False,
        kinema="0.1.0", torch="2", frames_sha256="d",
    )  # fmt: skip
    write_video(path, FRAMES, fps=8, comment=origin.to_json())
    return path


def test_metadata_and_tail_latents_survive_signing(tmp_path):
    path = make_test_video(tmp_path / "film.mp4")
    latents = bytes(range(256)) * 50
    append_box(path, latents)
    before = read_metadata(path)
    sign_video(path)
    assert read_metadata(path) == before
    assert read_box(path) == latents
    found = verify_credentials(path)
    assert (found.state, found.prompt, found.model, found.seed) == ("valid", "a red ball", "world", 2**62 + 1)


def test_appended_boxes_are_signed(tmp_path):
    path = make_test_video(tmp_path / "film.mp4")
    append_box(path, b"latents of the end")
    sign_video(path)
    whole = path.read_bytes()
    assert whole.count(b"latents of the end") == 1
    path.write_bytes(whole.replace(b"latents of the end", b"latents of an end!"))
    assert verify_credentials(path).state == "tampered"


def test_inputs_are_listed_as_ingredients(tmp_path):
    parent = make_test_video(tmp_path / "parent.mp4")
    sign_video(parent)
    picture = tmp_path / "shot.png"
    save_png(picture, FRAMES[0])
    array = FileReference.of(FRAMES[1])
    told = replace(
        RECORD, prompt="", source="extend", videos=(FileReference.of(parent),), image=array,
        keyframes=(KeyframeRecord(seconds=0.2, image=FileReference.of(picture)),),
        storyboard=(
            ShotRecord(prompt="it rolls", seconds=0.0, image=None, transition="cut"),
            ShotRecord(prompt="it stops", seconds=0.3, image=FileReference.of(picture), transition="blend"),
        ),
    )  # fmt: skip
    path = make_test_video(tmp_path / "film.mp4", told)
    sign_video(path)
    found = verify_credentials(path)
    assert found.prompt == "it rolls / it stops"
    assert [(source.title, source.role, source.state) for source in found.sources] == [
        ("parent.mp4", "extended", "valid"),
        ("first frame", "first frame", "unsigned"),
        ("shot.png", "keyframe", "unsigned"),
        ("shot.png", "keyframe", "unsigned"),
    ]
    assert found.sources[0].sha256 == hashlib.sha256(parent.read_bytes()).hexdigest()
    assert found.sources[1].sha256 == array.sha256


def test_custom_noise_has_no_seed(tmp_path):
    assert build_provenance(make_test_video(tmp_path / "film.mp4", replace(RECORD, noise="ab"))).seed is None


def test_changed_inputs_stop_the_signing(tmp_path):
    picture = tmp_path / "p.png"
    save_png(picture, FRAMES[0])
    path = make_test_video(tmp_path / "film.mp4", replace(RECORD, image=FileReference.of(picture)))
    save_png(picture, FRAMES[1])
    before = path.read_bytes()
    with pytest.raises(UserError, match="has changed since"):
        sign_video(path)
    assert path.read_bytes() == before


def test_cli_signs_and_refuses_unknown_videos(tmp_path, capsys):
    path = make_test_video(tmp_path / "film.mp4")
    main(["sign", str(path)])
    assert "signed" in capsys.readouterr().out
    assert verify_credentials(path).state == "valid"
    strange = tmp_path / "strange.mp4"
    write_video(strange, FRAMES, fps=8)
    for arguments, line in (
        ([str(strange)], "carries no request"),
        ([str(path), "--key", "k.pem"], "give --certificate too"),
        ([str(path), "--certificate", str(tmp_path / "gone.pem")], "can't read"),
        ([str(tmp_path / "film.webm")], "can't be signed"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["sign", *arguments])
        assert ended.value.code == 2
        assert line in capsys.readouterr().err
    assert probe(path).width == 48
