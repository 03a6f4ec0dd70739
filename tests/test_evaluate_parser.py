from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.evaluate import palette
from kinema.evaluate.degrade import WORN, Wear, worn
from kinema.evaluate.scene import shapes_seen
from kinema.evaluate.tracks import parse
from kinema.world.look.lab import LAB_COLOURS
from tests.evaluate_films import Disc, film, line, still


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(LAB_COLOURS),
    st.floats(14, 22),
    st.floats(38, 48),
    st.floats(20, 44),
    st.floats(8, 11),
)
def test_soft_centroids_are_exact_to_a_fiftieth_of_a_pixel(colour, start, stop, y, radius):
    x = line(start, stop)
    seen = parse(film(Disc(colour=colour, x=x, y=still(y), radius=radius)), 8.0)
    assert len(seen.tracks) == 1
    track = seen.tracks[0]
    assert track.colour == colour
    assert track.seen.all()
    truth = np.stack([x, still(y)], axis=1)
    steps = np.diff(track.centre - truth, axis=0)
    assert np.sqrt((steps**2).mean()) <= 0.02
    assert abs(track.radius - radius) < 0.06 * radius + 0.15


@pytest.mark.parametrize(
    "wear",
    [
        WORN,
        Wear(blur=1.0),
        Wear(noise=0.03),
        Wear(tint=(0.02, -0.01, 0.0)),
        Wear(blur=0.7, noise=0.02, tint=(-0.02, 0.01, 0.01)),
    ],
)
@pytest.mark.parametrize("size", [64, 128])
def test_worn_and_tinted_films_are_parsed_alike(wear, size):
    zoom = size / 64
    discs = [
        Disc(colour="red", x=line(12, 24) * zoom, y=still(20 * zoom), radius=6 * zoom),
        Disc(colour="orange", x=line(50, 44) * zoom, y=still(20 * zoom), radius=6 * zoom),
        Disc(colour="purple", x=still(30 * zoom), y=line(42, 52) * zoom, radius=6 * zoom),
    ]
    seen = parse(worn(film(*discs, size=size), wear, seed=1), 8.0)
    assert sorted(track.colour for track in seen.tracks) == ["orange", "purple", "red"]
    assert all(track.seen.all() for track in seen.tracks)


def test_an_empty_gray_film_has_nothing_in_it():
    rng = np.random.default_rng(0)
    gray = np.clip(rng.normal(184, 5, size=(9, 64, 64, 3)), 0, 255).astype(np.uint8)
    assert parse(gray, 8.0).tracks == ()


def test_a_thing_of_a_hue_between_two_colours_is_one_thing():
    disc = Disc(colour="red", x=line(20, 44), y=still(30.0), radius=9.0)
    told = film(disc).astype(float)
    # Half-way between red and orange, by a little noise now the one and now the other.
    cover = (told[..., :1] - told[..., 2:]) / 210
    told[..., 1] += np.clip(cover[..., 0], 0, 1) * np.random.default_rng(0).normal(30, 14, told.shape[:3])
    seen = parse(np.clip(told, 0, 255).astype(np.uint8), 8.0)
    assert len(seen.tracks) == 1
    assert seen.tracks[0].seen.all()


def test_neighbouring_colours_that_touch_stay_two():
    discs = [
        Disc(colour=c, x=still(x), y=still(30.0), radius=8.0) for c, x in (("red", 22.0), ("orange", 37.0))
    ]
    for told in (film(*discs), worn(film(*discs), WORN, seed=0)):
        assert sorted(track.colour for track in parse(told, 8.0).tracks) == ["orange", "red"]


@pytest.mark.parametrize("degrees", [0, 20, 45, 90])
def test_two_things_of_one_colour_that_touch_are_two(degrees):
    reach = 7.1 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    discs = [
        Disc(colour="green", x=still(30 + sign * reach[0]), y=still(30 + sign * reach[1]), radius=7.0)
        for sign in (-1, 1)
    ]
    assert len(parse(film(*discs), 8.0).tracks) == 2
    assert len(parse(worn(film(*discs), Wear(blur=0.7, noise=0.02), seed=1), 8.0).tracks) == 2


def test_things_that_touch_all_the_time_have_shapes():
    discs = [
        Disc(colour=c, x=still(x), y=still(30.0), radius=9.0) for c, x in (("red", 21.0), ("blue", 39.5))
    ]
    seen = parse(film(*discs), 8.0)
    assert all(track.touching.all() for track in seen.tracks)
    assert all(None not in shapes_seen(track) for track in seen.tracks)


def test_a_thing_keeps_its_track_through_an_occlusion():
    ball = Disc(colour="yellow", x=line(10, 54), y=still(30.0), radius=5.0)
    post = Disc(colour="blue", x=still(32.0), y=still(30.0), radius=9.0)
    seen = parse(film(ball, post), 8.0)
    assert sorted(track.colour for track in seen.tracks) == ["blue", "yellow"]
    yellow = next(track for track in seen.tracks if track.colour == "yellow")
    assert not yellow.seen.all()
    assert yellow.seen[0]
    assert yellow.seen[-1]


def test_every_lab_colour_is_nearest_to_itself():
    for colour, hue in palette.HUES.items():
        assert palette.nearest_colour(hue) == colour
        assert palette.nearest_colour((hue + 8) % 360) == colour
        assert palette.nearest_colour((hue - 8) % 360) == colour
