"""The picture against geometry: sizes, places, depth, order, sameness."""

from __future__ import annotations

import math
import re

import numba
import numpy as np
import pytest

from kinema.errors import UserError
from kinema.world.look.lab import LAB_SETTING
from kinema.world.look.material import MaterialTable, material
from kinema.world.render import cpu, pack, tracer
from kinema.world.render.camera import camera_row, project, projected_radius, rays
from kinema.world.render.device import film
from kinema.world.render.layout import Stage
from kinema.world.render.scene import BACKGROUND, Kind, Placed, Primitive, Scene
from kinema.world.render.specialise import narrowed, specialise

STILL = np.eye(3)[None]


def placed(identity, kind, size, position, row=0, **more):
    solid = Primitive(kind=kind, size=size, material=row, **more)
    position = np.atleast_2d(np.asarray(position, float))
    return Placed(identity=identity, primitives=(solid,), position=position, rotation=STILL)


def scene(things, cameras, *, sky=LAB_SETTING.sky, floor=LAB_SETTING.floor, rows=None):
    table = MaterialTable()
    for row in rows or [material("plastic", "red")]:
        table.add(row)
    return Scene(
        placed=tuple(things), materials=table.array(), sky=sky, sky_seed=3, floor=floor, floor_seed=1,
        cameras=np.stack(cameras),
    )  # fmt: skip


def mixed(frames=1, move=0.0, sky="clear blue sky", floor="tiled floor"):
    rows = [
        material("plastic", "red"), material("glass", "cyan"), material("metal", "yellow"), material("wood"),
        material("rubber", "blue", "white", "checkered"), material("marble"),
    ]  # fmt: skip
    things = [
        placed(1, Kind.SPHERE, (0.4, 0, 0), (-1.2, 0, 0.4), 0, occlusion=0.4),
        placed(2, Kind.SPHERE, (0.4, 0, 0), (-0.2, -0.6, 0.4), 1, occlusion=0.4),
        placed(3, Kind.FRUSTUM, (0.4, 0.0, 0.5), (0.8, -0.3, 0.5), 2, occlusion=0.3),
        placed(4, Kind.BOX, (0.4, 0.4, 0.4), (0.3, 0.8, 0.4), 3, occlusion=0.4),
        placed(5, Kind.TORUS, (0.35, 0.12, 0), (1.5, 0.4, 0.12), 4, occlusion=0.2),
        placed(BACKGROUND, Kind.CAPSULE, (0.2, 0.4, 0), (-1.0, 1.2, 0.6), 5),
    ]
    cameras = [camera_row((move * f, -5, 1.6), (move * f, 0, 0.4), 42) for f in range(frames)]
    return scene(things, cameras, sky=sky, floor=floor, rows=rows)


def test_area_of_a_ball_is_that_of_its_projection():
    eye, target = np.array([0, -5.0, 1.0]), np.array([0.0, 0.0, 1.0])
    made = tracer.render(
        scene([placed(1, Kind.SPHERE, (0.8, 0, 0), target)], [camera_row(eye, target, 40)]),
        192,
        192,
        objects=True,
    )
    radius = float(projected_radius(camera_row(eye, target, 40), target, 0.8)) * 192
    assert (made.identities == 1).sum() == pytest.approx(math.pi * radius**2, rel=0.005)


def test_identities_lie_where_centres_project():
    made = mixed()
    seen = tracer.render(made, 120, 200, objects=True).identities[0]
    assert set(np.unique(seen)) == {0, 1, 2, 3, 4, 5, BACKGROUND}
    for thing in made.placed[:4]:
        (x, y), depth = project(made.cameras[0], thing.position[0], aspect=200 / 120)
        assert depth > 0
        assert seen[int(y * 120), int(x * 200)] == thing.identity
    ball = np.argwhere(seen == 1) + 0.5
    (x, y), _ = project(made.cameras[0], made.placed[0].position[0], aspect=200 / 120)
    assert ball[:, 1].mean() == pytest.approx(x * 200, abs=0.7)
    assert ball[:, 0].mean() == pytest.approx(y * 120, abs=0.7)


def test_depth_is_the_distance_along_the_ray():
    camera = camera_row((0.3, -5, 1.5), (0.1, 0, 0.5), 45)
    made = tracer.render(
        scene([placed(1, Kind.SPHERE, (0.7, 0, 0), (0, 0, 0.7))], [camera]), 64, 64, objects=True, depth=True
    )
    y, x = np.mgrid[0:64, 0:64] + 0.5
    way = rays(camera, np.stack([x / 64, y / 64], -1))
    assert np.isinf(made.depth[0][way[..., 2] > 0.01]).mean() > 0.5
    floor = (made.identities[0] == 0) & (way[..., 2] < -0.05)
    np.testing.assert_allclose(made.depth[0][floor], -1.5 / way[..., 2][floor], rtol=1e-4)
    offset = camera[:3] - [0, 0, 0.7]
    b = way @ offset
    square = b**2 - offset @ offset + 0.49
    ball = (made.identities[0] == 1) & (square > 1e-3)
    assert ball.sum() > 100
    np.testing.assert_allclose(made.depth[0][ball], (-b - np.sqrt(np.maximum(square, 0)))[ball], rtol=1e-4)


