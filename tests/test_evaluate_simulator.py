from __future__ import annotations

import pytest

from kinema.evaluate.faults import FAULTS, detected, plant
from kinema.evaluate.judgement import judgement
from kinema.evaluate.meaning import read
from kinema.evaluate.smoke import judge
from kinema.world.captions import captions
from kinema.world.clip import ClipSpec, make_clip


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
def test_the_simulators_own_films_are_right(event, outcome):
    for seed in (5000, 5001):
        spec = ClipSpec(
            seed=seed,
            lab=True,
            event=event,
            outcome=outcome,
            height=64,
            width=64,
            frames=17,
            fps=8.0,
            split="train",
        )
        clip = make_clip(spec)
        verdict = judge(captions(clip.facts)[0].text, clip.frames, 8.0)
        assert verdict.right, (seed, verdict)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_its_clean_twin_is_not_blamed(fault):
    clip = plant(fault, 0, size=64, frames=17, fps=8.0)
    meaning = read(clip.prompt)
    assert detected(fault, judgement(meaning, clip.faulty, clip.fps))
    assert not detected(fault, judgement(meaning, clip.clean, clip.fps))
