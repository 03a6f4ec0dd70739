"""The benchmark's table is kept row by row, and goes on where it was."""

from __future__ import annotations

import json

import pytest

from kinema.bench import model
from kinema.bench.measure import Row, Usage, paired
from kinema.cli.bench import BenchModel
from kinema.errors import UserError


def test_every_row_has_a_measurement():
    assert all(callable(model._measurement(name)) for name in model.NAMES)
    with pytest.raises(ValueError, match="no row 'other'"):
        model._measurement("other")


def test_a_stopped_run_goes_on_where_it_was(tmp_path, monkeypatch):
    asked = []

    def fake(code, name, rounds, threads):
        asked.append((name, rounds, threads))
        if name == "solver" and len(asked) < 3:
            raise RuntimeError("stopped")
        row = {"what": name, "ours": 1.0, "theirs": 4.0, "ratio": 0.25}
        return Usage(wall=1, cpu=1, peak=1, printed=f"a library talks\n{json.dumps(row)}\n")

    monkeypatch.setattr(model, "child", fake)
    results = model.Results(file=tmp_path / "table.json")
    with pytest.raises(RuntimeError):
        list(model.measured(("text", "solver"), rounds=2, threads=1, results=results))
    assert [*results.rows()] == ["text"]
    rows = list(model.measured(("text", "solver"), rounds=2, threads=1, results=results))
    assert [row.what for row in rows] == ["text", "solver"]
    assert asked == [("text", "2", "1"), ("solver", "2", "1"), ("solver", "2", "1")]
    assert results.rows()["solver"] == Row(what="solver", ours=1.0, theirs=4.0, ratio=0.25)


def test_nothing_is_kept_without_a_file():
    results = model.Results(file=None)
    results.keep("text", Row(what="text", ours=1.0))
    assert results.rows() == {}


@pytest.mark.parametrize("text", ["no json", "[1]", '{"text": {"other": 1}}'])
def test_another_file_is_refused(tmp_path, text):
    file = tmp_path / "table.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"no table of `kinema bench model`"):
        model.Results(file=file).rows()


def test_an_unknown_row_lists_the_known_ones():
    with pytest.raises(UserError, match="'vae'; choose from vae21-decode, "):
        BenchModel(rows=("vae",)).run()
    with pytest.raises(UserError, match="from 1 on"):
        BenchModel(rounds=0).run()


def test_pairs_alternate_and_give_the_median_of_ratios():
    order, now = [], [0.0]
    costs = {"a": iter([1, 9, 1]), "b": iter([2, 3, 4])}

    def work(name):
        order.append(name)
        now[0] += next(costs[name])

    found = paired(lambda: work("a"), lambda: work("b"), rounds=3, warmup=0, clock=lambda: now[0])
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert (found.ours, found.theirs, found.ratio) == (1, 3, 0.5)
