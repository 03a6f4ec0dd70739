"""Rendered images against geometry: size, position, depth, occlusion, determinism."""

from __future__ import annotations

import math
import re

import numba
import numpy as np
import pytest

from kinema.errors import UserError
from kinema.simulator.appearance.material import MaterialTable, material_row
from kinema.simulator.render import cpu, packing, tracer
from kinema.simulator.render.buffers import RenderBuffers
from kinema.simulator.render.camera import camera_rays, camera_row, project, projected_radius
from kinema.simulator.render.kernel_compiler import compile_kernels, narrow_literals
from kinema.simulator.render.kernels import camera_pass
from kinema.simulator.render.scene import BACKGROUND_ID, PosedObject, Primitive, PrimitiveKind, RenderScene
from kinema.simulator.render_scene import LAB_ENVIRONMENT

IDENTITY_POSE = np.eye(3)[None]


def make_object(object_id, kind, size, position, row=0, **more):
    solid = Primitive(kind=kind, size=size, material=row, **more)
    position = np.atleast_2d(np.asarray(position, float))
    return PosedObject(object_id=object_id, primitives=(solid,), position=position, rotation=IDENTITY_POSE)


def make_scene(objects, cameras, *, sky=LAB_ENVIRONMENT.sky, floor=LAB_ENVIRONMENT.floor, rows=None):
    table = MaterialTable()
    for row in rows or [material_row("plastic", "red")]:
        table.add(row)
    return RenderScene(
        objects=tuple(objects), materials=table.array(), sky=sky, sky_seed=3, floor=floor, floor_seed=1,
        cameras=np.stack(cameras),
    )  # fmt: skip


def make_mixed_scene(num_frames=1, move=0.0, sky="clear blue sky", floor="tiled floor"):
    rows = [
        material_row("plastic", "red"),
        material_row("glass", "cyan"),
        material_row("metal", "yellow"),
        material_row("wood"),
        material_row("rubber", "blue", "white", "checkered"),
        material_row("marble"),
    ]  # fmt: skip
    objects = [
        make_object(1, PrimitiveKind.SPHERE, (0.4, 0, 0), (-1.2, 0, 0.4), 0, occlusion=0.4),
        make_object(2, PrimitiveKind.SPHERE, (0.4, 0, 0), (-0.2, -0.6, 0.4), 1, occlusion=0.4),
        make_object(3, PrimitiveKind.FRUSTUM, (0.4, 0.0, 0.5), (0.8, -0.3, 0.5), 2, occlusion=0.3),
        make_object(4, PrimitiveKind.BOX, (0.4, 0.4, 0.4), (0.3, 0.8, 0.4), 3, occlusion=0.4),
        make_object(5, PrimitiveKind.TORUS, (0.35, 0.12, 0), (1.5, 0.4, 0.12), 4, occlusion=0.2),
        make_object(BACKGROUND_ID, PrimitiveKind.CAPSULE, (0.2, 0.4, 0), (-1.0, 1.2, 0.6), 5),
    ]
    cameras = [camera_row((move * f, -5, 1.6), (move * f, 0, 0.4), 42) for f in range(num_frames)]
    return make_scene(objects, cameras, sky=sky, floor=floor, rows=rows)


def test_area_of_a_ball_is_that_of_its_projection():
    eye, target = np.array([0, -5.0, 1.0]), np.array([0.0, 0.0, 1.0])
    rendered = tracer.render(
        make_scene(
            [make_object(1, PrimitiveKind.SPHERE, (0.8, 0, 0), target)], [camera_row(eye, target, 40)]
        ),
        192,
        192,
        object_ids=True,
    )
    radius = float(projected_radius(camera_row(eye, target, 40), target, 0.8)) * 192
    assert (rendered.object_ids == 1).sum() == pytest.approx(math.pi * radius**2, rel=0.005)


def test_object_ids_lie_where_centres_project():
    rendered = make_mixed_scene()
    object_ids = tracer.render(rendered, 120, 200, object_ids=True).object_ids[0]
    assert set(np.unique(object_ids)) == {0, 1, 2, 3, 4, 5, BACKGROUND_ID}
    for posed in rendered.objects[:4]:
        (x, y), depth = project(rendered.cameras[0], posed.position[0], aspect=200 / 120)
        assert depth > 0
        assert object_ids[int(y * 120), int(x * 200)] == posed.object_id
    ball = np.argwhere(object_ids == 1) + 0.5
    (x, y), _ = project(rendered.cameras[0], rendered.objects[0].position[0], aspect=200 / 120)
    assert ball[:, 1].mean() == pytest.approx(x * 200, abs=0.7)
    assert ball[:, 0].mean() == pytest.approx(y * 120, abs=0.7)


def test_depth_is_the_distance_along_the_ray():
    camera = camera_row((0.3, -5, 1.5), (0.1, 0, 0.5), 45)
    rendered = tracer.render(
        make_scene([make_object(1, PrimitiveKind.SPHERE, (0.7, 0, 0), (0, 0, 0.7))], [camera]),
        64,
        64,
        object_ids=True,
        depth=True,
    )
    y, x = np.mgrid[0:64, 0:64] + 0.5
    way = camera_rays(camera, np.stack([x / 64, y / 64], -1))
    assert np.isinf(rendered.depth[0][way[..., 2] > 0.01]).mean() > 0.5
    floor = (rendered.object_ids[0] == 0) & (way[..., 2] < -0.05)
    np.testing.assert_allclose(rendered.depth[0][floor], -1.5 / way[..., 2][floor], rtol=1e-4)
    offset = camera[:3] - [0, 0, 0.7]
    b = way @ offset
    square = b**2 - offset @ offset + 0.49
    ball = (rendered.object_ids[0] == 1) & (square > 1e-3)
    assert ball.sum() > 100
    np.testing.assert_allclose(
        rendered.depth[0][ball], (-b - np.sqrt(np.maximum(square, 0)))[ball], rtol=1e-4
    )


