"""Limits of source videos and storyboards, checked before the work."""

from __future__ import annotations

import pytest

from kinema.errors import UserError
from kinema.pipeline import source_frames
from kinema.pipeline.request import EditInput, Keyframe, Shot, VideoRequest
from kinema.pipeline.request_checks import MAX_SHOTS, check_combinations
from tests.server.test_fairness import write_sparse_video


def test_a_small_file_of_many_hours_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    data = write_sparse_video(tmp_path / "sparse.mp4", 2 * 3600)
    assert len(data) < 3000
    monkeypatch.setattr(source_frames, "MAX_SOURCE_BYTES", 2**29)

    def read(*_, **__):
        raise AssertionError("the video was decoded")

    monkeypatch.setattr("kinema.media.read.read_video", read)
    with pytest.raises(UserError, match="GiB allowed"):
        source_frames.read_source_frames(tmp_path / "sparse.mp4", 24.0)


def test_a_video_that_declares_less_than_it_shows_is_refused(tmp_path, monkeypatch):
    write_sparse_video(tmp_path / "sparse.mp4", 10)
    monkeypatch.setattr(source_frames, "MAX_SOURCE_BYTES", 32 * 32 * 3 * 200)
    assert len(source_frames.read_source_frames(tmp_path / "sparse.mp4", 2.0)) > 3
    with pytest.raises(UserError, match="frames at the frame rate of the result"):
        source_frames.read_source_frames(tmp_path / "sparse.mp4", 24.0)


@pytest.mark.parametrize("name", ["storyboard", "keyframes"])
def test_thousands_of_shots_are_refused_at_once(name):
    if name == "storyboard":
        many = [Shot(prompt="a", seconds=float(number)) for number in range(10_000)]
    else:
        many = [Keyframe(seconds=float(number), image="a.png") for number in range(10_000)]
    with pytest.raises(UserError, match="10000"):
        check_combinations(VideoRequest(**{name: tuple(many)}))
    check_combinations(VideoRequest(**{name: tuple(many[:MAX_SHOTS])}))
    check_combinations(VideoRequest(prompt="a", source=EditInput(video="a.mp4")))
