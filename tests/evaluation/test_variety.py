"""Variety over seeds: total variation against known distributions, and the facts of simulated clips."""

import numpy as np
import pytest
from benchmarks.variety import compare
from hypothesis import given
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.evaluation import variety
from kinema.evaluation.variety import (
    MISSING,
    OPEN_PROMPTS,
    VideoFacts,
    read_facts,
    simulate_open_prompt,
    total_variation,
)

FORMAT = {"size": (96, 96), "num_frames": 17, "fps": 8.0}
BY_PROMPT = {item.prompt: item for item in OPEN_PROMPTS}
VALUES = st.lists(st.sampled_from("abc"), min_size=1, max_size=20)


def facts(values, name="colour 1"):
    return [{name: value} for value in values]


@pytest.mark.parametrize(
    ("videos", "reference", "expected"),
    [
        ("rgb", "bgr", 0),
        ("rrrr", "rgby", 0.75),
        ("rr", "gg", 1),
        ("rrrg", "rg", 0.25),
        ([0.0, 1.0, 2.0], [0.1, 1.1, 2.1], 0),
        ([5.0, 5.0, 5.0], [0.0, 1.0, 2.0], 2 / 3),
        ([0.0, MISSING, 2.0, MISSING], [0.0, 2.0], 0.5),
        ([float("nan")], [1.0, 2.0], 1),
    ],
)
def test_total_variation_of_known_distributions(videos, reference, expected):
    found = total_variation(facts(videos), facts(reference))
    assert found == {"colour 1": pytest.approx(expected)}


@given(VALUES, VALUES)
def test_total_variation_is_the_largest_difference_of_the_probability_of_any_event(one, other):
    events = [{v for k, v in enumerate("abc") if mask >> k & 1} for mask in range(8)]
    largest = max(
        abs(sum(v in event for v in one) / len(one) - sum(v in event for v in other) / len(other))
        for event in events
    )
    assert total_variation(facts(one), facts(other))["colour 1"] == pytest.approx(largest)


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        (
            "a ball rolls across the floor",
            {"place 1", "depth 1", "apparent size 1", "colour 1", "direction 1", "speed 1"},
        ),
        ("a ball rolls to the left", {"place 1", "depth 1", "apparent size 1", "colour 1", "speed 1"}),
        (
            "a green thing next to a cone",
            {"place 1", "depth 1", "apparent size 1", "shape 1"}
            | {"place 2", "depth 2", "apparent size 2", "colour 2"},
        ),
    ],
)
def test_facts_are_what_the_prompt_leaves_open(prompt, names):
    item = BY_PROMPT[prompt]
    frames = simulate_open_prompt(item, 0, **FORMAT)
    found = read_facts(item.meaning, frames, FORMAT["fps"])
    assert set(found.values) == names
    assert found.is_right
    assert MISSING not in found.values.values()
    assert np.array_equal(frames, simulate_open_prompt(item, 0, **FORMAT))
    empty = read_facts(item.meaning, np.full_like(frames, 128), FORMAT["fps"])
    assert set(empty.values.values()) == {MISSING}
    assert set(empty.values) == names
    assert not empty.is_right


def test_a_prompt_without_a_clip_is_an_error(monkeypatch):
    monkeypatch.setattr(variety, "_MAX_SEED_TRIES", 2)
    item = BY_PROMPT["a ball knocks over a cylinder"]
    with pytest.raises(UserError, match="use more frames"):
        simulate_open_prompt(item, 0, size=(32, 32), num_frames=2, fps=8.0)


def test_the_table_has_a_row_for_each_kind_of_fact_and_the_share_of_right_videos():
    def videos(colours, places, right):
        return [
            VideoFacts(values={"colour 1": colour, "place 1": place, "place 2": place}, is_right=right)
            for colour, place in zip(colours, places, strict=True)
        ]

    reference = [videos("rg", [0.0, 1.0], True)]
    rows = {row.label: row for row in compare([videos("rr", [0.0, 1.0], False)], reference, reference)}
    assert list(rows) == ["colour", "place", "all", "videos that show what the prompt says"]
    assert (rows["colour"].ours, rows["colour"].theirs) == (0.5, 0)
    assert (rows["place"].ours, rows["place"].within_bound) == (0, True)
    assert rows["all"].ours == pytest.approx(0.5 / 3)
    assert (rows[list(rows)[-1]].ours, rows[list(rows)[-1]].theirs) == (0, 1)
