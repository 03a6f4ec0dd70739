from __future__ import annotations

import numpy as np
import pytest

from benchmarks import phyworld


@pytest.mark.parametrize(
    ("scenario", "max_error"), [("uniform", 0.0105), ("collision", 0.0125), ("parabola", 0.022)]
)
def test_evaluator_noise_floor(scenario, max_error):
    assert phyworld.evaluator_noise_floor(scenario, num_clips=12) <= max_error


def test_collisions_keep_momentum_and_energy():
    for clip in phyworld.sample_clips("collision", "in", 10, seed=3):
        mass = clip.radius**2
        speed = np.diff(clip.position[:, :, 0], axis=0) / phyworld.FRAME_SECONDS
        for quantity in (mass * speed, mass * speed**2):
            total = quantity.sum(axis=1)
            np.testing.assert_allclose(total[-1], total[0], rtol=1e-9)


def test_baselines_are_worse_than_the_truth():
    clips = list(phyworld.sample_clips("parabola", "in", 6))
    truth, constant_velocity, last_frame = (
        np.nanmean([phyworld.velocity_error(clip, frames_of(clip)) for clip in clips])
        for frames_of in (
            lambda clip: clip.frames,
            phyworld.constant_velocity_baseline,
            phyworld.last_frame_baseline,
        )
    )
    assert truth < 0.1 < constant_velocity < last_frame


def test_ranges():
    radii = np.concatenate([c.radius for c in phyworld.sample_clips("uniform", "out", 40)])
    assert ((radii <= 0.6) | (radii >= 1.5)).all()
    assert (radii <= 0.6).any()
    assert (radii >= 1.5).any()
