from __future__ import annotations

import numpy as np
import pytest

from kinema.evaluation.camera_geometry import LAB_CAMERA, project_to_pixels, unproject_to_horizontal_plane
from kinema.evaluation.causality import momentum_error
from kinema.evaluation.identity import measure_identity, survival_seconds
from kinema.evaluation.permanence import measure_permanence
from kinema.evaluation.physics_laws import deceleration_residual
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.score_video import VideoScores, score_video
from kinema.evaluation.tracking import track_objects
from kinema.simulator.clip import ClipSpec, make_clip
from kinema.simulator.render.camera import project
from tests.evaluation.disc_videos import Disc, constant_path, disc_video, linear_path

BALL = "a red ball rolls to the left"
HIT = "a red ball rolls to the right and hits a blue ball"


def score(prompt: str, frames: np.ndarray, fps: float = 8.0) -> VideoScores:
    return score_video(parse_prompt(prompt), frames, fps)


def ball_disc(x: np.ndarray, y: np.ndarray | None = None, colour: str = "red", radius=6.0) -> Disc:
    return Disc(colour=colour, x=x, y=constant_path(34.0) if y is None else y, radius=radius)


@pytest.mark.parametrize(("start", "stop", "correct"), [(50, 14, True), (14, 50, False), (32, 31, False)])
def test_direction(start, stop, correct):
    scores = score(BALL, disc_video(ball_disc(linear_path(start, stop))))
    assert scores.direction is correct
    assert scores.frozen is (abs(start - stop) < 6)


@pytest.mark.parametrize("phrase", ["toward the camera", "away from the camera"])
def test_depth_is_measured_on_the_floor(phrase):
    y = np.linspace(1.0, -1.0, 17) if "toward" in phrase else np.linspace(-1.0, 1.0, 17)
    pixels = project_to_pixels(np.stack([np.zeros(17), y, np.full(17, 0.42)], axis=1), 64, 64)
    video = disc_video(ball_disc(pixels[:, 0], pixels[:, 1]))
    assert score(f"a red ball rolls {phrase}", video).direction is True
    assert score(BALL, video).direction is False


def test_unprojection_to_the_floor_inverts_the_lab_camera():
    points = np.array([[0.5, -0.7, 0.42], [-1.0, 1.2, 0.42]])
    screen, _ = project(LAB_CAMERA, points)
    np.testing.assert_allclose(
        unproject_to_horizontal_plane(screen * 128 - 0.5, 128, 128), points[:, :2], atol=1e-9
    )


@pytest.mark.parametrize("swapped", [False, True])
def test_left_and_right(swapped):
    a, b = (46.0, 18.0) if swapped else (18.0, 46.0)
    video = disc_video(ball_disc(constant_path(a)), ball_disc(constant_path(b), colour="blue"))
    assert score("a red ball stands to the left of a blue ball", video).left_right is not swapped
    assert score("a red ball stands to the right of a blue ball", video).left_right is swapped


def test_binding_distinguishes_colour_and_shape():
    spec = ClipSpec(
        seed=5000, lab=True, event="still", height=64, width=64, num_frames=9, fps=8.0, split="train"
    )
    clip = make_clip(spec)
    one, two = ((e.colour, e.shape) for e in clip.annotations.entities)
    other_shape = next(s for s in ("ball", "cube", "cylinder", "cone") if s not in (one[1], two[1]))
    other_colour = next(c for c in ("red", "green", "blue") if c not in (one[0], two[0]))
    side = clip.annotations.claims[0].kind.split()[0]

    def score_objects(first, second):
        return score(
            f"a {first[0]} {first[1]} stands to the {side} of a {second[0]} {second[1]}", clip.frames
        )

    assert score_objects(one, two).is_correct
    wrong_shape = score_objects(one, (two[0], other_shape))
    assert (wrong_shape.colour, wrong_shape.shape, wrong_shape.binding) == (True, False, False)
    wrong_colour = score_objects(one, (other_colour, two[1]))
    assert (wrong_colour.colour, wrong_colour.shape, wrong_colour.binding) == (False, True, False)


def permanence_of(*discs: Disc):
    return measure_permanence(track_objects(disc_video(*discs), 8.0))


def test_pop_vanish_recolour_resize():
    other = ball_disc(constant_path(18.0), colour="blue")
    x = constant_path(46.0)
    late, early = x.copy(), x.copy()
    late[:7], early[9:] = np.nan, np.nan
    assert permanence_of(other, ball_disc(x)).num_faults == 0
    assert [frame for frame, _ in permanence_of(other, ball_disc(late)).births] == [7]
    assert [frame for frame, _ in permanence_of(other, ball_disc(early)).deaths] == [9]
    recoloured = disc_video(other, ball_disc(x))
    recoloured[8:] = disc_video(other, ball_disc(x, colour="green"))[8:]
    assert measure_permanence(track_objects(recoloured, 8.0)).colour_changes
    radius = np.where(np.arange(17) < 8, 6.0, 8.0)
    assert permanence_of(other, ball_disc(x, radius=radius)).size_changes


def test_leaving_the_frame_and_occlusion_are_no_faults():
    assert permanence_of(ball_disc(linear_path(40, -20))).num_faults == 0
    assert permanence_of(ball_disc(linear_path(-20, 40))).num_faults == 0
    passing = ball_disc(linear_path(8, 56), radius=5.0)
    occluder = ball_disc(constant_path(32.0), colour="blue", radius=9.0)
    assert permanence_of(passing, occluder).num_faults == 0


