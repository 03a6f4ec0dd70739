"""Rows of the benchmarks' tables: bounds and whether a value is within them."""

import pytest
from benchmarks.harness import BenchRow


@pytest.mark.parametrize(
    ("bounds", "within", "text"),
    [
        ({}, None, ""),
        ({"at_most": 2.0}, True, "<= 2"),
        ({"at_most": 1.5}, False, "<= 1.5"),
        ({"at_least": 2.0}, True, ">= 2"),
        ({"at_least": 2.5}, False, ">= 2.5"),
        ({"at_most": 3.0, "at_least": 2.5}, False, "<= 3, >= 2.5"),
    ],
)
def test_a_value_is_compared_with_its_bounds(bounds, within, text):
    row = BenchRow(label="speed", ours=2.0, unit="", **bounds)
    assert (row.within_bound, row.bounds_text) == (within, text)


def test_a_row_with_a_peer_bounds_the_ratio():
    row = BenchRow(label="time", ours=9.0, theirs=10.0, ratio=0.9, at_most=1.0)
    assert row.within_bound
