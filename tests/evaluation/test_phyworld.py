"""PhyWorld's velocity error on true videos and baselines, and the attributes of a body."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.evaluation.phyworld import (
    constant_velocity_baseline,
    evaluator_noise_floor,
    final_attributes,
    horizontal_velocity,
    last_frame_baseline,
    velocity_error,
)
from kinema.simulator.phyworld import (
    ATTRIBUTES,
    AttributePair,
    MotionRanges,
    PhyWorldConfig,
    PhyWorldVideos,
    Scenario,
    make_clip,
)


@pytest.mark.parametrize(
    ("scenario", "max_error"), [("uniform", 0.0105), ("collision", 0.0125), ("parabola", 0.022)]
)
def test_evaluator_noise_floor(scenario: Scenario, max_error: float) -> None:
    videos = PhyWorldVideos(config=PhyWorldConfig(scenarios=(scenario,)), num_clips=12)
    assert evaluator_noise_floor(videos) <= max_error


def test_baselines_are_worse_than_the_truth() -> None:
    videos = PhyWorldVideos(config=PhyWorldConfig(scenarios=("parabola",)), num_clips=6)
    clips = [videos.clip(index) for index in range(6)]
    truth, constant_velocity, last_frame = (
        np.nanmean([velocity_error(clip, frames_of(clip)) for clip in clips])
        for frames_of in (lambda clip: clip.frames, constant_velocity_baseline, last_frame_baseline)
    )
    assert truth < 0.1 < constant_velocity < last_frame


def test_a_body_that_vanishes_counts_with_its_speed() -> None:
    ranges = MotionRanges(speeds=((2.0, 2.0),))
    clip = PhyWorldVideos(config=PhyWorldConfig(scenarios=("uniform",), ranges=ranges), num_clips=1).clip(0)
    assert velocity_error(clip, np.full_like(clip.frames, 255)) == pytest.approx(2.0)


def test_velocity_has_a_sign_and_needs_a_whole_body() -> None:
    for direction, sign in (("right", 1), ("left", -1)):
        ranges = MotionRanges(speeds=((1.5, 1.5),), direction=direction)
        config = PhyWorldConfig(scenarios=("uniform",), ranges=ranges)
        clip = PhyWorldVideos(config=config, num_clips=1).clip(0)
        assert horizontal_velocity(clip.frames) == pytest.approx(1.5 * sign, abs=0.01)
    assert np.isnan(horizontal_velocity(np.full_like(clip.frames, 255)))


@pytest.mark.parametrize("second", ["velocity", "shape"])
@pytest.mark.parametrize("crossed", [False, True])
def test_attributes_of_true_videos_are_found(second, crossed: bool) -> None:
    pair = AttributePair(first="size", second=second, crossed=crossed)
    videos = PhyWorldVideos(config=PhyWorldConfig(pair=pair), num_clips=24)
    seen = set()
    for index in range(24):
        clip = videos.clip(index)
        found = final_attributes(clip.frames)
        assert found is not None
        speed = abs(clip.position[1, 0, 0] - clip.position[0, 0, 0]) / 0.1
        assert found == {
            "colour": clip.colours[0],
            "size": int(clip.radius[0] > 1),
            "velocity": int(speed > 2),
            "shape": int(clip.shapes[0] == "square"),
        }
        seen.add(tuple(found[name] for name in ATTRIBUTES))
    assert len(seen) == 8


def test_a_smear_has_no_attributes() -> None:
    clip = make_clip(np.full((33, 1, 2), 5.0), np.array([1.0]))
    smear = clip.frames.copy()
    smear[8:] = 255
    assert final_attributes(smear) is None or final_attributes(smear) == final_attributes(clip.frames)
    smear = np.full_like(clip.frames, 255)
    smear[:, 40:90:3, 40:90:3] = clip.frames[0, 64, 64]
    smear[:, 40, 40:90] = smear[:, 40:90, 40] = clip.frames[0, 64, 64]
    assert final_attributes(smear) is None
