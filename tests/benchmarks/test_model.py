"""The model benchmark: finished rows are kept, and an interrupted run continues."""

from __future__ import annotations

import json

import pytest
from benchmarks.cli import BenchModel
from benchmarks.harness import BenchRow, ProcessUsage, time_paired

from benchmarks import model
from kinema.errors import UserError


def test_every_row_has_a_measurement():
    assert tuple(model._MEASUREMENTS) == model.ROW_NAMES


def test_interrupted_run_resumes(tmp_path, monkeypatch):
    calls = []

    def run_subprocess(code, name, rounds, threads):
        calls.append((name, rounds, threads))
        if name == "solver" and len(calls) < 3:
            raise RuntimeError("stopped")
        row = {"label": name, "ours": 1.0, "theirs": 4.0, "ratio": 0.25}
        return ProcessUsage(
            wall_seconds=1, cpu_seconds=1, peak_mib=1, stdout=f"output of a library\n{json.dumps(row)}\n"
        )

    monkeypatch.setattr(model, "run_subprocess", run_subprocess)
    results = model.ResultsFile(path=tmp_path / "table.json")
    with pytest.raises(RuntimeError):
        list(model.measure_rows(("text", "solver"), rounds=2, threads=1, results=results))
    assert [*results.load()] == ["text"]
    rows = list(model.measure_rows(("text", "solver"), rounds=2, threads=1, results=results))
    assert [row.label for row in rows] == ["text", "solver"]
    assert calls == [("text", "2", "1"), ("solver", "2", "1"), ("solver", "2", "1")]
    assert results.load()["solver"] == BenchRow(label="solver", ours=1.0, theirs=4.0, ratio=0.25)


def test_nothing_is_saved_without_a_file():
    results = model.ResultsFile(path=None)
    results.save_row("text", BenchRow(label="text", ours=1.0))
    assert results.load() == {}


@pytest.mark.parametrize("text", ["no json", "[1]", '{"text": {"other": 1}}'])
def test_foreign_file_is_rejected(tmp_path, text):
    file = tmp_path / "table.json"
    file.write_text(text)
    with pytest.raises(UserError, match="not a results file"):
        model.ResultsFile(path=file).load()


def test_unknown_row_lists_known_rows():
    with pytest.raises(UserError, match="'vae'; choose from vae21-decode, "):
        BenchModel(rows=("vae",)).run()
    with pytest.raises(UserError, match="1 or more"):
        BenchModel(rounds=0).run()


def test_paired_timing_alternates_and_takes_the_median_ratio():
    order, clock = [], [0.0]
    durations = {"a": iter([1, 9, 1]), "b": iter([2, 3, 4])}

    def work(name):
        order.append(name)
        clock[0] += next(durations[name])

    timing = time_paired(lambda: work("a"), lambda: work("b"), rounds=3, warmup=0, clock=lambda: clock[0])
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert (timing.ours, timing.theirs, timing.ratio) == (1, 3, 0.5)
