"""The physics against closed forms, and against itself in another process."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kinema.world.bodies import POLYHEDRA
from kinema.world.draw import drawn
from kinema.world.entities import Circling, Entity, Spinning, after, matrix, mirrored, rolled, turn
from kinema.world.physics import GRAVITY, moved_by_hand, simulate
from kinema.world.solids import solid_of, standing
from kinema.world.spec import ClipSpec
from kinema.world.vocabulary import SHAPES, STUFF

BUILT = ("snowman", "car", "pin", "table", "box")


def run(*entities: Entity, frames: int = 33, fps: float = 12.0):
    return simulate(tuple(entities), tuple(solid_of(e) for e in entities), frames=frames, fps=fps)


def ball(**changes) -> Entity:
    return replace(Entity(shape="ball", extent=0.3, position=(0.0, 0.0, 0.3)), **changes)


def stood(shape: str, **changes) -> Entity:
    half = (0.6, 0.5, 0.3) if shape in ("table", "box") else None
    thing = Entity(shape=shape, dimensions=half, **changes)
    height, rotation = standing(thing)
    return replace(thing, position=(0.0, 0.0, height), rotation=rotation)


def test_free_fall_takes_as_long_as_it_should():
    seen = run(ball(position=(0.0, 0.0, 3.3)), frames=60, fps=60)
    landing = seen.landing(0)
    assert landing is not None
    assert landing.first / 60 == pytest.approx(math.sqrt(2 * 3.0 / GRAVITY), rel=0.01)
    early = seen.position[:40, 0, 2]
    assert np.diff(early, 2).mean() * 60**2 == pytest.approx(-GRAVITY, rel=0.01)


@pytest.mark.parametrize("restitution", [0.3, 0.55, 0.8])
def test_a_ball_bounces_back_with_its_restitution(restitution):
    seen = run(ball(position=(0.0, 0.0, 1.8), restitution=restitution), frames=160, fps=100)
    z = seen.position[:, 0, 2]
    first = math.ceil(seen.landing(0).first)
    ratio = math.sqrt((z[first + 3 :].max() - 0.3) / 1.5)
    assert ratio == pytest.approx(restitution, abs=0.05)


def test_a_clash_keeps_momentum():
    # High above the floor: nothing else acts along x.
    one = ball(position=(-0.8, 0.0, 9.0), velocity=(2.0, 0.0, 0.0), friction=0.0, restitution=0.9)
    two = ball(position=(0.2, 0.0, 9.0), friction=0.0, restitution=0.9, density=1500.0)
    seen = run(one, two, frames=30, fps=30)
    touch = seen.touch(1, 0)
    assert touch is not None
    assert 0 < touch.first < 29
    masses = np.array([STUFF["plastic"].density, 1500.0])
    before = (masses * seen.velocity[0, :, 0]).sum()
    soon = math.ceil(touch.last) + 1
    after_clash = (masses * seen.velocity[soon, :, 0]).sum()
    assert after_clash == pytest.approx(before, rel=0.001)
    parting = seen.velocity[soon, 1, 0] - seen.velocity[soon, 0, 0]
    assert parting == pytest.approx(0.9 * 2.0, rel=0.06)


def test_sliding_stops_where_friction_says():
    cube = stood("cube", velocity=(2.0, 0.0, 0.0), friction=0.3)
    seen = run(cube, frames=40, fps=20)
    assert seen.position[-1, 0, 0] == pytest.approx(2.0**2 / (2 * 0.3 * GRAVITY), rel=0.06)


def test_rolling_without_friction_of_its_own_goes_on():
    seen = run(rolled(ball(), (1.0, 0.0, 0.0), 0.3), frames=25, fps=12)
    assert seen.position[-1, 0, 0] == pytest.approx(2.0, rel=0.01)
    axis = seen.rotation[6, 0] @ seen.rotation[0, 0].T
    # Rolling to the right turns the top forwards: clockwise seen from the front.
    assert axis[0, 2] > 0


def test_rolling_friction_stops_a_ball_in_the_time_it_was_given():
    from kinema.world.stage import Stage

    stage = Stage(np.random.default_rng(0), lab=False, frames=33, fps=12)
    stage.add(ball())
    stage.send(0, (1.5, 0.0, 0.0), stop=1.5)
    seen = run(*stage.entities)
    assert np.linalg.norm(seen.velocity[16, 0]) > 0.05
    assert np.linalg.norm(seen.velocity[-1, 0]) < 0.03
    assert seen.position[-1, 0, 0] == pytest.approx(1.5 * 1.5 / 2, rel=0.1)


@pytest.mark.parametrize("shape", [*SHAPES, *BUILT])
def test_what_stands_stays(shape):
    seen = run(stood(shape), frames=24)
    assert np.abs(seen.position[-1] - seen.position[0]).max() < 0.01
    assert seen.upright()[-1, 0] > 0.999


@pytest.mark.parametrize("shape", [*SHAPES, *BUILT])
def test_what_stands_touches_the_floor_and_is_not_in_it(shape):
    thing = stood(shape)
    low = (solid_of(thing).outline @ matrix(thing.rotation).T)[:, 2].min() + thing.position[2]
    assert -0.03 < low < 0.02


def test_friction_holds_a_thing_on_a_slope_and_slipperiness_does_not():
    slope = 0.3
    ramp = Entity(shape="ramp", dimensions=(1.0, 0.5, math.tan(slope)), fixed=True, friction=0.02)
    ramp = replace(ramp, position=(0.0, 0.0, math.tan(slope)))
    lift = 0.362
    place = (math.sin(slope) * lift, 0.0, math.tan(slope) + math.cos(slope) * lift)
    rough = stood("cube", friction=0.9)
    rough = replace(rough, position=place, rotation=turn((0.0, 1.0, 0.0), slope))
    held = run(rough, ramp)
    assert np.linalg.norm(held.position[-1, 0] - held.position[0, 0]) < 0.02
    gone = run(replace(rough, friction=0.05), ramp)
    assert gone.position[-1, 0, 0] > 1.0


def test_the_car_drives_the_way_it_faces():
    car = replace(stood("car"), velocity=(1.5, 0.0, 0.0))
    seen = run(car)
    assert seen.position[-1, 0, 0] > 3.0
    assert seen.wheels[0].shape == (33, 4, 12)
    hub = seen.wheels[0][:, 0, 3:].reshape(-1, 3, 3)
    assert np.abs(hub[5] - hub[0]).max() > 0.3


def test_wheels_of_a_thing_moved_by_hand_go_along():
    car = replace(stood("car"), moved=Spinning(period=2.0))
    seen = run(car)
    apart = np.linalg.norm(seen.wheels[0][:, :, :3] - seen.position[:, :1], axis=2)
    assert apart == pytest.approx(np.repeat(apart[:1], 33, axis=0))


def test_hand_moved_paths():
    way = Circling(centre=(0.0, 0.0, 1.0), radius=2.0, period=4.0, phase=0.0)
    places, turns = moved_by_hand(Entity(shape="ball", moved=way), np.array([0.0, 1.0]))
    assert places[0] == pytest.approx([2.0, 0.0, 1.0])
    assert places[1] == pytest.approx([0.0, 2.0, 1.0])
    assert turns[0] == pytest.approx(np.eye(3))
    with pytest.raises(ValueError, match="no path"):
        moved_by_hand(Entity(shape="ball"), np.array([0.0]))


def test_the_mirror_image_of_a_scene_moves_as_its_mirror_image():
    cone = Entity(shape="cone", rotation=turn((0.0, 0.0, 1.0), 0.4))
    cone = replace(cone, position=(0.5, 0.1, standing(cone)[0]))
    striker = replace(rolled(ball(position=(-1.0, 0.0, 0.3)), (2.0, 0.0, 0.0), 0.3), density=3000.0)
    seen, image = run(striker, cone), run(mirrored(striker), mirrored(cone))
    assert image.position[:8, :, 0] == pytest.approx(-seen.position[:8, :, 0], abs=0.02)
    assert image.position[:8, :, 1:] == pytest.approx(seen.position[:8, :, 1:], abs=0.02)


def test_quaternions_agree_with_matrices():
    one, two = turn((0.0, 0.6, 0.8), 0.7), turn((1.0, 0.0, 0.0), -1.2)
    assert matrix(after(two, one)) == pytest.approx(matrix(two) @ matrix(one))


@pytest.mark.parametrize("name", sorted(POLYHEDRA))
def test_planes_hold_their_corners(name):
    solid = solid_of(Entity(shape=name, extent=0.5))
    planes = solid.parts[0].planes
    reach = POLYHEDRA[name] * 0.5 @ planes[:, :3].T
    assert np.all(reach.max(axis=0) == pytest.approx(planes[:, 3], abs=1e-6))


PRINT = """
import hashlib, numpy as np
from tests.test_world_physics import digest
print(digest())
"""


def digest() -> str:
    tower = [
        Entity(shape="block", extent=0.2, position=(0.0, 0.01 * k, 0.2 + 0.4 * k), group="tower")
        for k in range(4)
    ]
    striker = replace(rolled(ball(position=(-1.2, 0.0, 0.3)), (3.0, 0.0, 0.0), 0.3), density=2000.0)
    seen = run(striker, *tower)
    whole = hashlib.sha256(seen.position.tobytes() + seen.rotation.tobytes())
    whole.update(repr(seen.contacts).encode())
    return whole.hexdigest()


def test_the_same_bits_whatever_ran_before_and_in_another_process():
    first = digest()
    run(stood("cone", velocity=(1.0, 0.0, 0.0)))
    assert digest() == first
    fresh = subprocess.run(
        [sys.executable, "-c", PRINT], capture_output=True, text=True, check=True, cwd=sys.path[0] or None
    )
    assert fresh.stdout.strip() == first


@pytest.mark.parametrize("outcome", ["tips over", "pushed"])
@pytest.mark.parametrize("seed", [2, 3, 12])
def test_nothing_moves_before_it_is_touched(seed, outcome):
    """Standing cylinders once hopped off the floor by themselves, and then "tipped over"."""
    scene = drawn(ClipSpec(seed=seed, lab=True, event="collide", outcome=outcome, height=32, width=32), 0)
    contact = scene.seen.touch(0, 1)
    assert contact is not None
    before = scene.seen.position[: math.floor(contact.first) + 1, 1]
    assert np.abs(before - before[0]).max() < 0.005
