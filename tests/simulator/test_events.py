"""Events and outcomes, their claims and cameras, the lab split and pairs. Nothing is rendered."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.simulator import lab_split, visibility
from kinema.simulator.annotations import PAIRED_EVENTS, CameraMove, Claim, ClaimKind
from kinema.simulator.attributes import LAB_COLOURS
from kinema.simulator.camera_moves import (
    MOVE_AMOUNTS,
    CameraShot,
    Framing,
    camera_path,
    fit_camera,
    view_extents,
)
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.entities import Entity
from kinema.simulator.events import EVENT_TYPES, EVENT_WEIGHTS, LAB_EVENT_WEIGHTS, event_checks
from kinema.simulator.render.camera import project
from kinema.simulator.render_scene import sample_environment
from kinema.simulator.scene_sampler import sample_scene

ALL_OUTCOMES = [(name, outcome) for name in EVENT_WEIGHTS for outcome in EVENT_TYPES[name].outcomes]
LAB_OUTCOMES = [
    (name, outcome) for name in LAB_EVENT_WEIGHTS for outcome in lab_split.all_lab_outcomes(EVENT_TYPES[name])
]
"""Claim kinds seen so far, filled by the tests of outcomes and looked at by the one after them."""


@pytest.mark.parametrize(("event", "outcome"), ALL_OUTCOMES)
def test_every_outcome_can_be_sampled(event, outcome):
    scene = sample_scene(ClipSpec(seed=7, event=event, outcome=outcome))
    assert (scene.event, scene.outcome, scene.event_outcome.outcome) == (event, outcome, outcome)
    assert 0 <= scene.event_frame < 33
    view = visibility.project_scene(
        scene.cameras,
        visibility.compute_outline_points(scene.bodies, scene.trajectory),
        scene.trajectory,
        1.0,
    )
    assert visibility.is_inside_frame(view.box[scene.event_frame, 0])
    for index, entity in enumerate(scene.entities):
        if entity.group:
            assert visibility.is_inside_frame(view.box[0, index]), "a tower top is cropped"
        if (entity.named or entity.group) and index not in scene.hidden_background:
            left, top, right, bottom = view.box[scene.event_frame, index]
            assert max(right - left, bottom - top) * 128 >= 6
    names = [(e.shape, e.colour, e.material, e.size) for e in scene.entities if e.named]
    assert len(set(names)) == len(names), "two objects of one name"


@pytest.mark.parametrize(("event", "outcome"), LAB_OUTCOMES)
def test_every_lab_outcome_can_be_sampled(event, outcome):
    scene = sample_scene(ClipSpec(seed=3, event=event, outcome=outcome, lab=True))
    assert scene.outcome == outcome
    assert scene.shot.distance == lab_split.lab_shot("static").distance
    for entity in scene.entities:
        assert entity.pattern == "solid"
        assert entity.shape in ("ball", "cube", "cylinder", "cone", "screen")
        assert entity.material in ("plastic", "rubber", "clay")
        assert entity.colour in LAB_COLOURS
    view = visibility.project_scene(
        scene.cameras,
        visibility.compute_outline_points(scene.bodies, scene.trajectory),
        scene.trajectory,
        1.0,
    )
    assert visibility.is_inside_frame(view.box[0]).all(), "in view from the first frame on"


def test_every_claim_kind_is_produced_somewhere():
    requests = [(event, outcome, 3) for event, outcome in ALL_OUTCOMES]
    simple = [(event, outcome) for event, outcome in ALL_OUTCOMES if event in ("still", "roll")]
    requests += [(event, outcome, seed) for seed in range(6) for event, outcome in simple]
    captions = set()
    for event, outcome, seed in requests:
        scene = sample_scene(ClipSpec(seed=seed, event=event, outcome=outcome))
        captions.update(claim.kind for claim in scene.event_outcome.claims)
    for event, outcome in LAB_OUTCOMES:
        scene = sample_scene(ClipSpec(seed=3, event=event, outcome=outcome, lab=True))
        captions.update(claim.kind for claim in scene.event_outcome.claims)
    assert set(get_args(ClaimKind)) - captions == set()


@pytest.mark.parametrize("frames", [17, 33])
@pytest.mark.parametrize("event", list(LAB_EVENT_WEIGHTS))
def test_lab_clips_of_both_lengths(event, frames):
    scene = sample_scene(
        ClipSpec(seed=11, event=event, lab=True, num_frames=frames, fps=12.0 if frames == 33 else 8.0)
    )
    assert scene.trajectory.num_frames == frames == len(scene.cameras)


def test_wide_frames_keep_the_main_object_in_view():
    wide = sample_scene(ClipSpec(seed=5, event="collide", width=208, height=120))
    view = visibility.project_scene(
        wide.cameras,
        visibility.compute_outline_points(wide.bodies, wide.trajectory),
        wide.trajectory,
        208 / 120,
    )
    assert visibility.is_inside_frame(view.box[wide.event_frame, 0])


@pytest.mark.parametrize(("shape", "axis"), [("prism", 0), ("egg", 2), ("capsule", 2)])
def test_elongated_shapes_do_not_face_the_camera_end_on(shape, axis):
    from kinema.simulator.entities import quat_to_matrix
    from kinema.simulator.event_api import SceneBuilder

    for seed in range(50):
        builder = SceneBuilder(np.random.default_rng(seed), lab=False, num_frames=33, fps=12)
        along = quat_to_matrix(builder.entities[builder.place(shape, 0.0, 0.0)].rotation)[:, axis]
        # A prism across the view is a square, an egg or a capsule along it is a ball.
        assert abs(along[0 if shape == "prism" else 1]) < 0.95


def test_left_and_right_hold_in_the_world_and_on_screen():
    captions = 0
    for seed in range(40):
        scene = sample_scene(ClipSpec(seed=seed, event=("roll", "collide", "still", "occlude")[seed % 4]))
        for claim in scene.event_outcome.claims:
            if claim.kind == "moves" and claim.value in ("left", "right"):
                end = max(scene.event_frame, 8)
                world = scene.trajectory.position[end, 0, 0] - scene.trajectory.position[0, 0, 0]
                seen, _ = project(scene.cameras, scene.trajectory.position[:, 0])
                assert (world > 0) == (claim.value == "right") == (seen[end, 0] > seen[0, 0])
                captions += 1
            if claim.kind in ("left of", "right of"):
                one, _ = project(scene.cameras, scene.trajectory.position[:, claim.subject])
                two, _ = project(scene.cameras, scene.trajectory.position[:, claim.object])
                assert ((one[:, 0] < two[:, 0]) == (claim.kind == "left of")).all()
                captions += 1
    assert captions > 30


def test_outcomes_are_balanced_with_few_rejections():
    scenes = [sample_scene(ClipSpec(seed=seed)) for seed in range(95)]
    assert {scene.event for scene in scenes} == set(EVENT_WEIGHTS)
    # A pair simulates both of its clips for each scene.
    single = [scene for scene in scenes if scene.event not in PAIRED_EVENTS]
    assert sum(scene.num_simulations for scene in single) < 2 * len(single)
    outcomes = [sample_scene(ClipSpec(seed=seed, event="collide")).outcome for seed in range(1000, 1030)]
    options = EVENT_TYPES["collide"].outcomes
    assert min(outcomes.count(option) for option in options) >= 0.6 * len(outcomes) / len(options)


def test_speed_claims_match_measured_speed():
    words = set()
    for seed in range(30):
        scene = sample_scene(ClipSpec(seed=seed, event="roll"))
        for claim in scene.event_outcome.claims:
            if claim.kind == "speed":
                steps = np.linalg.norm(np.diff(scene.trajectory.position[:, 0], axis=0), axis=1) * 12
                moving = steps[steps > 0.15]
                assert moving.mean() > 2.0 if claim.value == "quickly" else moving.mean() < 1.2
                words.add(claim.value)
    assert words == {"slowly", "quickly"}


@pytest.mark.parametrize("event", ["wall pair", "mass pair"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pairs_differ_in_their_cause_alone(event, seed):
    first, second = EVENT_TYPES[event].outcomes
    one = sample_scene(ClipSpec(seed=seed, event=event, outcome=first))
    two = sample_scene(ClipSpec(seed=seed, event=event, outcome=second))
    assert np.array_equal(one.cameras, two.cameras)
    assert sample_environment(ClipSpec(seed=seed), one) == sample_environment(ClipSpec(seed=seed), two)
    if event == "wall pair":
        assert one.entities[:1] == two.entities
        assert one.entities[1].shape == "wall"
    else:
        from dataclasses import replace

        light, heavy = one.entities[0], two.entities[0]
        assert heavy.density > 50 * light.density
        assert replace(light, material=heavy.material, density=heavy.density) == heavy
        assert one.entities[1:] == two.entities[1:]
        assert event_checks.max_displacement(two.trajectory, 1) > 3 * event_checks.max_displacement(
            one.trajectory, 1
        )
    met = [c.first for c in one.trajectory.contacts][:1] or [32.0]
    early = int(met[0])
    assert one.trajectory.position[:early, 0] == pytest.approx(two.trajectory.position[:early, 0], abs=0.01)


# The lab's split and its minimal pairs ------------------------------------------------------------


def test_lab_splits_are_disjoint():
    combinations: dict[str, set[lab_split.Combination]] = {"train": set(), "test": set()}
    for split, found in combinations.items():
        for seed in range(40):
            scene = sample_scene(ClipSpec(seed=seed, lab=True, split=split))
            relation = scene.outcome
            for claim in scene.event_outcome.claims:
                if scene.event == "roll" and claim.kind == "moves":
                    relation = claim.value
                if scene.event in ("still",) and claim.kind in ("left of", "right of"):
                    relation = claim.kind
                if scene.event == "count" and claim.kind == "count":
                    relation = claim.value
            proposal = make_proposal(relation, scene.entities)
            combination = lab_split.proposal_combination(scene.event, proposal)
            assert lab_split.is_held_out(combination) == (split == "test")
            found.add(combination)
    assert not combinations["train"] & combinations["test"]


def make_proposal(relation: str, entities: tuple[Entity, ...]):
    from kinema.simulator.event_api import SceneProposal

    return SceneProposal(entities=entities, relation=relation)


def test_held_out_tenth_is_stable():
    shapes, colours = ("ball", "cube", "cylinder", "cone"), LAB_COLOURS
    grid = [
        lab_split.Combination(event="still", relation="left of", objects=((a, s), (b, t)))
        for a in colours for b in colours if a != b for s in shapes for t in shapes
    ]  # fmt: skip
    share = np.mean([lab_split.is_held_out(c) for c in grid])
    assert 0.07 < share < 0.13
    # Frozen: data rendered earlier must stay in its split.
    assert [k for k, c in enumerate(grid) if lab_split.is_held_out(c)][:5] == [16, 37, 49, 51, 63]


@given(st.sampled_from(["red", "blue"]), st.sampled_from(["ball", "cone"]))
def test_both_phrasings_of_one_scene_share_a_split(colour, shape):
    one, two = Entity(shape="cube", colour="green"), Entity(shape=shape, colour=colour, role="partner")
    left = lab_split.proposal_combination("still", make_proposal("left of", (one, two)))
    swapped_roles = (
        Entity(shape=shape, colour=colour),
        Entity(shape="cube", colour="green", role="partner"),
    )
    right = lab_split.proposal_combination("still", make_proposal("right of", swapped_roles))
    assert left == right


def test_swapped_colours_change_nothing_else():
    spec = ClipSpec(seed=8, lab=True, event="still")
    one, two = sample_scene(spec), sample_scene(replace(spec, swap="colours"))
    assert [e.colour for e in two.entities] == [e.colour for e in one.entities][::-1]
    assert np.array_equal(one.trajectory.position, two.trajectory.position)
    assert one.event_outcome.claims == two.event_outcome.claims


def test_swapped_sides_mirror_the_scene():
    for event in ("still", "roll", "collide"):
        spec = ClipSpec(seed=8, lab=True, event=event)
        one, two = sample_scene(spec), sample_scene(replace(spec, swap="sides"))
        assert [e.colour for e in one.entities] == [e.colour for e in two.entities]
        assert two.trajectory.position[0, :, 0] == pytest.approx(-one.trajectory.position[0, :, 0])
        other = {"left": "right", "right": "left", "left of": "right of", "right of": "left of"}
        for a, b in zip(one.event_outcome.claims, two.event_outcome.claims, strict=True):
            assert other.get(a.value, a.value) == b.value
            assert other.get(a.kind, a.kind) == b.kind


# Cameras -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("move", get_args(CameraMove))
def test_camera_paths_are_smooth_and_do_what_they_say(move):
    amount = sum(MOVE_AMOUNTS[move]) / 2
    cameras = camera_path(CameraShot(move=move, amount=amount), 33)
    axes = cameras[:, 3:12].reshape(33, 3, 3)
    assert np.einsum("fij,fkj->fik", axes, axes) == pytest.approx(np.repeat(np.eye(3)[None], 33, 0), abs=1e-9)
    assert np.allclose(axes[:, 0, 2], 0), "no roll"
    jumps = np.abs(np.diff(cameras, 2, axis=0)).max()
    assert jumps < 0.02
    first, last = cameras[0], cameras[-1]
    shift = (last[:3] - first[:3]) @ cameras[16, 3:6]
    gap = np.linalg.norm(last[:3] - first[:3])
    yaw = np.cross(first[9:12], last[9:12])[2]
    forth = (last[:3] - first[:3]) @ first[9:12]
    rise, widen = last[11] - first[11], last[12] / first[12]
    checks = {
        "static": np.array_equal(first, last),
        "pan left": gap == 0 and yaw > 0.1,
        "pan right": gap == 0 and yaw < -0.1,
        "tilt up": gap == 0 and rise > 0.1,
        "tilt down": gap == 0 and rise < -0.1,
        "zoom in": gap == 0 and widen < 0.75,
        "zoom out": gap == 0 and widen > 1.3,
        "dolly in": forth > 1,
        "dolly out": forth < -1,
        "orbit left": shift < -1 and yaw < -0.3,
        "orbit right": shift > 1 and yaw > 0.3,
        "truck left": shift < -0.7 and abs(yaw) < 1e-9,
        "truck right": shift > 0.7 and abs(yaw) < 1e-9,
        "crane up": last[2] > first[2] + 0.8,
        "crane down": last[2] < first[2] - 0.8,
    }
    assert checks[move]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(get_args(CameraMove)), st.integers(0, 10_000))
def test_camera_solver_fits_all_points_or_returns_none(move, seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform((-1.6, -0.8, 0.0), (1.6, 0.8, 1.4), (9, 3))[None].repeat(17, 0)
    watched = np.ones((17, 9), dtype=bool)
    found = fit_camera(CameraShot(move=move, amount=MOVE_AMOUNTS[move][0]), points, watched, 1.0, Framing())
    assert found is not None
    shot, cameras = found
    left, bottom, right, top = view_extents(cameras, points, watched, 1.0)
    assert max(-left, right, -bottom, top) < 1
    assert shot.distance < 11.01
    if move == "static":
        assert max(right - left, top - bottom) > 1.6, "closer would do"


def test_no_camera_fits_what_is_too_large():
    points = np.array([[[-30.0, 0, 0], [30.0, 0, 0]]]).repeat(5, 0)
    assert (
        fit_camera(CameraShot(move="static", amount=0), points, np.ones((5, 2), bool), 1.0, Framing()) is None
    )


def test_screen_occludes_points_behind_it():
    wall = Entity(shape="screen", dimensions=(0.5, 0.05, 0.5), position=(0.0, 0.0, 0.5), fixed=True)
    cameras = camera_path(CameraShot(move="static", amount=0.0), 1)
    points = np.array([[[0.0, 0.6, 0.4], [0.0, -0.6, 0.4], [2.0, 0.6, 0.4], [0.1, 0.6, 0.3]]])
    assert visibility.occluded_fraction(cameras, points, wall) == pytest.approx([0.5])


def test_on_screen_checks_can_fail():
    scene = sample_scene(ClipSpec(seed=2, event="roll", outcome="leaves"))
    view = visibility.project_scene(
        scene.cameras,
        visibility.compute_outline_points(scene.bodies, scene.trajectory),
        scene.trajectory,
        1.0,
    )
    way = next(c.value for c in scene.event_outcome.claims if c.kind == "moves")
    wrong = Claim(kind="moves", subject=0, value="left" if way == "right" else "right")
    arguments = (view, scene.entities, scene.trajectory, scene.event_frame)
    assert visibility.claim_holds_on_screen(Claim(kind="moves", subject=0, value=way), *arguments)
    assert not visibility.claim_holds_on_screen(wrong, *arguments)


# What a user can get wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event": "colide"}, "did you mean 'collide'"),
        ({"event": "collide", "outcome": "explodes"}, "choose one of: misses"),
        ({"event": "bowl", "lab": True}, "is not an event of the lab"),
    ],
)
def test_impossible_specs_raise_user_error(changes, message):
    with pytest.raises(UserError, match=message):
        sample_scene(ClipSpec(seed=0, **changes))


@pytest.mark.parametrize(
    "changes",
    [{"height": 4}, {"num_frames": 1}, {"fps": 0.0}, {"seed": -1}, {"split": "test"}, {"swap": "sides"}],
)
def test_invalid_specs_raise_user_error(changes):
    with pytest.raises(UserError):
        ClipSpec(**{"seed": 0, **changes})
