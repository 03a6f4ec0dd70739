from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.evaluation import palette
from kinema.evaluation.corruptions import DEFAULT_CORRUPTION, CorruptionConfig, corrupt_frames
from kinema.evaluation.matching import shape_per_frame
from kinema.evaluation.tracking import track_objects
from kinema.simulator.attributes import LAB_COLOURS
from tests.evaluation.disc_videos import Disc, constant_path, disc_video, linear_path


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(LAB_COLOURS),
    st.floats(14, 22),
    st.floats(38, 48),
    st.floats(20, 44),
    st.floats(8, 11),
)
def test_soft_centroids_are_exact_to_a_fiftieth_of_a_pixel(colour, start, stop, y, radius):
    x = linear_path(start, stop)
    video = track_objects(disc_video(Disc(colour=colour, x=x, y=constant_path(y), radius=radius)), 8.0)
    assert len(video.tracks) == 1
    track = video.tracks[0]
    assert track.colour == colour
    assert track.visible.all()
    truth = np.stack([x, constant_path(y)], axis=1)
    errors = np.diff(track.centre - truth, axis=0)
    assert np.sqrt((errors**2).mean()) <= 0.02
    assert abs(track.radius - radius) < 0.06 * radius + 0.15


@pytest.mark.parametrize(
    "config",
    [
        DEFAULT_CORRUPTION,
        CorruptionConfig(blur=1.0),
        CorruptionConfig(noise=0.03),
        CorruptionConfig(tint=(0.02, -0.01, 0.0)),
        CorruptionConfig(blur=0.7, noise=0.02, tint=(-0.02, 0.01, 0.01)),
    ],
)
@pytest.mark.parametrize("size", [64, 128])
def test_corrupted_and_tinted_videos_give_the_same_tracks(config, size):
    scale = size / 64
    discs = [
        Disc(colour="red", x=linear_path(12, 24) * scale, y=constant_path(20 * scale), radius=6 * scale),
        Disc(colour="orange", x=linear_path(50, 44) * scale, y=constant_path(20 * scale), radius=6 * scale),
        Disc(colour="purple", x=constant_path(30 * scale), y=linear_path(42, 52) * scale, radius=6 * scale),
    ]
    video = track_objects(corrupt_frames(disc_video(*discs, size=size), config, seed=1), 8.0)
    assert sorted(track.colour for track in video.tracks) == ["orange", "purple", "red"]
    assert all(track.visible.all() for track in video.tracks)


def test_an_empty_gray_video_has_no_tracks():
    rng = np.random.default_rng(0)
    gray = np.clip(rng.normal(184, 5, size=(9, 64, 64, 3)), 0, 255).astype(np.uint8)
    assert track_objects(gray, 8.0).tracks == ()


def test_an_object_of_a_hue_between_two_colours_is_one_object():
    disc = Disc(colour="red", x=linear_path(20, 44), y=constant_path(30.0), radius=9.0)
    frames = disc_video(disc).astype(float)
    # Half-way between red and orange: noise moves single pixels to either side.
    coverage = (frames[..., :1] - frames[..., 2:]) / 210
    noise = np.random.default_rng(0).normal(30, 14, frames.shape[:3])
    frames[..., 1] += np.clip(coverage[..., 0], 0, 1) * noise
    video = track_objects(np.clip(frames, 0, 255).astype(np.uint8), 8.0)
    assert len(video.tracks) == 1
    assert video.tracks[0].visible.all()


def test_neighbouring_colours_that_touch_stay_two():
    discs = [
        Disc(colour=c, x=constant_path(x), y=constant_path(30.0), radius=8.0)
        for c, x in (("red", 22.0), ("orange", 37.0))
    ]
    for frames in (disc_video(*discs), corrupt_frames(disc_video(*discs), DEFAULT_CORRUPTION, seed=0)):
        assert sorted(track.colour for track in track_objects(frames, 8.0).tracks) == ["orange", "red"]


@pytest.mark.parametrize("degrees", [0, 20, 45, 90])
def test_two_touching_objects_of_one_colour_are_two(degrees):
    offset = 7.1 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    discs = [
        Disc(
            colour="green",
            x=constant_path(30 + sign * offset[0]),
            y=constant_path(30 + sign * offset[1]),
            radius=7.0,
        )
        for sign in (-1, 1)
    ]
    frames = disc_video(*discs)
    corrupted = corrupt_frames(frames, CorruptionConfig(blur=0.7, noise=0.02), seed=1)
    assert len(track_objects(frames, 8.0).tracks) == 2
    assert len(track_objects(corrupted, 8.0).tracks) == 2


def test_objects_that_always_touch_have_shapes():
    discs = [
        Disc(colour=c, x=constant_path(x), y=constant_path(30.0), radius=9.0)
        for c, x in (("red", 21.0), ("blue", 39.5))
    ]
    video = track_objects(disc_video(*discs), 8.0)
    assert all(track.touching.all() for track in video.tracks)
    assert all(None not in shape_per_frame(track) for track in video.tracks)


def test_an_object_keeps_its_track_through_an_occlusion():
    ball = Disc(colour="yellow", x=linear_path(10, 54), y=constant_path(30.0), radius=5.0)
    occluder = Disc(colour="blue", x=constant_path(32.0), y=constant_path(30.0), radius=9.0)
    video = track_objects(disc_video(ball, occluder), 8.0)
    assert sorted(track.colour for track in video.tracks) == ["blue", "yellow"]
    yellow = next(track for track in video.tracks if track.colour == "yellow")
    assert not yellow.visible.all()
    assert yellow.visible[0]
    assert yellow.visible[-1]


def test_every_lab_colour_is_nearest_to_itself():
    for colour, hue in palette.HUES.items():
        assert palette.nearest_colour(hue) == colour
        assert palette.nearest_colour((hue + 8) % 360) == colour
        assert palette.nearest_colour((hue - 8) % 360) == colour
