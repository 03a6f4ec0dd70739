from __future__ import annotations

import numpy as np
import pytest

from kinema.evaluate.cause import momentum_error
from kinema.evaluate.identity import identity, survival
from kinema.evaluate.judgement import judgement
from kinema.evaluate.laws import unevenness
from kinema.evaluate.meaning import read
from kinema.evaluate.permanence import permanence
from kinema.evaluate.room import CAMERA, on_plane, pixels
from kinema.evaluate.smoke import judge
from kinema.evaluate.tracks import parse
from kinema.world.clip import ClipSpec, make_clip
from kinema.world.render.camera import project
from tests.evaluate_films import Disc, film, line, still

BALL = "a red ball rolls to the left"


def ball(x: np.ndarray, y: np.ndarray | None = None, colour: str = "red", radius=6.0) -> Disc:
    return Disc(colour=colour, x=x, y=still(34.0) if y is None else y, radius=radius)


@pytest.mark.parametrize(("start", "stop", "right"), [(50, 14, True), (14, 50, False), (32, 31, False)])
def test_direction(start, stop, right):
    verdict = judge(BALL, film(ball(line(start, stop))), 8.0)
    assert verdict.direction is right
    assert verdict.frozen is (abs(start - stop) < 6)


@pytest.mark.parametrize("words", ["toward the camera", "away from the camera"])
def test_depth_is_read_off_the_floor(words):
    y = np.linspace(1.0, -1.0, 17) if "toward" in words else np.linspace(-1.0, 1.0, 17)
    spots = pixels(np.stack([np.zeros(17), y, np.full(17, 0.42)], axis=1), 64, 64)
    told = film(ball(spots[:, 0], spots[:, 1]))
    assert judge(f"a red ball rolls {words}", told, 8.0).direction is True
    assert judge(BALL, told, 8.0).direction is False


def test_the_floor_is_seen_through_the_labs_camera():
    points = np.array([[0.5, -0.7, 0.42], [-1.0, 1.2, 0.42]])
    screen, _ = project(CAMERA, points)
    np.testing.assert_allclose(on_plane(screen * 128 - 0.5, 128, 128), points[:, :2], atol=1e-9)


@pytest.mark.parametrize("swapped", [False, True])
def test_left_and_right(swapped):
    a, b = (46.0, 18.0) if swapped else (18.0, 46.0)
    told = film(ball(still(a)), ball(still(b), colour="blue"))
    assert judge("a red ball stands to the left of a blue ball", told, 8.0).left_right is not swapped
    assert judge("a red ball stands to the right of a blue ball", told, 8.0).left_right is swapped


def test_binding_tells_colour_and_shape_apart():
    spec = ClipSpec(seed=5000, lab=True, event="still", height=64, width=64, frames=9, fps=8.0, split="train")
    clip = make_clip(spec)
    one, two = ((e.colour, e.shape) for e in clip.facts.entities)
    other = next(s for s in ("ball", "cube", "cylinder", "cone") if s not in (one[1], two[1]))
    side = clip.facts.claims[0].kind.split()[0]

    def told(first, second):
        return judge(
            f"a {first[0]} {first[1]} stands to the {side} of a {second[0]} {second[1]}", clip.frames, 8.0
        )

    assert told(one, two).right
    shape = told(one, (two[0], other))
    assert (shape.colour, shape.shape, shape.binding) == (True, False, False)
    colour = next(c for c in ("red", "green", "blue") if c not in (one[0], two[0]))
    wrong = told(one, (colour, two[1]))
    assert (wrong.colour, wrong.shape, wrong.binding) == (False, True, False)


def test_pop_vanish_recolour_resize():
    other = ball(still(18.0), colour="blue")
    x = still(46.0)
    late, early = x.copy(), x.copy()
    late[:7], early[9:] = np.nan, np.nan
    clean = permanence(parse(film(other, ball(x)), 8.0))
    assert clean.faults == 0
    assert [f for f, _ in permanence(parse(film(other, ball(late)), 8.0)).births] == [7]
    assert [f for f, _ in permanence(parse(film(other, ball(early)), 8.0)).deaths] == [9]
    half = film(other, ball(x))
    half[8:] = film(other, ball(x, colour="green"))[8:]
    assert permanence(parse(half, 8.0)).recoloured
    grown = np.where(np.arange(17) < 8, 6.0, 8.0)
    assert permanence(parse(film(other, ball(x, radius=grown)), 8.0)).resized


def test_leaving_the_picture_and_hiding_are_no_faults():
    assert permanence(parse(film(ball(line(40, -20))), 8.0)).faults == 0
    assert permanence(parse(film(ball(line(-20, 40))), 8.0)).faults == 0
    behind = film(ball(line(8, 56), radius=5.0), ball(still(32.0), colour="blue", radius=9.0))
    assert permanence(parse(behind, 8.0)).faults == 0


@pytest.mark.parametrize("late", [True, False])
def test_what_stands_at_the_edge_of_the_picture_may_not_pop_up_or_vanish_there(late):
    x = still(59.0)
    x[:7] = np.where(late, np.nan, x[:7])
    x[7:] = np.where(late, x[7:], np.nan)
    seen = permanence(parse(film(ball(still(18.0), colour="blue"), ball(x)), 8.0))
    events = seen.births if late else seen.deaths
    assert [frame for frame, _ in events] == [7]


