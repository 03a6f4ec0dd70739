"""Choosing checkpoints: what is right is counted as right, and only what is asked."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from kinema.evaluate.meaning import read
from kinema.evaluate.smoke import asked_of, facts
from tests.evaluate_films import Disc, film, line, still

FPS = 8.0


class Painter:
    """Draws discs that stand and go as the prompt says, or the other way round; or nothing."""

    def __init__(self, *, mirrored: bool = False, blind: bool = False, vanishes: bool = False):
        self.mirrored, self.blind, self.vanishes = mirrored, blind, vanishes

    def __call__(self, prompt: str, seed: int) -> np.ndarray:
        meaning = read(prompt)
        if self.blind:
            return np.full((17, 64, 64, 3), 184, dtype=np.uint8)
        sign = -1 if self.mirrored else 1
        towards = {"left": -1, "right": 1}.get(meaning.direction or "", 0) * sign
        side = (1 if meaning.side == "right of" else -1) * sign
        places = [still(32 + 14 * side), still(32 - 14 * side)]
        if meaning.direction is not None:
            places = [line(32 - 16 * towards, 32 + 16 * towards), still(56.0)]
        discs = []
        for k, thing in enumerate(meaning.things[:2]):
            y = still(20.0 + 16 * k)
            if k == 0 and self.vanishes:
                y[9:] = np.nan
                places[0] = np.where(np.arange(17) < 9, places[0], np.nan)
            discs.append(Disc(colour=thing.colour, x=places[k], y=y, radius=6.0))
        return film(*discs)


def test_a_dozen_prompts_ask_for_everything():
    dozen = asked_of(12)
    kinds = Counter(item.kind for item in dozen)
    assert kinds == {"roll": 4, "still": 4, "collide": 2, "drop": 1, "occlude": 1}
    ways = {read(item.prompt).direction for item in dozen}
    assert ways == {"left", "right", "away", "toward", "down", None}
    assert len({item.prompt for item in asked_of(24)}) == 24
    assert asked_of(24)[:12] == dozen
    assert len(asked_of(100)) == 100


def test_shares_are_those_of_the_films_that_are_asked():
    told = facts(Painter(), FPS)
    assert told.films == 12
    assert told.colour == 1
    assert told.left_right == 1
    assert (told.births, told.deaths, told.lasting) == (0, 0, 1)
    assert told.shape < 1
    mirrored = facts(Painter(mirrored=True), FPS)
    assert mirrored.left_right == 0
    assert mirrored.direction < told.direction
    assert mirrored.score < told.score


def test_what_vanishes_and_what_is_not_there_cost():
    clean, gone = facts(Painter(), FPS), facts(Painter(vanishes=True), FPS)
    assert gone.deaths > 0
    assert gone.lasting < clean.lasting
    nothing = facts(Painter(blind=True), FPS)
    assert nothing.score == 0
    assert nothing.moving == 0


def test_nothing_asked_is_not_a_number():
    told = facts(Painter(), FPS, films=1)
    assert math.isnan(told.left_right)
    assert told.score == pytest.approx(
        np.mean([told.colour, told.shape, told.binding, told.direction, told.lasting])
    )
