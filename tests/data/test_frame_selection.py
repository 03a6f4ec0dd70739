"""Frame lists of the trainers, to the last number, and resampling by time stamps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.frame_selection import (
    evenly,
    resample,
    resample_ai_toolkit,
    resample_by_time,
    resample_diffsynth,
    resample_diffusion_pipe,
    resample_musubi,
    round_down,
    windows,
)


def starts(mode, **options):
    return [window.start for window in windows(mode, 90, [33], **options)]


def test_windows_of_musubi():
    assert starts("head") == [0]
    assert starts("chunk") == [0, 33]
    assert starts("slide") == list(range(58))
    assert starts("uniform", samples=4) == [0, 19, 38, 57]
    (full,) = windows("full", 90, [33], max_frames=129)
    assert (full.start, full.num_frames) == (0, 89)


def test_several_lengths_are_all_samples_and_rounded_down():
    found = windows("head", 30, [1, 25, 45, 28])
    assert [window.num_frames for window in found] == [1, 25]


def test_source_fps_of_musubi():
    kept = resample_musubi(90, 30.0, 16.0)
    assert kept[:12] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 17, 19, 21]
    assert kept[-3:] == [85, 87, 89]
    assert len(kept) == 48


def test_even_row_of_diffusion_pipe():
    kept = resample_diffusion_pipe(90, 30.0, 16.0)
    assert kept[:6] == [0, 1, 3, 5, 7, 9]
    assert (len(kept), kept[-1]) == (48, 89)


def test_single_clip_of_diffusion_pipe():
    (beginning,) = windows("single_beginning", 48, [1, 33, 65])
    (middle,) = windows("single_middle", 48, [1, 33, 65])
    assert (beginning.start, beginning.num_frames) == (0, 33)
    assert (middle.start, middle.num_frames) == (7, 33)
    assert windows("single_beginning", 20, [1, 33]) == []  # a video is never an image


def test_ai_toolkit():
    assert evenly(90, 5) == [round(i * 89 / 4) for i in range(5)] == [0, 22, 44, 67, 89]
    assert resample_ai_toolkit(10, 30.0, 16.0) == [0, 2, 4, 6, 8]
    assert resample_ai_toolkit(4, 10.0, 24.0) == [0, 1, 2, 3]


def test_fixed_rate_of_diffsynth():
    assert resample_diffsynth(10, 30.0, 16.0) == [0, 2, 4, 6, 8, 9]


@pytest.mark.parametrize(("count", "multiple", "expected"), [(0, 4, 0), (1, 4, 1), (32, 4, 29), (33, 8, 33)])
def test_round_down(count, multiple, expected):
    assert round_down(count, multiple) == expected


def test_time_stamps_of_a_constant_rate():
    kept = resample_by_time(np.arange(90) / 30, 3.0, 16.0)
    assert len(kept) == 48
    assert kept[:6] == [0, 2, 4, 6, 7, 9]
    assert resample_by_time(np.arange(48) / 24, 2.0, 24.0) == list(range(48))


def test_almost_the_same_rate_keeps_every_frame():
    times = np.arange(240) / 23.976
    assert resample_by_time(times, 240 / 23.976, 24.0) == list(range(240))


@given(steps=st.lists(st.floats(0.005, 0.5), min_size=3, max_size=60), fps=st.sampled_from([8.0, 16.0, 24.0]))
def test_time_stamps_of_a_varying_rate(steps, fps):
    times = np.concatenate([[0.0], np.cumsum(steps)])
    end = float(times[-1]) + 0.04
    kept = resample("timestamps", times, end, fps=fps)
    assert kept == sorted(kept)
    if len(kept) == len(times) and kept == list(range(len(times))):
        return
    assert len(kept) == max(1, int(end * fps + 1e-6))
    for index, frame in enumerate(kept):
        # No other frame is nearer to the time than the chosen one.
        assert abs(times[frame] - index / fps) <= np.abs(times - index / fps).min() + 1e-6
