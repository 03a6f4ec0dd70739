"""Signing generated videos with the request in their files, which signing does not change."""

import base64
import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("c2pa")

from kinema.cli import main
from kinema.errors import UserError
from kinema.media import probe, save_png, write_video
from kinema.media.mp4_uuid_box import append_box, read_box
from kinema.pipeline.content_credentials import read_provenance, sign_video
from kinema.pipeline.metadata import FileDigest, GenerationMetadata, path_sha256
from kinema.pipeline.reproduce import read_metadata
from kinema.pipeline.request import DATA_URL, ExtendInput, InterpolateInput, Keyframe, Shot, VideoRequest
from kinema.provenance.verify import verify_credentials

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), dtype=np.uint8)
REQUEST = VideoRequest(
    prompt="a red ball", negative_prompt="", size=(48, 32), num_frames=5, fps=8.0, num_inference_steps=3,
    guidance_scale=(2.0,), flow_shift=3.0, seed=2**62 + 1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def write_test_video(path: Path, request: VideoRequest = REQUEST, *, noise_sha256: str = "") -> Path:
    metadata = GenerationMetadata(
        model="world", fingerprint="f", request=request, device="cpu", dtype="float32", int8=False,
        kinema="0.1.0", torch="2", frames_sha256="d", noise_sha256=noise_sha256,
        files=tuple(FileDigest(path=file, sha256=path_sha256(Path(file))) for file in request.files()),
    )  # fmt: skip
    write_video(path, FRAMES, fps=8, comment=metadata.to_json())
    return path


def test_metadata_and_tail_latents_survive_signing(tmp_path):
    path = write_test_video(tmp_path / "video.mp4")
    latents = bytes(range(256)) * 50
    append_box(path, latents)
    before = read_metadata(path)
    sign_video(path)
    assert read_metadata(path).to_dict() == before.to_dict()
    assert read_box(path) == latents
    found = verify_credentials(path)
    assert (found.state, found.prompt, found.model, found.seed) == ("valid", "a red ball", "world", 2**62 + 1)


def test_appended_boxes_are_signed(tmp_path):
    path = write_test_video(tmp_path / "video.mp4")
    append_box(path, b"latents of the end")
    sign_video(path)
    data = path.read_bytes()
    assert data.count(b"latents of the end") == 1
    path.write_bytes(data.replace(b"latents of the end", b"latents of an end!"))
    assert verify_credentials(path).state == "tampered"


def test_inputs_are_listed_as_ingredients(tmp_path):
    parent = write_test_video(tmp_path / "parent.mp4")
    sign_video(parent)
    image = tmp_path / "shot.png"
    save_png(image, FRAMES[0])
    request = dataclasses.replace(
        REQUEST, prompt="", source=ExtendInput(video=parent), image=FRAMES[1],
        keyframes=(Keyframe(seconds=0.2, image=image),),
        storyboard=(
            Shot(prompt="it rolls", seconds=0.0),
            Shot(prompt="it stops", seconds=0.3, image=image, transition="blend"),
        ),
    )  # fmt: skip
    path = write_test_video(tmp_path / "video.mp4", request)
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
    stored = read_metadata(path).request.image
    png = base64.b64decode(str(stored).removeprefix(DATA_URL))
    assert found.sources[1].sha256 == hashlib.sha256(png).hexdigest()


def test_both_videos_of_an_interpolation_are_ingredients(tmp_path):
    first, last = (write_test_video(tmp_path / name) for name in ("first.mp4", "last.mp4"))
    request = dataclasses.replace(REQUEST, source=InterpolateInput(first=first, last=last))
    path = write_test_video(tmp_path / "video.mp4", request)
    ingredients = read_provenance(path).ingredients
    assert [(one.source, one.role) for one in ingredients] == [
        (first, "interpolated"),
        (last, "interpolated"),
    ]


def test_custom_noise_has_no_seed(tmp_path):
    assert read_provenance(write_test_video(tmp_path / "video.mp4", noise_sha256="ab")).seed is None


def test_changed_inputs_stop_the_signing(tmp_path):
    image = tmp_path / "p.png"
    save_png(image, FRAMES[0])
    path = write_test_video(tmp_path / "video.mp4", dataclasses.replace(REQUEST, image=image))
    save_png(image, FRAMES[1])
    before = path.read_bytes()
    with pytest.raises(UserError, match="has changed since"):
        sign_video(path)
    assert path.read_bytes() == before


def test_cli_signs_and_refuses_unknown_videos(tmp_path, capsys):
    path = write_test_video(tmp_path / "video.mp4")
    main(["sign", str(path)])
    assert "signed" in capsys.readouterr().out
    assert verify_credentials(path).state == "valid"
    strange = tmp_path / "strange.mp4"
    write_video(strange, FRAMES, fps=8)
    for arguments, line in (
        ([str(strange)], "carries no request"),
        ([str(path), "--key", "k.pem"], "give --certificate too"),
        ([str(path), "--certificate", str(tmp_path / "gone.pem")], "can't read"),
        ([str(tmp_path / "video.webm")], "can't be signed"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["sign", *arguments])
        assert ended.value.code == 2
        assert line in capsys.readouterr().err
    assert probe(path).width == 48
