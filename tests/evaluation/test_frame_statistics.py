"""Frame statistics on videos whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.evaluation.frame_statistics import (
    compute_drift,
    frame_differences,
    loop_seam_ratio,
    sharpness,
)
from kinema.simulator.clip import make_clip
from kinema.simulator.clip_spec import ClipSpec


def flat_video(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)


def test_frame_differences():
    assert frame_differences(flat_video(0, 2, 5)) == [2, 3]
    assert frame_differences(flat_video(7)) == []


def test_loop_seam_ratio():
    assert loop_seam_ratio(flat_video(0, 2, 4, 6, 4, 2)) == 1
    assert loop_seam_ratio(flat_video(0, 2, 4, 6)) == 3
    assert loop_seam_ratio(flat_video(5, 5, 5)) == 1
    assert loop_seam_ratio(flat_video(5, 5, 5, 6)) == np.inf


def test_drift_of_sharpness_and_colour():
    clip = make_clip(ClipSpec(seed=1, lab=True, event="still", height=64, width=64, num_frames=33))
    video = clip.frames.copy()
    assert compute_drift(video, 8).sharpness_ratio == pytest.approx(1, abs=0.1)
    video[-8:] = video[-8:].mean((1, 2), keepdims=True)
    video[-8:, ..., 0] += 9
    drift = compute_drift(video, 8)
    assert drift.sharpness_ratio < 0.01
    assert 2 < drift.delta_e < 9
    assert sharpness(video[-8:]) < 1
