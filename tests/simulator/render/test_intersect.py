"""Rays against solids: each closed form against the solid's own inside, by brute force along the ray."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.simulator.render.kernels import intersect as ray

WEDGE = np.array(
    [[0, 0.6, 0.8, 0.5], [0, -0.6, 0.8, 0.5], [0, 0, -1, 0.4], [1, 0, 0, 0.9], [-1, 0, 0, 0.9]], float
)


def frustum_inside(p):
    radius = 0.45 + (0.2 - 0.7) / 2 * p[2] / 0.6
    return math.hypot(p[0], p[1]) <= radius and abs(p[2]) <= 0.6


SOLIDS = {
    "sphere": (lambda o, d, near: ray.sphere(*o, *d, 0.8, near), lambda p: p @ p <= 0.64),
    "ellipsoid": (
        lambda o, d, near: ray.ellipsoid(*o, *d, 0.9, 0.5, 0.7, near),
        lambda p: ((p / [0.9, 0.5, 0.7]) ** 2).sum() <= 1,
    ),
    "box": (
        lambda o, d, near: ray.box(*o, *d, 0.8, 0.6, 0.5, near),
        lambda p: (abs(p) <= [0.8, 0.6, 0.5]).all(),
    ),
    "frustum": (lambda o, d, near: ray.frustum(*o, *d, 0.7, 0.2, 0.6, near), frustum_inside),
    "cone": (
        lambda o, d, near: ray.frustum(*o, *d, 0.8, 0.0, 0.6, near),
        lambda p: abs(p[2]) <= 0.6 and math.hypot(p[0], p[1]) <= 0.8 * (0.6 - p[2]) / 1.2,
    ),
    "capsule": (
        lambda o, d, near: ray.capsule(*o, *d, 0.4, 0.5, near),
        lambda p: np.linalg.norm(p - [0, 0, np.clip(p[2], -0.5, 0.5)]) <= 0.4,
    ),
    "torus": (
        lambda o, d, near: ray.torus(*o, *d, 0.6, 0.25, near),
        lambda p: math.hypot(math.hypot(p[0], p[1]) - 0.6, p[2]) <= 0.25,
    ),
    "polyhedron": (
        lambda o, d, near: ray.polyhedron(WEDGE, 0, 5, *o, *d, near),
        lambda p: (WEDGE[:, :3] @ p <= WEDGE[:, 3]).all(),
    ),
}
coordinate = st.floats(-1, 1, width=32)
point = st.tuples(coordinate, coordinate, coordinate).map(np.array)


@pytest.mark.parametrize("name", SOLIDS)
@settings(max_examples=40, deadline=None)
@given(origin=point, target=point)
def test_first_meeting_is_where_the_inside_begins(name, origin, target):
    solve, inside = SOLIDS[name]
    if np.linalg.norm(origin) < 1e-2:
        return
    origin = origin / np.linalg.norm(origin) * 3
    way = target * 0.8 - origin
    way /= np.linalg.norm(way)
    t = solve(origin, way, 0.0)
    step = 0.004
    samples = np.arange(0.5, 6, step)
    within = np.array([inside(origin + s * way) for s in samples])
    if t >= ray.MISS:
        assert within.sum() <= 3  # a grazing ray may cut a corner between roundings
    elif within.any():
        assert abs(samples[within.argmax()] - t) <= 2 * step
    else:
        # The cut is shorter than the samples lie apart.
        assert not inside(origin + (t + 3 * step) * way) or inside(origin + (t + step) * way)


@pytest.mark.parametrize("aside", [0.0, 1.08136801e-40, 1e-20, 1e-14])
def test_a_ray_down_the_axis_meets_the_apex_of_a_cone(aside):
    """There both sides meet, and rounding put the meeting a hair above the top."""
    t = ray.frustum(0.0, aside, 3.0, 0.0, 0.0, -1.0, 0.8, 0.0, 0.6, 0.0)
    assert t == pytest.approx(2.4, abs=1e-6)


@pytest.mark.parametrize("name", SOLIDS)
@settings(max_examples=25, deadline=None)
@given(target=point)
def test_from_inside_a_ray_meets_the_way_out(name, target):
    solve, inside = SOLIDS[name]
    origin = np.array([0.6, 0.0, 0.0]) if name == "torus" else np.array([0.02, 0.03, -0.05])
    if np.linalg.norm(target - origin) < 0.05:
        return
    way = (target - origin) / np.linalg.norm(target - origin)
    t = solve(origin, way, 1e-4)
    assert t < ray.MISS
    assert inside(origin + (t - 2e-3) * way) or name == "torus"
    if name != "torus":
        assert not inside(origin + (t + 2e-3) * way)
