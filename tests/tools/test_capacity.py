"""The simulation of a fleet against closed forms."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.capacity import Arrival, Measurement, Outcome, Run, percentile, random_arrivals, simulate

from tools import capacity


def outcome() -> Outcome:
    return Outcome(throughput=1.0, mean_s=1.0, p95_s=1.0)


def test_one_job_takes_its_service_time_and_a_look_for_it():
    found = simulate([Arrival(time_s=3.0, kind=1)], [[9.0], [2.0]], [1.0], 1, random.Random(0))
    assert 2.0 <= found.mean_s <= 2.0 + capacity.CLAIM_INTERVAL_S


@pytest.mark.parametrize(
    ("workers", "slowdown", "expected"), [(1, [1.0], 12), (2, [1.0, 1.0], 6), (2, [1.0, 2.0], 12)]
)
def test_a_burst_of_equal_jobs(workers, slowdown, expected):
    jobs = [Arrival(time_s=0.0, kind=0)] * 12
    found = simulate(jobs, [[1.0]], slowdown, workers, random.Random(0))
    assert 12 / found.throughput == pytest.approx(expected, abs=0.2)


def test_waiting_times_are_those_of_the_queueing_formulas():
    """M/D/1: the mean wait is load * service / (2 (1 - load))."""
    load, service = 0.7, 10.0
    found = simulate(random_arrivals(40_000, load / service, random.Random(1)), [[service]] * 3, [1.0], 1,
                     random.Random(2))  # fmt: skip
    expected = service + load * service / (2 * (1 - load))
    assert found.mean_s == pytest.approx(expected, rel=0.05)


def test_several_workers_wait_as_the_erlang_formula_says():
    """M/M/3 with exponential service times."""
    workers, load, service = 3, 0.8, 10.0
    rng = np.random.default_rng(0)
    times = rng.exponential(service, 20_000).tolist()
    arrivals = random_arrivals(40_000, workers * load / service, random.Random(1))
    found = simulate(arrivals, [times] * 3, [1.0], workers, random.Random(2))
    a = workers * load
    tail = a**workers / math.factorial(workers) / (1 - load)
    waits = tail / (sum(a**k / math.factorial(k) for k in range(workers)) + tail)
    expected = service + waits * service / (workers * (1 - load))
    assert found.mean_s == pytest.approx(expected, rel=0.06)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_percentiles_are_those_of_numpy(values, share):
    assert percentile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9, abs=1e-9)


def test_slowdown_between_measured_numbers_is_interpolated():
    runs = tuple(
        Run(workers=workers, slowdown=slowdown, arrivals=(), outcome=outcome())
        for workers, slowdown in ((1, 1.0), (2, 1.2), (4, 2.2))
    )
    measured = Measurement(model="x", service_s=((1.0,),), runs=runs)
    assert measured.slowdown() == pytest.approx([1.0, 1.2, 1.7, 2.2])


def test_the_slowdown_of_a_burst_is_found_again():
    burst = [Arrival(time_s=0.0, kind=0)] * 24
    known = Measurement(model="x", service_s=((1.0,),), runs=())
    makespan = 24 / simulate(burst, [[1.0]], [1.0, 1.6], 2, random.Random(0)).throughput
    assert capacity._fit_slowdown(burst, known, 2, makespan) == pytest.approx(1.6, abs=0.03)


def test_commands_read_what_measure_wrote_and_refuse_anything_else(tmp_path, capsys):
    path = tmp_path / "capacity.json"
    run = {
        "workers": 1, "slowdown": 1.0, "arrivals": [{"time_s": 0.5, "kind": 0}],
        "outcome": {"throughput": 1.0, "mean_s": 1.0, "p95_s": 1.0},
    }  # fmt: skip
    path.write_text(json.dumps({"model": "x", "service_s": [[1.0], [1.0], [1.0]], "runs": [run]}))
    capacity.main(["compare", "--measured", str(path)])
    assert "predicted" in capsys.readouterr().out
    capacity.main(["plan", "--measured", str(path), "--workers", "4", "--rate", "3"])
    assert "videos/s" in capsys.readouterr().out
    path.write_text("{}")
    with pytest.raises(SystemExit, match="is not a file of `measure`"):
        capacity.main(["compare", "--measured", str(path)])
