from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.evaluate import run, scorecard
from kinema.evaluate.evaluation import evaluate_films, evaluate_model
from kinema.evaluate.frechet import frechet
from kinema.evaluate.makers import Format
from kinema.evaluate.meaning import read
from kinema.evaluate.scorecard import differences, mean, rate, row_of, wilson
from kinema.media import write_film
from tests.evaluate_films import Disc, film, line, still


def test_intervals():
    value = wilson(8, 10)
    assert (value.value, round(value.low, 4), round(value.high, 4)) == (0.8, 0.4902, 0.9433)
    assert wilson(0, 50).low == 0
    assert mean([1.0, 3.0]).value == 2
    assert rate(0, 2.0).value == 0
    assert 1.5 < rate(0, 2.0).high < 2.0


def test_frechet_of_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(4000, 3)) * [1.0, 2.0, 0.5]
    two = one * [2.0, 1.0, 1.0] + [3.0, 0.0, -1.0]
    covariance = np.cov(one, rowvar=False)
    assert frechet(one, one) == pytest.approx(0, abs=1e-9)
    stds = np.sqrt(np.diag(covariance))
    expected = 10 + ((stds * [2.0, 1.0, 1.0] - stds) ** 2).sum()
    assert frechet(one, two) == pytest.approx(expected, rel=0.02)


PROMPTS = [
    "a red ball rolls to the left",
    "a red ball rolls to the right",
    "a blue ball stands to the left of a pink ball",
]


def _films(folder):
    folder.mkdir()
    write_film(folder / "1.mp4", film(Disc(colour="red", x=line(50, 14), y=still(34.0), radius=6.0)), fps=8)
    write_film(folder / "2.mp4", film(Disc(colour="red", x=line(50, 14), y=still(34.0), radius=6.0)), fps=8)
    pair = [
        Disc(colour=c, x=still(x), y=still(34.0), radius=6.0) for c, x in (("blue", 18.0), ("pink", 46.0))
    ]
    write_film(folder / "3.mp4", film(*pair), fps=8)
    prompts = folder.parent / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS) + "\n")
    return prompts


def test_stopped_and_resumed_in_other_numbers_of_workers_the_scorecard_is_the_same(tmp_path):
    films = tmp_path / "films"
    prompts = _films(films)
    one, two = tmp_path / "one", tmp_path / "two"
    list(evaluate_films(films, prompts, one, anchors=None, workers=1))
    # A kill after the first film: its record is there, the others and the scorecard are not.
    steps = evaluate_films(films, prompts, two, anchors=None, workers=1)
    next(steps)
    steps.close()
    assert not (two / "scorecard.json").exists()
    assert list(evaluate_films(films, prompts, two, anchors=None, workers=2)) == [
        "films: 1 films",
        "films: 2 films",
    ]
    for name in ("scorecard.json", "scorecard.md", "scorecard.html"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    card = scorecard.load(one / "scorecard.json")
    assert card.rows[0].measures["direction"].value == 0.5
    assert card.rows[0].measures["left/right"].value == 1
    assert "<svg" in (one / "scorecard.html").read_text()


def test_rows_do_not_depend_on_the_order_of_records(tmp_path):
    films = tmp_path / "films"
    prompts = _films(films)
    out = tmp_path / "out"
    list(evaluate_films(films, prompts, out, anchors=None, workers=1))
    records = run.records_in(out / "judged")
    assert row_of("x", records) == row_of("x", records[::-1])
    shutil.copytree(out, tmp_path / "again")
    gains = differences(records, run.records_in(tmp_path / "again" / "judged"))
    assert all(d.low == d.high == 0 and not d.sure for d in gains)


class Painter:
    """A model that draws one red disc that rolls to the left, whatever it is asked."""

    def __init__(self):
        self.asked = []

    def generate(self, prompts, seeds, frames, size):
        for prompt in prompts:
            self.asked.append(prompt)
            yield film(
                Disc(colour="red", x=line(50, 14, frames), y=still(34.0, frames)), frames=frames, size=size[0]
            )


def test_a_model_is_asked_once_for_every_prompt_and_its_swapped_twin(tmp_path):
    painter = Painter()
    form = Format(height=64, width=64, frames=5, fps=8.0)
    list(
        evaluate_model("painter", painter, "smoke", form, tmp_path / "out", anchors=None, batch=4, workers=1)
    )
    assert len(painter.asked) == 50
    for prompt in painter.asked:
        read(prompt)
    card = json.loads((tmp_path / "out" / "scorecard.json").read_text())
    assert card["rows"][0]["measures"]["left/right, both ways"]["n"] == 10
    list(
        evaluate_model("painter", painter, "smoke", form, tmp_path / "out", anchors=None, batch=4, workers=1)
    )
    assert len(painter.asked) == 50
    with pytest.raises(UserError, match="another request"):
        list(
            evaluate_model(
                "other", painter, "smoke", form, tmp_path / "out", anchors=None, batch=4, workers=1
            )
        )


def test_mistakes_end_in_one_line(tmp_path):
    (tmp_path / "prompts.txt").write_text("a red ball rolls to the left\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="0 films"):
        list(
            evaluate_films(
                tmp_path / "empty", tmp_path / "prompts.txt", tmp_path / "o", anchors=None, workers=1
            )
        )
    with pytest.raises(UserError, match="not a folder"):
        list(
            evaluate_films(
                tmp_path / "none", tmp_path / "prompts.txt", tmp_path / "o", anchors=None, workers=1
            )
        )
