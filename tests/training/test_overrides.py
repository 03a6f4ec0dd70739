"""Settings: round trips through JSON, and a helpful one-line error for every wrong name or value."""

import json
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.models.formats.serialization import from_values
from kinema.training.dit_task import DitTrainConfig
from kinema.training.overrides import apply_overrides, to_plain


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 8
    rates: tuple[float, float] = (0.9, 0.99)
    kind: Literal["full", "causal"] = "full"


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    steps: int = 10
    clip: float | None = None
    levels: tuple[int, ...] = (1, 2, 3)
    name: str = "x"
    fast: bool = False


@given(
    width=st.integers(),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    clip=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    levels=st.lists(st.integers(), max_size=4),
    name=st.text(),
    fast=st.booleans(),
)
def test_json_round_trip(width, rate, clip, levels, name, fast):
    config = Outer(
        inner=Inner(width=width, rates=(rate, 0.5)), clip=clip, levels=tuple(levels), name=name, fast=fast
    )
    assert from_values(Outer, json.loads(json.dumps(to_plain(config))), source="settings") == config


def test_overrides_change_nested_settings_only():
    changed = apply_overrides(
        Outer(), ["inner.width=16", "clip=2", "inner.kind=causal", "levels=[4]", "name=long run"]
    )
    assert changed == Outer(inner=Inner(width=16, kind="causal"), clip=2.0, levels=(4,), name="long run")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("inner.widht=3", "did you mean 'width'"),
        ("stepz=3", "did you mean 'steps'"),
        ("steps", "write name.of.setting=value"),
        ("steps=many", "of type int"),
        ("steps=true", "of type int"),
        ("fast=1", "of type bool"),
        ("inner=3", "not a JSON object"),
        ("steps.deeper=1", "part of a plain value"),
        ("inner.kind=casual", "did you mean 'causal'"),
        ("inner.rates=[1]", "must have 2"),
    ],
)
def test_wrong_settings_are_one_helpful_line(assignment, message):
    with pytest.raises(UserError) as caught:
        apply_overrides(Outer(), [assignment])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_keys_in_a_file_are_refused():
    with pytest.raises(UserError, match="did you mean 'width'"):
        from_values(Outer, {"inner": {"widt": 3}}, source="settings")


def test_settings_that_depend_on_each_other_change_together():
    config = DitTrainConfig()
    changed = apply_overrides(config, ["model.width=128", "model.heads=2", "model.mlp_width=512"])
    assert (changed.model.width, changed.model.heads) == (128, 2)


def test_a_later_assignment_counts():
    assert apply_overrides(DitTrainConfig(), ["seed=1", "seed=2"]).seed == 2
    whole = 'sigma_sampling={"low_p": 0.5, "prefix_p": 0.2}'
    changed = apply_overrides(
        DitTrainConfig(), ["sigma_sampling.low_p=0.1", whole, "sigma_sampling.prefix_p=0.3"]
    )
    assert (changed.sigma_sampling.low_p, changed.sigma_sampling.prefix_p) == (0.5, 0.3)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["model.width=100"], "model.width: 100 channels do not divide into 8 heads"),
        (["model.heads=7", "seed=3"], "model.heads: 256 channels"),
        (["model=" + json.dumps({**to_plain(DitTrainConfig().model), "heads": 7})], "model: 256 channels"),
    ],
)
def test_settings_that_do_not_fit_together_are_one_line(assignments, message):
    with pytest.raises(UserError, match=message):
        apply_overrides(DitTrainConfig(), assignments)
