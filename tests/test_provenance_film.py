"""Films of ours signed with the request that is in their files, which stays there."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("c2pa")

from kinema.cli import main
from kinema.errors import UserError
from kinema.generate.origin import Given, GivenKeyframe, GivenShot, Origin, Told
from kinema.generate.replay import request_of
from kinema.generate.signing import provenance_of, sign_film
from kinema.media import probe, save_png, write_film
from kinema.media.attached import attach, attached
from kinema.media.provenance_read import credentials

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), dtype=np.uint8)
TOLD = Told(
    prompt="a red ball", negative="", size=(48, 32), frames=5, seconds=None, fps=8.0, steps=3,
    guidance=(2.0,), shift=3.0, seed=2**62 + 1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def film(path: Path, told: Told = TOLD) -> Path:
    origin = Origin(
        model="world", fingerprint="f", request=told, device="cpu", dtype="float32", int8=False,
        kinema="0.1.0", torch="2", frames="d",
    )  # fmt: skip
    write_film(path, FRAMES, fps=8, comment=origin.to_json())
    return path


def test_request_and_attached_latents_survive_signing(tmp_path):
    path = film(tmp_path / "film.mp4")
    latents = bytes(range(256)) * 50
    attach(path, latents)
    before = request_of(path)
    sign_film(path)
    assert request_of(path) == before
    assert attached(path) == latents
    found = credentials(path)
    assert (found.state, found.prompt, found.model, found.seed) == ("valid", "a red ball", "world", 2**62 + 1)


def test_what_is_attached_is_under_the_signature(tmp_path):
    path = film(tmp_path / "film.mp4")
    attach(path, b"latents of the end")
    sign_film(path)
    whole = path.read_bytes()
    assert whole.count(b"latents of the end") == 1
    path.write_bytes(whole.replace(b"latents of the end", b"latents of an end!"))
    assert credentials(path).state == "tampered"


def test_what_it_was_made_from_is_listed(tmp_path):
    parent = film(tmp_path / "parent.mp4")
    sign_film(parent)
    picture = tmp_path / "shot.png"
    save_png(picture, FRAMES[0])
    array = Given.of(FRAMES[1])
    told = replace(
        TOLD, prompt="", source="extend", films=(Given.of(parent),), image=array,
        keyframes=(GivenKeyframe(seconds=0.2, image=Given.of(picture)),),
        storyboard=(
            GivenShot(prompt="it rolls", seconds=0.0, image=None, transition="cut"),
            GivenShot(prompt="it stops", seconds=0.3, image=Given.of(picture), transition="blend"),
        ),
    )  # fmt: skip
    path = film(tmp_path / "film.mp4", told)
    sign_film(path)
    found = credentials(path)
    assert found.prompt == "it rolls / it stops"
    assert [(source.title, source.role, source.state) for source in found.sources] == [
        ("parent.mp4", "extended", "valid"),
        ("first frame", "first frame", "unsigned"),
        ("shot.png", "keyframe", "unsigned"),
        ("shot.png", "keyframe", "unsigned"),
    ]
    assert found.sources[0].sha256 == hashlib.sha256(parent.read_bytes()).hexdigest()
    assert found.sources[1].sha256 == array.sha256


def test_noise_that_was_given_has_no_seed(tmp_path):
    assert provenance_of(film(tmp_path / "film.mp4", replace(TOLD, noise="ab"))).seed is None


def test_a_source_that_changed_stops_the_signing(tmp_path):
    picture = tmp_path / "p.png"
    save_png(picture, FRAMES[0])
    path = film(tmp_path / "film.mp4", replace(TOLD, image=Given.of(picture)))
    save_png(picture, FRAMES[1])
    before = path.read_bytes()
    with pytest.raises(UserError, match="has changed since"):
        sign_film(path)
    assert path.read_bytes() == before


def test_the_command_signs_and_a_strange_film_is_refused(tmp_path, capsys):
    path = film(tmp_path / "film.mp4")
    main(["sign", str(path)])
    assert "signed" in capsys.readouterr().out
    assert credentials(path).state == "valid"
    strange = tmp_path / "strange.mp4"
    write_film(strange, FRAMES, fps=8)
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