def test_the_nearer_thing_hides_the_farther_one():
    near = make_object(7, PrimitiveKind.BOX, (0.5, 0.1, 0.5), (0, -1, 1))
    far = make_object(9, PrimitiveKind.SPHERE, (0.4, 0, 0), (0, 1, 1))
    camera = camera_row((0, -5, 1), (0, 0, 1), 40)
    for objects in ([near, far], [far, near]):
        object_ids = tracer.render(make_scene(objects, [camera]), 48, 48, object_ids=True).object_ids
        assert 7 in object_ids
        assert 9 not in object_ids


def test_same_bytes_again_and_on_any_number_of_threads():
    once = tracer.render(make_mixed_scene(num_frames=5, move=0.01), 48, 64, object_ids=True, depth=True)
    again = tracer.render(
        make_mixed_scene(num_frames=5, move=0.01), 48, 64, object_ids=True, depth=True, threads=3
    )
    assert once.frames.tobytes() == again.frames.tobytes()
    assert once.object_ids.tobytes() == again.object_ids.tobytes()
    assert once.depth.tobytes() == again.depth.tobytes()


def test_a_still_scene_is_still():
    frames = tracer.render(make_mixed_scene(num_frames=3), 64, 64).frames
    assert (frames == frames[0]).all()


def test_edges_do_not_pop_under_a_slow_camera():
    # A tenth of a pixel a frame: with smooth edges no pixel can change by much more than a tenth.
    frames = tracer.render(
        make_mixed_scene(num_frames=12, move=0.006, floor="plain floor"), 64, 64
    ).frames.astype(int)
    change = np.abs(np.diff(frames, axis=0)).max(-1)
    assert np.percentile(change, 99.5) < 40
    assert change.mean() < 3


def test_more_samples_come_closer_to_many():
    many = tracer.render(make_mixed_scene(), 48, 48, samples=64).frames.astype(float)
    error = {
        n: np.abs(tracer.render(make_mixed_scene(), 48, 48, samples=n).frames - many).mean() for n in (1, 8)
    }
    assert error[8] < 0.5 * error[1]


def test_compiled_single_precision_matches_the_plain_source():
    """The device functions run as plain Python in double precision; this is also the source CUDA compiles."""
    rendered = make_mixed_scene()
    buffers, size = packing.pack_scene(rendered), 16
    tiles = (size // camera_pass.TILE) ** 2
    points = tracer.sample_points(4)
    plain = np.zeros((size, size, 3), np.uint8)
    identities = np.zeros((size, size), np.uint8)
    cpu.render_frame(
        RenderBuffers(*(a.astype(np.float64) if a.dtype == np.float32 else a for a in buffers)),
        0, points.astype(np.float64), tracer.EDGE_CONTRAST,
        np.zeros(2 * int(buffers.counts[0]) * tiles, np.int32), np.zeros(2 * tiles, np.int32),
        np.zeros((size, size, 3)), np.zeros((size, size), np.int64), plain, identities,
        np.zeros((size, size)),
    )  # fmt: skip
    compiled, object_ids, _ = cpu.render_buffers(buffers, size, size, points, tracer.EDGE_CONTRAST, 1)
    assert (object_ids[0] == identities).mean() > 0.99
    assert (np.abs(compiled[0].astype(int) - plain).max(-1) <= 2).mean() > 0.97


@pytest.mark.slow
def test_no_double_precision_is_left():
    rendered = compile_kernels(numba.njit(nogil=True, fastmath=True, error_model="numpy", _nrt=False))
    look = rendered["look"]
    arguments = (
        [numba.typeof(packing.pack_scene(make_mixed_scene()))] + [numba.int64] * 3 + [numba.float32] * 2
    )
    arguments += [numba.int64, numba.int32[::1], numba.int32[::1]]
    look.compile(tuple(arguments))
    assert not re.search(r"\bfmul[^\n]*double", look.inspect_llvm(look.signatures[0]))


def test_literals_become_float32():
    def half(x):
        return 0.5 * x

    assert numba.njit(half)(np.float32(3)) == 1.5
    assert numba.typeof(numba.njit(narrow_literals(half, {}))(np.float32(3))) is not None
    assert type(narrow_literals(half, {})(np.float32(3))) is np.float32


def test_invalid_scenes_raise():
    with pytest.raises(UserError, match="did you mean 'sunset'"):
        tracer.render(make_scene([], [camera_row((0, -5, 1), (0, 0, 0), 40)], sky="sunsett"), 8, 8)
    with pytest.raises(UserError, match="there is no floor"):
        tracer.render(make_scene([], [camera_row((0, -5, 1), (0, 0, 0), 40)], floor="lava"), 8, 8)
    with pytest.raises(UserError, match="at least 1"):
        tracer.render(make_mixed_scene(), 0, 8)
    bad = make_object(1, PrimitiveKind.SPHERE, (1, 0, 0), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="frames"):
        tracer.render(make_scene([bad], [camera_row((0, -5, 1), (0, 0, 0), 40)] * 3), 8, 8)
