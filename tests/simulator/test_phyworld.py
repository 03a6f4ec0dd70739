"""PhyWorld's clips: their physics, ranges and attributes; equal seeds give equal clips."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kinema.data.dataset import VideoDataset
from kinema.errors import UserError
from kinema.simulator.phyworld import (
    ATTRIBUTE_SIZES,
    ATTRIBUTE_SPEEDS,
    BODY_COLOURS,
    FRAME_SECONDS,
    GRAVITY,
    IMAGE_SIZE,
    NUM_FRAMES,
    RANGES,
    AttributePair,
    MotionRanges,
    PhyWorldClip,
    PhyWorldConfig,
    PhyWorldVideos,
    make_clip,
)


def clips(config: PhyWorldConfig, count: int, seed: int = 0) -> list[PhyWorldClip]:
    videos = PhyWorldVideos(config=config, num_clips=count, seed=seed)
    return [videos.clip(index) for index in range(count)]


def test_collisions_keep_momentum_and_energy() -> None:
    for clip in clips(PhyWorldConfig(scenarios=("collision",)), 10, seed=3):
        mass = clip.radius**2
        speed = np.diff(clip.position[:, :, 0], axis=0) / FRAME_SECONDS
        for quantity in (mass * speed, mass * speed**2):
            total = quantity.sum(axis=1)
            np.testing.assert_allclose(total[-1], total[0], rtol=1e-9)


def test_throws_fall_with_gravity() -> None:
    for clip in clips(PhyWorldConfig(scenarios=("parabola",)), 5):
        acceleration = np.diff(clip.position[:, 0], n=2, axis=0) / FRAME_SECONDS**2
        np.testing.assert_allclose(acceleration, np.broadcast_to([0.0, GRAVITY], (31, 2)), atol=1e-8)


def test_ranges_are_kept() -> None:
    out = clips(PhyWorldConfig(scenarios=("uniform",), ranges=RANGES["out"]), 40)
    radii = np.concatenate([clip.radius for clip in out])
    assert ((radii <= 0.6) | (radii >= 1.5)).all()
    assert (radii <= 0.6).any()
    assert (radii >= 1.5).any()
    speeds = np.array([np.diff(clip.position[:2, 0, 0])[0] for clip in out]) / FRAME_SECONDS
    assert ((abs(speeds) <= 0.8) | (abs(speeds) >= 4.5)).all()
    assert (speeds < 0).any()
    assert (speeds > 0).any()
    one_way = MotionRanges(speeds=((2.5, 4.0),), direction="right")
    for clip in clips(PhyWorldConfig(scenarios=("uniform",), ranges=one_way), 20):
        assert 2.5 <= np.diff(clip.position[:2, 0, 0])[0] / FRAME_SECONDS <= 4.0


def test_scenarios_take_turns_and_clips_repeat() -> None:
    videos = PhyWorldVideos(config=PhyWorldConfig(), num_clips=6, seed=5)
    assert isinstance(videos, VideoDataset)
    assert [len(videos.clip(index).radius) for index in range(6)] == [1, 2, 1, 1, 2, 1]
    assert videos.frames(4).shape == (NUM_FRAMES, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert (videos.frames(4) == PhyWorldVideos(config=PhyWorldConfig(), num_clips=9, seed=5).frames(4)).all()
    assert (videos.frames(4) != dataclasses.replace(videos, seed=6).frames(4)).any()
    assert videos.captions(0) == ("",)


@pytest.mark.parametrize("crossed", [False, True])
def test_attributes_occur_in_pairs(crossed: bool) -> None:
    pair = AttributePair(first="colour", second="velocity", crossed=crossed)
    seen = set()
    for clip in clips(PhyWorldConfig(pair=pair), 40):
        speed = abs(np.diff(clip.position[:2, 0, 0])[0]) / FRAME_SECONDS
        fast = ATTRIBUTE_SPEEDS.index(round(float(speed), 6))
        assert (clip.colours[0] == fast) != crossed
        seen.add((clip.colours[0], ATTRIBUTE_SIZES.index(float(clip.radius[0])), clip.shapes[0]))
    assert len(seen) == 8  # The other attributes are independent.


@pytest.mark.parametrize(("shape", "area"), [("ball", np.pi), ("square", 4.0)])
def test_bodies_are_rendered_with_their_area_and_colour(shape: str, area: float) -> None:
    position = np.array([[[4.321, 6.5]], [[10.5, 6.5]], [[-3.0, 6.5]]])
    frames = make_clip(position, np.array([1.2]), (1,), (shape,)).frames.astype(float)
    assert (frames[2] == 255).all()
    whole, cut = ((255 - frames[f, ..., 0]).sum() / (255 - BODY_COLOURS[1][0]) for f in (0, 1))
    assert whole * (10 / IMAGE_SIZE) ** 2 == pytest.approx(area * 1.2**2, rel=0.01)
    assert 0.1 < cut / whole < 0.4
    assert (frames[0, int(6.5 * 12.8), int(4.321 * 12.8)] == BODY_COLOURS[1]).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: PhyWorldConfig(scenarios=()),
        lambda: MotionRanges(speeds=()),
        lambda: MotionRanges(radii=((2.0, 1.0),)),
        lambda: AttributePair(first="size", second="size"),
    ],
)
def test_bad_settings_are_refused(make) -> None:
    with pytest.raises(UserError, match="give"):
        make()
