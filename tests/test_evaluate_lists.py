from __future__ import annotations

from collections import Counter

import pytest

from kinema.errors import UserError
from kinema.evaluate.lists import DIGESTS, LISTS, digest, prompts
from kinema.evaluate.meaning import read


@pytest.mark.parametrize("name", LISTS)
def test_lists_never_change(name):
    assert digest(name) == DIGESTS[name]


def test_sizes():
    assert len(prompts("smoke")) == 40
    assert len(prompts("dev")) == 200
    asked: Counter[str] = Counter()
    for item in prompts("test"):
        meaning = read(item.prompt)
        asked["binding"] += 1
        asked["left/right"] += meaning.side is not None and meaning.story == "stands"
        asked["direction"] += meaning.direction is not None
        asked["camera"] += meaning.story == "camera"
        asked["cause"] += meaning.story == "meets"
        asked["laws"] += meaning.story in ("moves", "falls")
    assert min(asked.values()) >= 1000


def test_prompts_mean_what_their_items_say():
    for item in prompts("dev"):
        meaning = read(item.prompt)
        if item.kind == "camera":
            assert meaning.camera == item.outcome
        if item.kind == "collide" and item.outcome != "pushed":
            assert meaning.ending == item.outcome
        if item.kind == "still":
            swapped = read(item.swapped)
            assert swapped.side == meaning.side
            assert [t.colour for t in swapped.things] == [t.colour for t in meaning.things][::-1]
            assert [t.shape for t in swapped.things] == [t.shape for t in meaning.things]


@pytest.mark.parametrize("text", ["a dog runs", "", "a red ball", "the camera pans left"])
def test_other_prompts_are_refused_in_one_line(text):
    with pytest.raises(UserError) as error:
        read(text)
    assert "\n" not in str(error.value)


def test_unknown_lists_are_refused():
    with pytest.raises(UserError, match="lists are smoke, dev, test"):
        prompts("tset")
