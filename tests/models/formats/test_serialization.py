"""JSON to dataclasses: round trips, unions, and one-line errors that name the field."""

import dataclasses
import os
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.models.formats.serialization import from_json, from_values, to_json
from kinema.models.transformer import dit_config
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.vae.vae_config import VaeConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    count: int
    name: str | None = None
    kind: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    on: bool = False
    inner: Inner = dataclasses.field(default_factory=Inner)


@given(
    st.builds(
        Outer,
        count=st.integers(),
        name=st.none() | st.text(),
        kind=st.sampled_from(["a", "b"]),
        sizes=st.lists(st.integers()).map(tuple),
        pair=st.tuples(st.integers(), st.floats(allow_nan=False)),
        on=st.booleans(),
        inner=st.builds(Inner, rate=st.floats(allow_nan=False)),
    )
)
def test_settings_survive_json(config):
    assert from_json(Outer, to_json(config), source="settings") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "not a JSON object"),
        ('{"count": 1, "nmae": "x"}', r"no setting 'nmae' \(did you mean 'name'\?\)"),
        ("{}", "lacks the setting 'count'"),
        ('{"count": "1"}', "count is '1' and must be of type int"),
        ('{"count": true}', "count is True and must be of type int"),
        ('{"count": 1.5}', r"count is 1\.5 and must be of type int"),
        ('{"count": 1, "kind": "c"}', "must be one of 'a', 'b'"),
        ('{"count": 1, "sizes": 3}', "sizes is 3 and must be a list"),
        ('{"count": 1, "pair": [1]}', "pair has 1 entries and must have 2"),
        ('{"count": 1, "inner": {"rat": 1}}', "inner has no setting 'rat'"),
    ],
)
def test_wrong_settings_are_named(text, message):
    with pytest.raises(UserError, match=message) as caught:
        from_json(Outer, text, source="settings")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config", [dit_config.small(), dit_config.wan21_flf2v_14b(), dit_config.wan22_ti2v_5b()]
)
def test_transformer_settings_survive_json(config):
    assert from_json(DitConfig, to_json(config), source="transformer") == config


@pytest.mark.parametrize("config", [VaeConfig.wan21(), VaeConfig.wan22(), VaeConfig.small()])
def test_vae_settings_survive_json(config):
    assert from_json(VaeConfig, to_json(config), source="coder") == config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extend:
    kind: Literal["extend"] = "extend"
    video: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit:
    kind: Literal["edit"] = "edit"
    video: str
    strength: float = 0.6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unions:
    scale: float | tuple[float, ...] | None = None
    image: str | os.PathLike[str] | np.ndarray | None = None
    source: Extend | Edit | None = None
    count: int | float | None = None
    size: tuple[int, int] | Literal["auto"] = "auto"
    images: tuple[str | os.PathLike[str] | np.ndarray, ...] = ()


UNION_VALUES = st.builds(
    Unions,
    scale=st.none() | st.floats(allow_nan=False) | st.lists(st.floats(allow_nan=False)).map(tuple),
    image=st.none() | st.text(),
    source=st.none() | st.builds(Extend, video=st.text()) | st.builds(Edit, video=st.text()),
    count=st.none() | st.integers() | st.floats(allow_nan=False),
    size=st.just("auto") | st.tuples(st.integers(), st.integers()),
    images=st.lists(st.text()).map(tuple),
)


@given(UNION_VALUES)
def test_unions_survive_json(config):
    read = from_json(Unions, to_json(config), source="request")
    assert read == config
    assert type(read.count) is type(config.count)
    assert type(read.source) is type(config.source)


def test_an_integer_is_read_as_a_float_in_a_union():
    read = from_values(Unions, {"scale": 3}, source="request")
    assert type(read.scale) is float
    assert from_values(Unions, {"scale": [3, 4.5]}, source="request").scale == (3.0, 4.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": "4"}, "request: scale is '4' and must be a number or a list"),
        ({"scale": True}, "request: scale is True and must be a number or a list"),
        ({"scale": [1, "2"]}, "request: scale is '2' and must be of type float"),
        ({"scale": {}}, r"request: scale is \{\} and must be a number or a list"),
        ({"scale": 10**400}, "request: scale is too large"),
        ({"image": 5}, "request: image is 5 and must be of type str"),
        ({"source": {"video": "a.mp4"}}, "source lacks the setting 'kind', one of 'extend', 'edit'"),
        (
            {"source": {"kind": "edti"}},
            r"source: kind is 'edti' .* \(did you mean 'edit'\?\)",
        ),
        ({"source": {"kind": ["edit"]}}, "source: kind is .* must be one of 'extend', 'edit'"),
        ({"source": {"kind": "extend"}}, "source lacks the setting 'video'"),
        ({"source": {"kind": "extend", "video": "a", "strength": 1}}, "source has no setting 'strength'"),
        ({"source": "a.mp4"}, "source is 'a.mp4' and must be an object"),
        ({"size": "aut"}, r"size is 'aut' and must be one of 'auto' \(did you mean 'auto'\?\)"),
        ({"size": [1]}, "size has 1 entries and must have 2"),
        ({"size": None}, "size is None and must be a list or one of 'auto'"),
        ({"images": ["a", 1]}, "images is 1 and must be of type str"),
    ],
)
def test_wrong_union_values_are_one_line_that_names_the_field(values, message):
    with pytest.raises(UserError, match=message) as caught:
        from_values(Unions, values, source="request")
    assert "\n" not in str(caught.value)
