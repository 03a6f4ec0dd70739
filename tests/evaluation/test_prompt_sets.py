from __future__ import annotations

from collections import Counter

import pytest

from kinema.errors import UserError
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.prompt_sets import DIGESTS, PROMPT_SETS, build_prompt_set, prompt_set_digest


@pytest.mark.parametrize("name", PROMPT_SETS)
def test_prompt_sets_never_change(name):
    assert prompt_set_digest(name) == DIGESTS[name]


def test_sizes():
    assert len(build_prompt_set("smoke")) == 40
    assert len(build_prompt_set("dev")) == 200
    counts: Counter[str] = Counter()
    for item in build_prompt_set("test"):
        spec = parse_prompt(item.prompt)
        counts["binding"] += 1
        counts["left/right"] += spec.side is not None and spec.event == "stands"
        counts["direction"] += spec.direction is not None
        counts["camera"] += spec.event == "camera"
        counts["causality"] += spec.event == "meets"
        counts["physics"] += spec.event in ("moves", "falls")
    assert min(counts.values()) >= 1000


def test_prompts_parse_to_what_their_items_say():
    for item in build_prompt_set("dev"):
        spec = parse_prompt(item.prompt)
        if item.kind == "camera":
            assert spec.camera_move == item.outcome
        if item.kind == "collide" and item.outcome != "pushed":
            assert spec.outcome == item.outcome
        if item.kind == "still":
            swapped = parse_prompt(item.swapped_prompt)
            assert swapped.side == spec.side
            assert [o.colour for o in swapped.objects] == [o.colour for o in spec.objects][::-1]
            assert [o.shape for o in swapped.objects] == [o.shape for o in spec.objects]


@pytest.mark.parametrize("text", ["a dog runs", "", "a red ball", "the camera pans left"])
def test_other_prompts_are_refused_in_one_line(text):
    with pytest.raises(UserError) as error:
        parse_prompt(text)
    assert "\n" not in str(error.value)


def test_unknown_prompt_sets_are_refused():
    with pytest.raises(UserError, match="prompt sets are smoke, dev, test"):
        build_prompt_set("tset")