@pytest.mark.parametrize("late", [True, False])
def test_objects_at_the_frame_border_may_not_pop_up_or_vanish_there(late):
    x = constant_path(59.0)
    x[:7] = np.where(late, np.nan, x[:7])
    x[7:] = np.where(late, x[7:], np.nan)
    permanence = permanence_of(ball_disc(constant_path(18.0), colour="blue"), ball_disc(x))
    events = permanence.births if late else permanence.deaths
    assert [frame for frame, _ in events] == [7]


def test_a_fast_object_can_occlude_another_within_one_frame():
    small, fast = ball_disc(constant_path(32.0), radius=4.0), -69 + 12.0 * np.arange(17)
    video = track_objects(disc_video(small, ball_disc(fast, colour="blue", radius=9.0)), 8.0)
    assert not all(track.visible.all() for track in video.tracks if track.colour == "red")
    assert measure_permanence(video).num_faults == 0


def _collision_video(contact_frame: int, response_frame: int | None, through: bool = False) -> np.ndarray:
    """A ball reaches another one at `contact_frame`, which moves from `response_frame` on."""
    frames = np.arange(17)
    speed = (38 - 12 - 10) / contact_frame
    striking = 10 + speed * (frames if through else np.minimum(frames, contact_frame))
    moving = np.maximum(frames - response_frame, 0) if response_frame is not None else 0 * frames
    return disc_video(ball_disc(38 + speed * 0.8 * moving, colour="blue"), ball_disc(striking))


def test_cause_and_effect():
    def is_correct(video, prompt=HIT):
        return score(prompt, video).collision.is_correct()

    assert is_correct(_collision_video(6, 6))
    assert not is_correct(_collision_video(8, 2))  # moved before contact
    assert not is_correct(_collision_video(6, None, through=True))
    stopped = disc_video(
        ball_disc(constant_path(46.0), colour="blue"), ball_disc(np.minimum(linear_path(10, 60), 26.0))
    )
    assert not is_correct(stopped)
    assert is_correct(stopped, "a red ball rolls to the right, but stops before reaching a blue ball")


def test_momentum_error_is_the_unbalanced_share():
    push = np.array([0.3, 0.4])
    assert momentum_error(push, -2.5 * push) == pytest.approx(0)
    assert momentum_error(push, np.array([0.4, -0.3])) == pytest.approx(1)
    assert momentum_error(push, push) == 1
    assert momentum_error(push, np.array([-0.5, 0.0])) == pytest.approx(0.8)
    assert momentum_error(push, np.zeros(2)) == 1
    assert np.isnan(momentum_error(np.zeros(2), push))


def test_a_push_along_the_line_of_motion_keeps_momentum():
    collision = score(HIT, _collision_video(6, 6)).collision
    assert collision.momentum_error < 0.05
    assert 0.5 < collision.energy_ratio < 1
    assert np.isnan(score(HIT, _collision_video(6, None, through=True)).collision.momentum_error)
    static = disc_video(ball_disc(constant_path(46.0), colour="blue"), ball_disc(constant_path(14.0)))
    missed = score(HIT, static).collision
    assert np.isnan([missed.energy_ratio, missed.momentum_error]).all()


def test_direction_ignores_the_rebound_between_two_frames():
    """At a low frame rate no frame may show the contact, and the rebound must not be counted."""
    striking = np.array([10.0, 17, 24, *np.linspace(23, 12, 14)])
    struck = 40.0 + np.concatenate([np.zeros(3), np.minimum(5.0 * np.arange(1, 15), 12)])
    video = disc_video(ball_disc(struck, colour="blue"), ball_disc(striking))
    assert not any(track.touching.any() for track in track_objects(video, 8.0).tracks)
    scores = score(HIT, video)
    assert (scores.direction, scores.verdicts["causality"]) == (True, True)
    mirrored = score(HIT, video[:, :, ::-1])
    assert mirrored.direction is False


def test_a_frozen_video_passes_no_motion_measure():
    static = disc_video(ball_disc(constant_path(46.0), colour="blue"), ball_disc(constant_path(14.0)))
    for prompt in (
        "a red ball rolls to the right and stops",
        "a red ball rolls to the right and misses a blue ball",
        "a red ball falls down and lands without bouncing",
    ):
        scores = score(prompt, static)
        verdicts = [scores.verdicts[measure] for measure in ("direction", "causality", "physics")]
        assert True not in verdicts, (prompt, verdicts)
        assert False in verdicts


def test_deceleration_residual_is_zero_for_steady_slowing_and_large_for_jerks():
    t = np.arange(17) / 8
    slowing = np.stack([2 * t - 0.4 * t**2, 0 * t], axis=1)
    assert deceleration_residual(slowing, t) < 1e-9
    jerk = slowing + 0.3 * (np.arange(17)[:, None] % 2)
    assert deceleration_residual(jerk, t) > 0.1


def test_identity_over_a_minute_finds_the_moment_of_a_swap():
    num_frames, fps = 240, 4.0
    x, y = constant_path(30.0, num_frames), constant_path(34.0, num_frames)

    def survival(radius):
        video = track_objects(disc_video(ball_disc(x, y, radius=radius), num_frames=num_frames), fps)
        return survival_seconds(measure_identity(video, grounded=True, lost_frame=None), num_frames / fps)

    assert survival(np.where(np.arange(num_frames) < 120, 6.0, 8.5)) == 30.0
    assert survival(6.0) == 60.0


def test_flicker_is_the_mean_change_of_the_background():
    video = disc_video(ball_disc(linear_path(50, 14)))
    video[::2] += 3
    assert score(BALL, video).flicker.background == pytest.approx(3.0)


def test_a_video_without_objects_is_wrong_and_says_so():
    scores = score(BALL, np.full((17, 64, 64, 3), 184, dtype=np.uint8))
    assert not scores.has_objects
    assert not scores.is_correct
    assert scores.direction is False
