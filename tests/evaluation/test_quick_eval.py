"""Choosing checkpoints: what is right is counted as right, and only what is asked."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.quick_eval import run_quick_eval, sample_prompts
from tests.evaluation.disc_videos import Disc, constant_path, disc_video, linear_path

FPS = 8.0


class DiscModel:
    """Draws discs that stand and go as the prompt says, or the other way round; or nothing."""

    def __init__(self, *, mirrored: bool = False, blind: bool = False, vanishes: bool = False):
        self.mirrored, self.blind, self.vanishes = mirrored, blind, vanishes

    def __call__(self, prompt: str, seed: int) -> np.ndarray:
        meaning = parse_prompt(prompt)
        if self.blind:
            return np.full((17, 64, 64, 3), 184, dtype=np.uint8)
        sign = -1 if self.mirrored else 1
        towards = {"left": -1, "right": 1}.get(meaning.direction or "", 0) * sign
        side = (1 if meaning.side == "right of" else -1) * sign
        places = [constant_path(32 + 14 * side), constant_path(32 - 14 * side)]
        if meaning.direction is not None:
            places = [linear_path(32 - 16 * towards, 32 + 16 * towards), constant_path(56.0)]
        discs = []
        for k, thing in enumerate(meaning.objects[:2]):
            y = constant_path(20.0 + 16 * k)
            if k == 0 and self.vanishes:
                y[9:] = np.nan
                places[0] = np.where(np.arange(17) < 9, places[0], np.nan)
            discs.append(Disc(colour=thing.colour, x=places[k], y=y, radius=6.0))
        return disc_video(*discs)


def test_a_dozen_prompts_cover_everything():
    dozen = sample_prompts(12)
    kinds = Counter(item.kind for item in dozen)
    assert kinds == {"roll": 4, "still": 4, "collide": 2, "drop": 1, "occlude": 1}
    ways = {parse_prompt(item.prompt).direction for item in dozen}
    assert ways == {"left", "right", "away", "toward", "down", None}
    assert len({item.prompt for item in sample_prompts(24)}) == 24
    assert sample_prompts(24)[:12] == dozen
    assert len(sample_prompts(100)) == 100


def test_rates_are_over_the_applicable_videos():
    told = run_quick_eval(DiscModel(), FPS)
    assert told.num_videos == 12
    assert told.colour == 1
    assert told.left_right == 1
    assert (told.births, told.deaths, told.permanence) == (0, 0, 1)
    assert told.shape < 1
    mirrored = run_quick_eval(DiscModel(mirrored=True), FPS)
    assert mirrored.left_right == 0
    assert mirrored.direction < told.direction
    assert mirrored.score < told.score


def test_vanished_and_missing_objects_lower_the_score():
    clean, gone = run_quick_eval(DiscModel(), FPS), run_quick_eval(DiscModel(vanishes=True), FPS)
    assert gone.deaths > 0
    assert gone.permanence < clean.permanence
    nothing = run_quick_eval(DiscModel(blind=True), FPS)
    assert nothing.score == 0
    assert nothing.moving == 0


def test_a_rate_without_applicable_videos_is_nan():
    told = run_quick_eval(DiscModel(), FPS, num_videos=1)
    assert math.isnan(told.left_right)
    assert told.score == pytest.approx(
        np.mean([told.colour, told.shape, told.binding, told.direction, told.permanence])
    )