def test_the_nearer_thing_hides_the_farther_one():
    near = placed(7, Kind.BOX, (0.5, 0.1, 0.5), (0, -1, 1))
    far = placed(9, Kind.SPHERE, (0.4, 0, 0), (0, 1, 1))
    camera = camera_row((0, -5, 1), (0, 0, 1), 40)
    for things in ([near, far], [far, near]):
        seen = tracer.render(scene(things, [camera]), 48, 48, objects=True).identities
        assert 7 in seen
        assert 9 not in seen


def test_same_bytes_again_and_on_any_number_of_threads():
    once = tracer.render(mixed(frames=5, move=0.01), 48, 64, objects=True, depth=True)
    again = tracer.render(mixed(frames=5, move=0.01), 48, 64, objects=True, depth=True, threads=3)
    assert once.frames.tobytes() == again.frames.tobytes()
    assert once.identities.tobytes() == again.identities.tobytes()
    assert once.depth.tobytes() == again.depth.tobytes()


def test_a_still_scene_is_still():
    frames = tracer.render(mixed(frames=3), 64, 64).frames
    assert (frames == frames[0]).all()


def test_edges_do_not_pop_under_a_slow_camera():
    # A tenth of a pixel a frame: with smooth edges no pixel can change by much more than a tenth.
    frames = tracer.render(mixed(frames=12, move=0.006, floor="plain floor"), 64, 64).frames.astype(int)
    change = np.abs(np.diff(frames, axis=0)).max(-1)
    assert np.percentile(change, 99.5) < 40
    assert change.mean() < 3


def test_more_samples_come_closer_to_many():
    many = tracer.render(mixed(), 48, 48, samples=64).frames.astype(float)
    error = {n: np.abs(tracer.render(mixed(), 48, 48, samples=n).frames - many).mean() for n in (1, 8)}
    assert error[8] < 0.5 * error[1]


def test_compiled_single_precision_matches_the_plain_source():
    """The device functions run as plain Python in double precision; this is also the source CUDA compiles."""
    made = mixed()
    stage, size = pack.pack(made), 16
    tiles = (size // film.TILE) ** 2
    points = tracer.sample_points(4)
    plain = np.zeros((size, size, 3), np.uint8)
    identities = np.zeros((size, size), np.uint8)
    cpu.render_frame(
        Stage(*(a.astype(np.float64) if a.dtype == np.float32 else a for a in stage)),
        0, points.astype(np.float64), tracer.CONTRAST,
        np.zeros(2 * int(stage.counts[0]) * tiles, np.int32), np.zeros(2 * tiles, np.int32),
        np.zeros((size, size, 3)), np.zeros((size, size), np.int64), plain, identities,
        np.zeros((size, size)),
    )  # fmt: skip
    compiled, seen, _ = cpu.render_stage(stage, size, size, points, tracer.CONTRAST, 1)
    assert (seen[0] == identities).mean() > 0.99
    assert (np.abs(compiled[0].astype(int) - plain).max(-1) <= 2).mean() > 0.97


@pytest.mark.slow
def test_no_double_precision_is_left():
    made = specialise(numba.njit(nogil=True, fastmath=True, error_model="numpy", _nrt=False))
    look = made["look"]
    arguments = [numba.typeof(pack.pack(mixed()))] + [numba.int64] * 3 + [numba.float32] * 2
    arguments += [numba.int64, numba.int32[::1], numba.int32[::1]]
    look.compile(tuple(arguments))
    assert not re.search(r"\bfmul[^\n]*double", look.inspect_llvm(look.signatures[0]))


def test_literals_are_narrowed():
    def half(x):
        return 0.5 * x

    assert numba.njit(half)(np.float32(3)) == 1.5
    assert numba.typeof(numba.njit(narrowed(half, {}))(np.float32(3))) is not None
    assert type(narrowed(half, {})(np.float32(3))) is np.float32


def test_mistakes_are_told():
    with pytest.raises(UserError, match="did you mean 'sunset'"):
        tracer.render(scene([], [camera_row((0, -5, 1), (0, 0, 0), 40)], sky="sunsett"), 8, 8)
    with pytest.raises(UserError, match="floors are"):
        tracer.render(scene([], [camera_row((0, -5, 1), (0, 0, 0), 40)], floor="lava"), 8, 8)
    with pytest.raises(UserError, match="at least 1"):
        tracer.render(mixed(), 0, 8)
    bad = placed(1, Kind.SPHERE, (1, 0, 0), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="frames"):
        tracer.render(scene([bad], [camera_row((0, -5, 1), (0, 0, 0), 40)] * 3), 8, 8)
