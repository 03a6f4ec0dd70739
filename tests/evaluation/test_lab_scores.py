"""Scores of samples with lab prompts, on simulated and on grey videos."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.evaluation.lab_scores import lab_scores, score_prompt
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec


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
