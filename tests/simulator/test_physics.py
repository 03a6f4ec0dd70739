"""The physics against closed forms, and against itself in another process."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kinema.simulator.attributes import MATERIAL_PROPERTIES, SHAPES
from kinema.simulator.body_builder import build_body, rest_pose
from kinema.simulator.clip_spec import ClipSpec
from kinema.simulator.entities import (
    CircularMotion,
    Entity,
    SpinMotion,
    mirror_entity,
    quat_from_axis_angle,
    quat_mul,
    quat_to_matrix,
    with_rolling_velocity,
)
from kinema.simulator.geometry import POLYHEDRON_VERTICES
from kinema.simulator.physics import GRAVITY, kinematic_poses, simulate
from kinema.simulator.scene_sampler import sample_scene

COMPOSITE_SHAPES = ("snowman", "car", "pin", "table", "box")


def run_simulation(*entities: Entity, frames: int = 33, fps: float = 12.0):
    return simulate(tuple(entities), tuple(build_body(e) for e in entities), num_frames=frames, fps=fps)


def ball(**changes) -> Entity:
    return replace(Entity(shape="ball", extent=0.3, position=(0.0, 0.0, 0.3)), **changes)


def at_rest(shape: str, **changes) -> Entity:
    half = (0.6, 0.5, 0.3) if shape in ("table", "box") else None
    entity = Entity(shape=shape, dimensions=half, **changes)
    height, rotation = rest_pose(entity)
    return replace(entity, position=(0.0, 0.0, height), rotation=rotation)


def test_free_fall_takes_as_long_as_it_should():
    trajectory = run_simulation(ball(position=(0.0, 0.0, 3.3)), frames=60, fps=60)
    landing = trajectory.floor_contact(0)
    assert landing is not None
    assert landing.first / 60 == pytest.approx(math.sqrt(2 * 3.0 / GRAVITY), rel=0.01)
    early = trajectory.position[:40, 0, 2]
    assert np.diff(early, 2).mean() * 60**2 == pytest.approx(-GRAVITY, rel=0.01)


@pytest.mark.parametrize("restitution", [0.3, 0.55, 0.8])
def test_a_ball_bounces_back_with_its_restitution(restitution):
    trajectory = run_simulation(ball(position=(0.0, 0.0, 1.8), restitution=restitution), frames=160, fps=100)
    z = trajectory.position[:, 0, 2]
    first = math.ceil(trajectory.floor_contact(0).first)
    ratio = math.sqrt((z[first + 3 :].max() - 0.3) / 1.5)
    assert ratio == pytest.approx(restitution, abs=0.05)


def test_a_clash_keeps_momentum():
    # High above the floor: nothing else acts along x.
    one = ball(position=(-0.8, 0.0, 9.0), velocity=(2.0, 0.0, 0.0), friction=0.0, restitution=0.9)
    two = ball(position=(0.2, 0.0, 9.0), friction=0.0, restitution=0.9, density=1500.0)
    trajectory = run_simulation(one, two, frames=30, fps=30)
    touch = trajectory.contact_between(1, 0)
    assert touch is not None
    assert 0 < touch.first < 29
    masses = np.array([MATERIAL_PROPERTIES["plastic"].density, 1500.0])
    before = (masses * trajectory.velocity[0, :, 0]).sum()
    soon = math.ceil(touch.last) + 1
    after_clash = (masses * trajectory.velocity[soon, :, 0]).sum()
    assert after_clash == pytest.approx(before, rel=0.001)
    parting = trajectory.velocity[soon, 1, 0] - trajectory.velocity[soon, 0, 0]
    assert parting == pytest.approx(0.9 * 2.0, rel=0.06)


def test_sliding_stops_where_friction_says():
    cube = at_rest("cube", velocity=(2.0, 0.0, 0.0), friction=0.3)
    trajectory = run_simulation(cube, frames=40, fps=20)
    assert trajectory.position[-1, 0, 0] == pytest.approx(2.0**2 / (2 * 0.3 * GRAVITY), rel=0.06)


def test_rolling_without_friction_of_its_own_goes_on():
    trajectory = run_simulation(with_rolling_velocity(ball(), (1.0, 0.0, 0.0), 0.3), frames=25, fps=12)
    assert trajectory.position[-1, 0, 0] == pytest.approx(2.0, rel=0.01)
    axis = trajectory.rotation[6, 0] @ trajectory.rotation[0, 0].T
    # Rolling to the right turns the top forwards: clockwise seen from the front.
    assert axis[0, 2] > 0


def test_rolling_friction_stops_a_ball_in_the_time_it_was_given():
    from kinema.simulator.event_api import SceneBuilder

    builder = SceneBuilder(np.random.default_rng(0), lab=False, num_frames=33, fps=12)
    builder.add(ball())
    builder.set_moving(0, (1.5, 0.0, 0.0), stop_after=1.5)
    trajectory = run_simulation(*builder.entities)
    assert np.linalg.norm(trajectory.velocity[16, 0]) > 0.05
    assert np.linalg.norm(trajectory.velocity[-1, 0]) < 0.03
    assert trajectory.position[-1, 0, 0] == pytest.approx(1.5 * 1.5 / 2, rel=0.1)


@pytest.mark.parametrize("shape", [*SHAPES, *COMPOSITE_SHAPES])
def test_resting_objects_stay(shape):
    trajectory = run_simulation(at_rest(shape), frames=24)
    assert np.abs(trajectory.position[-1] - trajectory.position[0]).max() < 0.01
    assert trajectory.upright()[-1, 0] > 0.999


@pytest.mark.parametrize("shape", [*SHAPES, *COMPOSITE_SHAPES])
def test_what_stands_touches_the_floor_and_is_not_in_it(shape):
    entity = at_rest(shape)
    low = (build_body(entity).outline @ quat_to_matrix(entity.rotation).T)[:, 2].min() + entity.position[2]
    assert -0.03 < low < 0.02


def test_friction_holds_a_thing_on_a_slope_and_slipperiness_does_not():
    slope = 0.3
    ramp = Entity(shape="ramp", dimensions=(1.0, 0.5, math.tan(slope)), fixed=True, friction=0.02)
    ramp = replace(ramp, position=(0.0, 0.0, math.tan(slope)))
    lift = 0.362
    place = (math.sin(slope) * lift, 0.0, math.tan(slope) + math.cos(slope) * lift)
    rough = at_rest("cube", friction=0.9)
    rough = replace(rough, position=place, rotation=quat_from_axis_angle((0.0, 1.0, 0.0), slope))
    resting = run_simulation(rough, ramp)
    assert np.linalg.norm(resting.position[-1, 0] - resting.position[0, 0]) < 0.02
    gone = run_simulation(replace(rough, friction=0.05), ramp)
    assert gone.position[-1, 0, 0] > 1.0


def test_the_car_drives_the_way_it_faces():
    car = replace(at_rest("car"), velocity=(1.5, 0.0, 0.0))
    trajectory = run_simulation(car)
    assert trajectory.position[-1, 0, 0] > 3.0
    assert trajectory.wheels[0].shape == (33, 4, 12)
    hub = trajectory.wheels[0][:, 0, 3:].reshape(-1, 3, 3)
    assert np.abs(hub[5] - hub[0]).max() > 0.3


def test_wheels_follow_kinematic_motion():
    car = replace(at_rest("car"), motion=SpinMotion(period=2.0))
    trajectory = run_simulation(car)
    distances = np.linalg.norm(trajectory.wheels[0][:, :, :3] - trajectory.position[:, :1], axis=2)
    assert distances == pytest.approx(np.repeat(distances[:1], 33, axis=0))


def test_kinematic_poses():
    way = CircularMotion(centre=(0.0, 0.0, 1.0), radius=2.0, period=4.0, phase=0.0)
    places, turns = kinematic_poses(Entity(shape="ball", motion=way), np.array([0.0, 1.0]))
    assert places[0] == pytest.approx([2.0, 0.0, 1.0])
    assert places[1] == pytest.approx([0.0, 2.0, 1.0])
    assert turns[0] == pytest.approx(np.eye(3))
    with pytest.raises(ValueError, match="no prescribed motion"):
        kinematic_poses(Entity(shape="ball"), np.array([0.0]))


def test_the_mirror_image_of_a_scene_moves_as_its_mirror_image():
    cone = Entity(shape="cone", rotation=quat_from_axis_angle((0.0, 0.0, 1.0), 0.4))
    cone = replace(cone, position=(0.5, 0.1, rest_pose(cone)[0]))
    striker = replace(
        with_rolling_velocity(ball(position=(-1.0, 0.0, 0.3)), (2.0, 0.0, 0.0), 0.3), density=3000.0
    )
    trajectory, image = (
        run_simulation(striker, cone),
        run_simulation(mirror_entity(striker), mirror_entity(cone)),
    )
    assert image.position[:8, :, 0] == pytest.approx(-trajectory.position[:8, :, 0], abs=0.02)
    assert image.position[:8, :, 1:] == pytest.approx(trajectory.position[:8, :, 1:], abs=0.02)


def test_quaternions_agree_with_matrices():
    one, two = quat_from_axis_angle((0.0, 0.6, 0.8), 0.7), quat_from_axis_angle((1.0, 0.0, 0.0), -1.2)
    assert quat_to_matrix(quat_mul(two, one)) == pytest.approx(quat_to_matrix(two) @ quat_to_matrix(one))


@pytest.mark.parametrize("name", sorted(POLYHEDRON_VERTICES))
def test_planes_hold_their_corners(name):
    solid = build_body(Entity(shape=name, extent=0.5))
    planes = solid.visual_geoms[0].planes
    reach = POLYHEDRON_VERTICES[name] * 0.5 @ planes[:, :3].T
    assert np.all(reach.max(axis=0) == pytest.approx(planes[:, 3], abs=1e-6))


PRINT = """
import hashlib, numpy as np
from tests.simulator.test_physics import trajectory_digest
print(trajectory_digest())
"""


def trajectory_digest() -> str:
    tower = [
        Entity(shape="block", extent=0.2, position=(0.0, 0.01 * k, 0.2 + 0.4 * k), group="tower")
        for k in range(4)
    ]
    striker = replace(
        with_rolling_velocity(ball(position=(-1.2, 0.0, 0.3)), (3.0, 0.0, 0.0), 0.3), density=2000.0
    )
    trajectory = run_simulation(striker, *tower)
    whole = hashlib.sha256(trajectory.position.tobytes() + trajectory.rotation.tobytes())
    whole.update(repr(trajectory.contacts).encode())
    return whole.hexdigest()


def test_the_same_bits_whatever_ran_before_and_in_another_process():
    first = trajectory_digest()
    run_simulation(at_rest("cone", velocity=(1.0, 0.0, 0.0)))
    assert trajectory_digest() == first
    fresh = subprocess.run(
        [sys.executable, "-c", PRINT], capture_output=True, text=True, check=True, cwd=sys.path[0] or None
    )
    assert fresh.stdout.strip() == first


@pytest.mark.parametrize("outcome", ["tips over", "pushed"])
@pytest.mark.parametrize("seed", [2, 3, 12])
def test_nothing_moves_before_it_is_touched(seed, outcome):
    """Standing cylinders once hopped off the floor by themselves, and then "tipped over"."""
    scene = sample_scene(
        ClipSpec(seed=seed, lab=True, event="collide", outcome=outcome, height=32, width=32), 0
    )
    contact = scene.trajectory.contact_between(0, 1)
    assert contact is not None
    before = scene.trajectory.position[: math.floor(contact.first) + 1, 1]
    assert np.abs(before - before[0]).max() < 0.005
