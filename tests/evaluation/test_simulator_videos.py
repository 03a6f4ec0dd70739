from __future__ import annotations

import pytest

from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.score_video import score_video
from kinema.evaluation.synthetic_faults import FAULTS, is_detected, render_fault_pair
from kinema.simulator.captions import generate_captions
from kinema.simulator.clip import ClipSpec, make_clip


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        ("roll", "stops"),
        ("roll", "keeps going"),
        ("still", "pair"),
        ("collide", "pushed"),
        ("collide", "short of"),
        ("occlude", "re-emerges"),
        ("drop", "bounces high"),
    ],
)
def test_simulator_videos_pass(event, outcome):
    for seed in (5000, 5001):
        spec = ClipSpec(
            seed=seed,
            lab=True,
            event=event,
            outcome=outcome,
            height=64,
            width=64,
            num_frames=17,
            fps=8.0,
            split="train",
        )
        clip = make_clip(spec)
        scores = score_video(parse_prompt(generate_captions(clip.annotations)[0].text), clip.frames, 8.0)
        assert scores.is_correct, (seed, scores)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_synthetic_fault_is_detected_and_its_clean_counterpart_is_not(fault):
    clip = render_fault_pair(fault, 0, size=64, num_frames=17, fps=8.0)
    prompt_spec = parse_prompt(clip.prompt)
    assert is_detected(fault, score_video(prompt_spec, clip.faulty, clip.fps))
    assert not is_detected(fault, score_video(prompt_spec, clip.clean, clip.fps))
