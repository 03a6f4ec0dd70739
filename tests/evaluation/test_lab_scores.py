"""Scores of samples with lab prompts, on simulated and on grey videos."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.evaluation.lab_scores import lab_scores, score_prompt
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec
from tests.evaluation.disc_videos import Disc, constant_path, disc_video, linear_path


@pytest.fixture(scope="module")
def clip():
    return make_clip(ClipSpec(seed=3, lab=True, event="roll", height=64, width=64, num_frames=17, fps=8.0))


@pytest.fixture(scope="module")
def prompt(clip):
    return generate_captions(clip.annotations)[0].text


def test_claims_are_counted_and_prompts_outside_the_lab_are_left_out(clip, prompt):
    correct, other = (prompt, clip.frames), ("a dragon sings", clip.frames)
    grey = (prompt, np.full_like(clip.frames, 128))
    assert lab_scores([other], 8.0) == {}
    assert lab_scores([correct], 8.0)["lab_accuracy"] > lab_scores([grey], 8.0)["lab_accuracy"]
    assert lab_scores([correct, other], 8.0) == lab_scores([correct], 8.0)


def test_prompt_score_names_failed_measures(clip, prompt):
    correct = score_prompt(prompt, clip.frames, 8.0)
    grey = score_prompt(prompt, np.full_like(clip.frames, 128), 8.0)
    assert correct.accuracy > grey.accuracy
    assert {"colour", "shape", "binding"} <= set(grey.failed)
    with pytest.raises(UserError):
        score_prompt("a dragon sings", clip.frames, 8.0)


class DiscModel:
    """Draws discs that do what the prompt says, or its mirror image; the first one may vanish half-way."""

    def __init__(self, *, mirrored: bool = False, vanishes: bool = False):
        self.mirrored, self.vanishes = mirrored, vanishes

    def __call__(self, prompt: str) -> np.ndarray:
        spec = parse_prompt(prompt)
        sign = -1 if self.mirrored else 1
        direction = {"left": -1, "right": 1}.get(spec.direction or "", 0) * sign
        side = (1 if spec.side == "right of" else -1) * sign
        x = [constant_path(32 + 14 * side), constant_path(32 - 14 * side)]
        if spec.direction is not None:
            x = [linear_path(32 - 16 * direction, 32 + 16 * direction), constant_path(56.0)]
        discs = []
        for k, obj in enumerate(spec.objects[:2]):
            if k == 0 and self.vanishes:
                x[0] = np.where(np.arange(17) < 9, x[0], np.nan)
            discs.append(Disc(colour=obj.colour, x=x[k], y=constant_path(20.0 + 16 * k), radius=6.0))
        return disc_video(*discs)


PROMPTS = (
    "a red ball rolls to the left",
    "a blue ball rolls to the right and stops",
    "a red ball stands to the left of a blue ball",
    "a pink cube stands to the right of a green ball",
)


def _score_model(model, prompts=PROMPTS):
    return lab_scores([(prompt, model(prompt)) for prompt in prompts], 8.0)


def test_shares_are_over_the_applicable_videos():
    scores = _score_model(DiscModel())
    assert scores["lab_colour"] == 1
    assert scores["lab_left_right"] == 1
    assert scores["lab_permanence"] == 1
    assert scores["lab_shape"] < 1
    mirrored = _score_model(DiscModel(mirrored=True))
    assert mirrored["lab_left_right"] == 0
    assert mirrored["lab_direction"] < scores["lab_direction"]
    assert mirrored["lab_accuracy"] < scores["lab_accuracy"]
    assert "lab_left_right" not in _score_model(DiscModel(), PROMPTS[:1])


def test_vanished_objects_lower_the_scores():
    complete, vanished = _score_model(DiscModel()), _score_model(DiscModel(vanishes=True))
    assert vanished["lab_permanence"] < complete["lab_permanence"]
    assert vanished["lab_accuracy"] < complete["lab_accuracy"]
