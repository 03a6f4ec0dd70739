"""Films made in one batch are the films made alone, but for rounding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import kinema
from kinema.errors import UserError
from kinema.pipeline.batch import generate_batch
from kinema.pipeline.resolve import VideoRequest
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
    wishes = [make_request(number, guidance=guidance) for number in range(3)]
    together = list(generate_batch(world, wishes))
    alone = [world.make(one).frames for one in wishes]
    assert len(together) == 3
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
    assert np.abs(alone[0].astype(int) - alone[1].astype(int)).max() > 20


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_batched_equals_single_with_ancestral_noise(world, eta, monkeypatch):
    recipe = dataclasses.replace(world.model.recipe, eta=eta)
    monkeypatch.setattr(world, "tiny_model", dataclasses.replace(world.model, recipe=recipe))
    wishes = [make_request(number, steps=6) for number in range(2)]
    together = list(generate_batch(world, wishes))
    alone = [world.make(one).frames for one in wishes]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


def test_an_empty_batch_is_empty(world):
    assert list(generate_batch(world, [])) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": (64, 64)}, "same size and length, unlike 128x64 of 9 frames and"),
        ({"frames": 17}, "same size and length, unlike 128x64 of 9 frames and"),
        ({"steps": 4}, "same number of steps, unlike 3 and 4"),
        ({"guidance": 2.0}, "same guidance"),
        ({"shift": 2.0}, "same shift"),
        ({"image": smooth_image(64, 128)}, "words alone"),
        ({"loop": True, "frames": 17}, "words alone"),
    ],
)
def test_differing_settings_are_named(world, changed, message):
    with pytest.raises(UserError, match=message):
        next(generate_batch(world, [make_request(0), make_request(1, **changed)]))
