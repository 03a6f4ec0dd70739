"""Crops: inside the video, around objects and moving pixels, on the CPU and from the device cache."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.data import rng
from kinema.data.cropping import DeviceVideoCache, random_crop, to_model_input
from tests.fixtures.training_data import moving_squares, static_squares

CPU = torch.device("cpu")


@given(side=st.sampled_from([16, 24]), object_crop_p=st.floats(0, 1), seed=st.integers(0, 10**6))
def test_crops_lie_inside_the_video(side, object_crop_p, seed):
    frames = moving_squares().frames(1)
    crop = random_crop(frames, side, object_crop_p, np.random.default_rng(seed))
    assert crop.shape == (5, side, side, 3)
    origins = [
        (y, x)
        for y in range(33 - side)
        for x in range(33 - side)
        if np.array_equal(frames[:, y : y + side, x : x + side], crop)
    ]
    assert origins


def test_object_crops_show_objects():
    frames = moving_squares().frames(1)
    shows = [random_crop(frames, 16, 1.0, np.random.default_rng(seed)).std() > 20 for seed in range(60)]
    assert np.mean(shows) > 0.9


def test_half_of_object_crops_are_on_moving_pixels():
    frames = np.full((5, 96, 96, 3), 128, np.uint8)
    frames[:, 4:44, 4:44] = (30, 30, 220)  # large and static: most object pixels are here
    for i, frame in enumerate(frames):
        frame[80:84, 70 + 3 * i : 74 + 3 * i] = (220, 30, 30)
    crops = [random_crop(frames, 16, 1.0, np.random.default_rng(seed)) for seed in range(200)]
    changing = np.mean([(crop[0] != crop[-1]).any() or (crop[0] != crop[2]).any() for crop in crops])
    assert 0.4 < changing < 0.65


def test_device_crops_are_parts_of_their_videos_and_show_objects():
    videos = static_squares()
    cache = DeviceVideoCache.from_dataset(videos, CPU, seed=0)
    assert cache.full_videos([2, 5]).equal(to_model_input(videos.pixels[[2, 5]], CPU))
    indices = [0, 3, 5, 1] * 8
    uniforms = torch.rand(32, 4, generator=rng.generator(0))
    crops = cache.crops(indices, uniforms, 16, 1.0)
    for index, crop in zip(indices, crops, strict=True):
        video = to_model_input(videos.pixels[[index]], CPU)[0]
        origins = [(y, x) for y in range(17) for x in range(17)]
        assert any(video[:, :, y : y + 16, x : x + 16].equal(crop) for y, x in origins)
    assert (crops.std(dim=(1, 2, 3, 4)) > 0.05).float().mean() > 0.9


@pytest.mark.parametrize("value", [0, 1, 127, 128, 254, 255])
def test_pixel_values_map_to_the_model_range(value):
    converted = to_model_input(np.full((1, 1, 2, 2, 3), value, np.uint8), CPU)
    assert converted.shape == (1, 3, 1, 2, 2)
    assert converted.flatten().tolist() == pytest.approx([value / 127.5 - 1] * 12, abs=1e-6)