def test_what_a_fast_thing_passes_in_front_of_is_hidden_in_a_single_step():
    small, fast = ball(still(32.0), radius=4.0), -69 + 12.0 * np.arange(17)
    told = parse(film(small, ball(fast, colour="blue", radius=9.0)), 8.0)
    assert not all(track.seen.all() for track in told.tracks if track.colour == "red")
    assert permanence(told).faults == 0


def _meeting(contact: int, respond: int | None, through: bool = False) -> np.ndarray:
    """A ball from the left that reaches another one at `contact`; that one moves from `respond` on."""
    f = np.arange(17)
    speed = (38 - 12 - 10) / contact
    one = 10 + speed * (f if through else np.minimum(f, contact))
    two = 38 + speed * 0.8 * (np.maximum(f - respond, 0) if respond is not None else 0 * f)
    return film(ball(two, colour="blue"), ball(one))


def test_cause_and_effect():
    prompt = "a red ball rolls to the right and hits a blue ball"
    assert judge(prompt, _meeting(6, 6), 8.0).hits is True
    assert judge(prompt, _meeting(8, 2), 8.0).hits is False  # moved before it was touched
    assert judge(prompt, _meeting(6, None, through=True), 8.0).hits is False
    stopped = film(ball(still(46.0), colour="blue"), ball(np.minimum(line(10, 60), 26.0)))
    assert judge(prompt, stopped, 8.0).hits is False
    assert judge("a red ball rolls to the right, but stops before reaching a blue ball", stopped, 8.0).hits


def test_momentum_error_is_what_the_others_push_does_not_answer():
    push = np.array([0.3, 0.4])
    assert momentum_error(push, -2.5 * push) == pytest.approx(0)
    assert momentum_error(push, np.array([0.4, -0.3])) == pytest.approx(1)
    assert momentum_error(push, push) == 1
    assert momentum_error(push, np.array([-0.5, 0.0])) == pytest.approx(0.8)
    assert momentum_error(push, np.zeros(2)) == 1
    assert np.isnan(momentum_error(np.zeros(2), push))


def test_a_push_along_the_line_of_motion_keeps_momentum():
    prompt = "a red ball rolls to the right and hits a blue ball"
    met = judgement(read(prompt), _meeting(6, 6), 8.0).meeting
    assert met.momentum < 0.05
    assert 0.5 < met.energy < 1
    through = judgement(read(prompt), _meeting(6, None, through=True), 8.0).meeting
    assert np.isnan(through.momentum)
    stands = film(ball(still(46.0), colour="blue"), ball(still(14.0)))
    never = judgement(read(prompt), stands, 8.0).meeting
    assert np.isnan([never.energy, never.momentum]).all()


def test_what_bounces_back_between_two_frames_went_the_way_it_was_sent():
    """At few frames a second no picture need show the touch: the way back is not the striker's own."""
    prompt = "a red ball rolls to the right and hits a blue ball"
    one = np.array([10.0, 17, 24, *np.linspace(23, 12, 14)])
    two = 40.0 + np.concatenate([np.zeros(3), np.minimum(5.0 * np.arange(1, 15), 12)])
    told = film(ball(two, colour="blue"), ball(one))
    assert not any(track.touching.any() for track in parse(told, 8.0).tracks)
    seen = judgement(read(prompt), told, 8.0)
    assert (seen.direction, seen.verdict("cause")) == (True, True)
    mirrored = judgement(read(prompt), told[:, :, ::-1], 8.0)
    assert mirrored.direction is False


def test_a_frozen_film_wins_nothing_that_is_about_motion():
    stands = film(ball(still(46.0), colour="blue"), ball(still(14.0)))
    for prompt in (
        "a red ball rolls to the right and stops",
        "a red ball rolls to the right and misses a blue ball",
        "a red ball falls down and lands without bouncing",
    ):
        seen = judgement(read(prompt), stands, 8.0)
        told = {measure: seen.verdict(measure) for measure in ("direction", "cause", "laws")}
        assert True not in told.values(), (prompt, told)
        assert False in told.values()


def test_unevenness_is_zero_for_steady_slowing_and_large_for_jerks():
    t = np.arange(17) / 8
    slowing = np.stack([2 * t - 0.4 * t**2, 0 * t], axis=1)
    assert unevenness(slowing, t) < 1e-9
    jerk = slowing + 0.3 * (np.arange(17)[:, None] % 2)
    assert unevenness(jerk, t) > 0.1


def test_identity_over_a_minute_finds_the_moment_of_a_swap():
    frames, fps = 240, 4.0
    changed = np.where(np.arange(frames) < 120, 6.0, 8.5)
    told = film(ball(still(30.0, frames), still(34.0, frames), radius=changed), frames=frames)
    chunks = identity(parse(told, fps), grounded=True, lost=None)
    assert survival(chunks, frames / fps) == 30.0
    same = film(ball(still(30.0, frames), still(34.0, frames)), frames=frames)
    assert survival(identity(parse(same, fps), grounded=True, lost=None), frames / fps) == 60.0


def test_flicker_is_the_mean_change_of_the_background():
    told = film(ball(line(50, 14)))
    told[::2] += 3
    assert judgement(read(BALL), told, 8.0).flicker.background == pytest.approx(3.0)


def test_what_can_not_be_parsed_is_wrong_and_says_so():
    verdict = judge(BALL, np.full((17, 64, 64, 3), 184, dtype=np.uint8), 8.0)
    assert not verdict.parsed
    assert not verdict.right
    assert verdict.direction is False
