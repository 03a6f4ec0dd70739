"""Films made elsewhere: any size, rate and container, judged as they are."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.evaluate import run, scorecard
from kinema.evaluate.evaluation import evaluate_films
from kinema.evaluate.makers import opened
from kinema.media import write_film
from tests.evaluate_films import Disc, film, line, still


def _rolling(size: int, frames: int, *, left: bool = False) -> np.ndarray:
    zoom = size / 64
    x = line(50, 14, frames) if left else line(14, 50, frames)
    return film(
        Disc(colour="red", x=x * zoom, y=still(34.0 * zoom, frames), radius=6 * zoom),
        frames=frames,
        size=size,
    )


def _wide(frames: np.ndarray) -> np.ndarray:
    """The same film in a picture twice as wide."""
    side = frames.shape[2] // 2
    return np.pad(frames, ((0, 0), (0, 0), (side, side), (0, 0)), mode="edge")


PROMPT = "a red ball rolls to the right"


@pytest.fixture
def elsewhere(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    write_film(folder / "1.mp4", _rolling(96, 25), fps=12)
    write_film(folder / "2.webm", _wide(_rolling(128, 33)), fps=16)
    write_film(folder / "3.gif", _rolling(64, 17), fps=10)
    write_film(folder / "4.mp4", _wide(_rolling(288, 24)), fps=24)
    write_film(folder / "5.mp4", _rolling(96, 25, left=True), fps=12)
    (folder / ".hidden").write_text("no film")
    (folder / "prompts.txt").write_text(f"{PROMPT}\n" * 5)
    return folder


def test_films_of_any_size_rate_and_container_are_judged(elsewhere, tmp_path):
    """The list of prompts may lie among them."""
    list(evaluate_films(elsewhere, elsewhere / "prompts.txt", tmp_path / "out", anchors=None, workers=1))
    records = run.records_in(tmp_path / "out" / "judged")
    assert [r.verdicts["direction"] for r in records] == [True, True, True, True, False]
    assert [r.verdicts["permanence"] for r in records] == [True] * 5
    assert [r.figures["seconds"] for r in records] == pytest.approx(
        [25 / 12, 33 / 16, 1.7, 24 / 24, 25 / 12], 1e-3
    )
    table = (tmp_path / "out" / "scorecard.md").read_text()
    assert "digest" not in table
    assert "| direction | 5 | 80.0%" in table
    page = (tmp_path / "out" / "scorecard.html").read_text()
    assert page.count('<i class="">wrong</i>') >= 1
    assert scorecard.load(tmp_path / "out" / "scorecard.json").rows[0].measures["direction"].n == 5


def test_large_films_are_judged_at_128(elsewhere):
    frames, fps = opened(elsewhere / "4.mp4")
    assert frames.shape == (24, 128, 256, 3)
    assert fps == 24
    assert opened(elsewhere / "2.webm")[0].shape == (33, 128, 256, 3)


def test_a_film_that_was_exchanged_is_not_taken_for_the_old_one(tmp_path):
    folder, prompts = tmp_path / "films", tmp_path / "prompts.txt"
    folder.mkdir()
    prompts.write_text(PROMPT + "\n")
    write_film(folder / "1.mp4", _rolling(64, 9), fps=8)
    list(evaluate_films(folder, prompts, tmp_path / "out", anchors=None, workers=1))
    write_film(folder / "1.mp4", _rolling(64, 17, left=True), fps=8)
    with pytest.raises(UserError, match="another request"):
        list(evaluate_films(folder, prompts, tmp_path / "out", anchors=None, workers=1))


@pytest.mark.parametrize("frames", [1, 2])
def test_a_film_too_short_to_judge_is_wrong(tmp_path, frames):
    (tmp_path / "films").mkdir()
    write_film(tmp_path / "films" / "1.mp4", _rolling(64, 17)[:frames], fps=8)
    (tmp_path / "prompts.txt").write_text(PROMPT + "\n")
    list(
        evaluate_films(
            tmp_path / "films", tmp_path / "prompts.txt", tmp_path / "out", anchors=None, workers=1
        )
    )
    (told,) = run.records_in(tmp_path / "out" / "judged")
    assert told.verdicts["direction"] is False
    assert told.verdicts["laws"] is False


def test_what_is_no_film_ends_in_one_line(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "1.mp4").write_text("no film at all")
    (tmp_path / "prompts.txt").write_text(PROMPT + "\n")
    with pytest.raises(UserError, match=r"1\.mp4"):
        list(
            evaluate_films(
                tmp_path / "films", tmp_path / "prompts.txt", tmp_path / "out", anchors=None, workers=1
            )
        )
