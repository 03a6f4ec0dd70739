"""Films that a worker signs, with what they were made from."""

import numpy as np
import pytest

pytest.importorskip("c2pa")

from kinema.server.job_spec import JobSpec, ShotSpec

from kinema.errors import UserError
from kinema.media import save_png, write_video
from kinema.provenance.certificates import load_identity
from kinema.provenance.verify import verify_credentials
from kinema.server.sign_job import sign_job_video

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    path = tmp_path / "video_1"
    path.mkdir()
    for name in ("video.mp4", "source.mp4", "second.mp4"):
        write_video(path / name, FRAMES, fps=8)
    for name in ("first.png", "last.png", "shot-1.png"):
        save_png(path / name, FRAMES[0])
    return path


@pytest.mark.parametrize(
    ("wanted", "roles"),
    [
        (JobSpec(prompt="a", seed=7), []),
        (JobSpec(prompt="a", image="first.png", last_image="last.png"), ["first frame", "last frame"]),
        (JobSpec(task="edit", prompt="a", source_video="source.mp4"), ["edited"]),
        (JobSpec(task="extend", prompt="a", source_video="source.mp4"), ["extended"]),
        (
            JobSpec(task="connect", prompt="a", source_video="source.mp4", next_video="second.mp4"),
            ["connected"] * 2,
        ),
        (
            JobSpec(
                prompt="a",
                storyboard=(
                    ShotSpec(prompt="b", seconds=0.0),
                    ShotSpec(prompt="c", seconds=1.0, image="shot-1.png"),
                ),
            ),
            ["keyframe"],
        ),
    ],
)
def test_every_task_declares_what_it_used(folder, wanted, roles):
    sign_job_video(folder / "video.mp4", wanted, "testcard", load_identity("", ""))
    found = verify_credentials(folder / "video.mp4")
    assert (found.state, found.prompt, found.model, found.seed) == ("valid", "a", "testcard", wanted.seed)
    assert [source.role for source in found.sources] == roles


def test_a_source_that_is_gone_gets_an_error(folder):
    with pytest.raises(UserError, match="is not there any more"):
        sign_job_video(
            folder / "video.mp4", JobSpec(prompt="a", image="gone.png"), "m", load_identity("", "")
        )


def test_a_certificate_that_does_not_do_gets_an_error_at_the_start(tmp_path):
    with pytest.raises(UserError, match="can't read"):
        load_identity(str(tmp_path / "gone.pem"), "")
