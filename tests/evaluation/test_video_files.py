"""Existing videos of any size, frame rate and container."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.evaluation.evaluate import compare_evaluations, evaluate_videos
from kinema.evaluation.record import load_records
from kinema.evaluation.video_sources import load_video
from kinema.media import write_video
from tests.evaluation.disc_videos import Disc, constant_path, disc_video, linear_path

PROMPT = "a red ball rolls to the right"


def _rolling_video(size: int, num_frames: int, *, left: bool = False) -> np.ndarray:
    scale = size / 64
    x = linear_path(50, 14, num_frames) if left else linear_path(14, 50, num_frames)
    disc = Disc(colour="red", x=x * scale, y=constant_path(34.0 * scale, num_frames), radius=6 * scale)
    return disc_video(disc, num_frames=num_frames, size=size)


def _pad_to_double_width(frames: np.ndarray) -> np.ndarray:
    side = frames.shape[2] // 2
    return np.pad(frames, ((0, 0), (0, 0), (side, side), (0, 0)), mode="edge")


def _evaluate(folder, prompts, out):
    return list(evaluate_videos(folder, prompts, out, baselines=None, workers=1))


@pytest.fixture
def video_dir(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "1.mp4", _rolling_video(96, 25), fps=12)
    write_video(folder / "2.webm", _pad_to_double_width(_rolling_video(128, 33)), fps=16)
    write_video(folder / "3.gif", _rolling_video(64, 17), fps=10)
    write_video(folder / "4.mp4", _pad_to_double_width(_rolling_video(288, 24)), fps=24)
    write_video(folder / "5.mp4", _rolling_video(96, 25, left=True), fps=12)
    (folder / ".hidden").write_text("no video")
    (folder / "prompts.txt").write_text(f"{PROMPT}\n" * 5)
    return folder


def test_videos_of_any_size_rate_and_container_are_scored(video_dir, tmp_path):
    """The file of prompts may lie among the videos."""
    _evaluate(video_dir, video_dir / "prompts.txt", tmp_path / "out")
    records = load_records(tmp_path / "out")
    assert [r.verdicts["direction"] for r in records] == [True, True, True, True, False]
    assert [r.verdicts["permanence"] for r in records] == [True] * 5
    assert [r.metrics["seconds"] for r in records] == pytest.approx(
        [25 / 12, 33 / 16, 1.7, 24 / 24, 25 / 12], 1e-3
    )
    table = (tmp_path / "out" / "scorecard.md").read_text()
    assert "digest" not in table
    assert "| direction | 5 | 80.0%" in table
    page = (tmp_path / "out" / "scorecard.html").read_text()
    assert page.count('<i class="incorrect">incorrect</i>') >= 1
    scorecard = json.loads((tmp_path / "out" / "scorecard.json").read_text())
    assert scorecard["rows"][0]["measures"]["direction"]["n"] == 5


def test_large_videos_are_scored_at_128(video_dir):
    frames, fps = load_video(video_dir / "4.mp4")
    assert frames.shape == (24, 128, 256, 3)
    assert fps == 24
    assert load_video(video_dir / "2.webm")[0].shape == (33, 128, 256, 3)


def test_a_replaced_video_is_not_mistaken_for_the_old_one(tmp_path):
    folder, prompts = tmp_path / "videos", tmp_path / "prompts.txt"
    folder.mkdir()
    prompts.write_text(PROMPT + "\n")
    write_video(folder / "1.mp4", _rolling_video(64, 9), fps=8)
    _evaluate(folder, prompts, tmp_path / "out")
    write_video(folder / "1.mp4", _rolling_video(64, 17, left=True), fps=8)
    with pytest.raises(UserError, match="another request"):
        _evaluate(folder, prompts, tmp_path / "out")


@pytest.mark.parametrize("num_frames", [1, 2])
def test_a_video_too_short_to_score_is_wrong(tmp_path, num_frames):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "1.mp4", _rolling_video(64, 17)[:num_frames], fps=8)
    (tmp_path / "prompts.txt").write_text(PROMPT + "\n")
    _evaluate(tmp_path / "videos", tmp_path / "prompts.txt", tmp_path / "out")
    (record,) = load_records(tmp_path / "out")
    assert record.verdicts["direction"] is False
    assert record.verdicts["physics"] is False


def test_a_file_that_is_no_video_ends_in_one_line(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "1.mp4").write_text("no video at all")
    (tmp_path / "prompts.txt").write_text(PROMPT + "\n")
    with pytest.raises(UserError, match=r"1\.mp4"):
        _evaluate(tmp_path / "videos", tmp_path / "prompts.txt", tmp_path / "out")


def test_results_that_cannot_be_compared_end_in_one_line(tmp_path):
    (tmp_path / "old" / "records").mkdir(parents=True)
    (tmp_path / "old" / "records" / "00000-0.json").write_text('{"prompt": "a red ball"}')
    with pytest.raises(UserError, match="another version"):
        compare_evaluations(tmp_path / "old", tmp_path / "none")
    with pytest.raises(UserError, match="has no results"):
        compare_evaluations(tmp_path / "none", tmp_path / "none")
