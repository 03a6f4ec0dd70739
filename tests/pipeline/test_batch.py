"""Videos of a batch equal the same videos alone, except for rounding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import kinema
from kinema.errors import UserError
from kinema.pipeline.request import VideoRequest
from tests.fixtures.wan_videos import smooth_image

PROMPTS = ("a red ball rolls to the left", "a blue cube stands to the right of a small green cone", "")


@pytest.fixture(scope="module")
def world():
    return kinema.load("world")


def make_request(number: int, **changed) -> VideoRequest:
    base = VideoRequest(
        prompt=PROMPTS[number], seed=number, size=(128, 64), num_frames=9, num_inference_steps=3
    )
    return dataclasses.replace(base, **changed)


@pytest.mark.parametrize("guidance", [None, 1.0])
def test_batched_equals_single(world, guidance):
    requests = [make_request(number, guidance_scale=guidance) for number in range(3)]
    together = [video.frames for video in world.generate_batch(requests)]
    alone = [world.generate(one).frames for one in requests]
    assert len(together) == 3
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
    assert np.abs(alone[0].astype(int) - alone[1].astype(int)).max() > 20


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_batched_equals_single_with_ancestral_noise(world, eta, monkeypatch):
    defaults = dataclasses.replace(world.model.sampling_defaults, eta=eta)
    model = dataclasses.replace(world.model, sampling_defaults=defaults)
    monkeypatch.setattr(world, "components", dataclasses.replace(world.components, model=model))
    requests = [make_request(number, num_inference_steps=6) for number in range(2)]
    together = [video.frames for video in world.generate_batch(requests)]
    alone = [world.generate(one).frames for one in requests]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


def test_an_empty_batch_is_empty(world):
    assert list(world.generate_batch([])) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": (64, 64)}, "same size and length, unlike 128x64 of 9 frames and"),
        ({"num_frames": 17}, "same size and length, unlike 128x64 of 9 frames and"),
        ({"num_inference_steps": 4}, "same number of steps, unlike 3 and 4"),
        ({"guidance_scale": 2.0}, "same guidance"),
        ({"flow_shift": 2.0}, "same flow shift"),
        ({"image": smooth_image(64, 128)}, "text alone"),
        ({"loop": True, "num_frames": 17}, "text alone"),
    ],
)
def test_differing_settings_are_named(world, changed, message):
    with pytest.raises(UserError, match=message):
        next(world.generate_batch([make_request(0), make_request(1, **changed)]))
