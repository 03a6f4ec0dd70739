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
    asked: Counter[str] = Counter()
    for item in build_prompt_set("test"):
        meaning = parse_prompt(item.prompt)
        asked["binding"] += 1
        asked["left/right"] += meaning.side is not None and meaning.event == "stands"
        asked["direction"] += meaning.direction is not None
        asked["camera"] += meaning.event == "camera"
        asked["cause"] += meaning.event == "meets"
        asked["laws"] += meaning.event in ("moves", "falls")
    assert min(asked.values()) >= 1000


def test_prompts_parse_to_what_their_items_say():
    for item in build_prompt_set("dev"):
        meaning = parse_prompt(item.prompt)
        if item.kind == "camera":
            assert meaning.camera_move == item.outcome
        if item.kind == "collide" and item.outcome != "pushed":
            assert meaning.outcome == item.outcome
        if item.kind == "still":
            swapped = parse_prompt(item.swapped_prompt)
            assert swapped.side == meaning.side
            assert [t.colour for t in swapped.objects] == [t.colour for t in meaning.objects][::-1]
            assert [t.shape for t in swapped.objects] == [t.shape for t in meaning.objects]


@pytest.mark.parametrize("text", ["a dog runs", "", "a red ball", "the camera pans left"])
def test_other_prompts_are_refused_in_one_line(text):
    with pytest.raises(UserError) as error:
        parse_prompt(text)
    assert "\n" not in str(error.value)


def test_unknown_prompt_sets_are_refused():
    with pytest.raises(UserError, match="lists are smoke, dev, test"):
        build_prompt_set("tset")
