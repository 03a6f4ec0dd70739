"""Films that a worker signs, with what they were made from."""

import numpy as np
import pytest

pytest.importorskip("c2pa")

from kinema.errors import UserError
from kinema.media import save_png, write_film
from kinema.media.provenance_read import credentials
from kinema.serve.signing import identity_of, sign_video
from kinema.serve.wanted import Wanted, WantedShot

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    path = tmp_path / "video_1"
    path.mkdir()
    for name in ("video.mp4", "source.mp4", "second.mp4"):
        write_film(path / name, FRAMES, fps=8)
    for name in ("first.png", "last.png", "shot-1.png"):
        save_png(path / name, FRAMES[0])
    return path


@pytest.mark.parametrize(
    ("wanted", "roles"),
    [
        (Wanted(prompt="a", seed=7), []),
        (Wanted(prompt="a", image="first.png", last_image="last.png"), ["first frame", "last frame"]),
        (Wanted(verb="edit", prompt="a", source="source.mp4"), ["edited"]),
        (Wanted(verb="extend", prompt="a", source="source.mp4"), ["extended"]),
        (Wanted(verb="connect", prompt="a", source="source.mp4", second="second.mp4"), ["connected"] * 2),
        (
            Wanted(
                prompt="a",
                storyboard=(
                    WantedShot(prompt="b", seconds=0.0),
                    WantedShot(prompt="c", seconds=1.0, image="shot-1.png"),
                ),
            ),
            ["keyframe"],
        ),
    ],
)
def test_every_verb_declares_what_it_used(folder, wanted, roles):
    sign_video(folder / "video.mp4", wanted, "testcard", identity_of("", ""))
    found = credentials(folder / "video.mp4")
    assert (found.state, found.prompt, found.model, found.seed) == ("valid", "a", "testcard", wanted.seed)
    assert [source.role for source in found.sources] == roles


def test_a_source_that_is_gone_is_told(folder):
    with pytest.raises(UserError, match="is not there any more"):
        sign_video(folder / "video.mp4", Wanted(prompt="a", image="gone.png"), "m", identity_of("", ""))


def test_a_certificate_that_does_not_do_is_told_at_the_start(tmp_path):
    with pytest.raises(UserError, match="can't read"):
        identity_of(str(tmp_path / "gone.pem"), "")
