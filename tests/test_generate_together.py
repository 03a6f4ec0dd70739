"""Films made in one batch are the films made alone, but for rounding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import kinema
from kinema.errors import UserError
from kinema.generate.request import Wish
from kinema.generate.together import films_together

from .wan_films import picture

PROMPTS = ("a red ball rolls to the left", "a blue cube stands to the right of a small green cone", "")


@pytest.fixture(scope="module")
def world():
    return kinema.load("world")


def wish(number: int, **changed) -> Wish:
    base = Wish(prompt=PROMPTS[number], seed=number, size=(128, 64), frames=9, steps=3)
    return dataclasses.replace(base, **changed)


@pytest.mark.parametrize("guidance", [None, 1.0])
def test_together_as_alone(world, guidance):
    wishes = [wish(number, guidance=guidance) for number in range(3)]
    together = list(films_together(world, wishes))
    alone = [world.make(one).frames for one in wishes]
    assert len(together) == 3
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
    assert np.abs(alone[0].astype(int) - alone[1].astype(int)).max() > 20


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_together_as_alone_whatever_noise_is_drawn_anew(world, eta, monkeypatch):
    recipe = dataclasses.replace(world.model.recipe, eta=eta)
    monkeypatch.setattr(world, "model", dataclasses.replace(world.model, recipe=recipe))
    wishes = [wish(number, steps=6) for number in range(2)]
    together = list(films_together(world, wishes))
    alone = [world.make(one).frames for one in wishes]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


def test_nothing_together_is_nothing(world):
    assert list(films_together(world, [])) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": (64, 64)}, "same size and length, unlike 128x64 of 9 frames and"),
        ({"frames": 17}, "same size and length, unlike 128x64 of 9 frames and"),
        ({"steps": 4}, "same number of steps, unlike 3 and 4"),
        ({"guidance": 2.0}, "same guidance"),
        ({"shift": 2.0}, "same shift"),
        ({"image": picture(64, 128)}, "words alone"),
        ({"loop": True, "frames": 17}, "words alone"),
    ],
)
def test_what_differs_is_named(world, changed, message):
    with pytest.raises(UserError, match=message):
        next(films_together(world, [wish(0), wish(1, **changed)]))
