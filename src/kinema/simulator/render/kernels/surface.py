"""Surface normals and patterns at a point of a solid."""

from __future__ import annotations

import math

import numpy as np

from kinema.simulator.appearance.material import LIT_SHARE, PATTERN, SCALE
from kinema.simulator.render.buffers import CENTRE, FIRST_PLANE, KIND, PLANE_COUNT, ROTATION, SIZE


def smoothstep(x):
    """Hermite step from 0 at x = 0 to 1 at x = 1."""
    x = min(1.0, max(0.0, x))
    return x * x * (3.0 - 2.0 * x)


def floor_int(x):
    """The largest integer at or below x; the type of `math.floor` depends on the backend."""
    i = int(x)
    return i - 1 if np.float32(i) > x else i


def fraction(x):
    """The fractional part of x."""
    return x - np.float32(floor_int(x))


def lattice(i, j, k):
    """A fixed pseudo-random number in 0..1 for integer coordinates."""
    n = (i * 374761393 + j * 668265263 + k * 1274126177) & 0xFFFFFFFF
    n = ((n ^ (n >> 13)) * 1103515245) & 0xFFFFFFFF
    return np.float32((n ^ (n >> 16)) & 0xFFFF) / 65535.0


def noise(x, y, z):
    """Value noise in 0..1 with one grid cell per unit."""
    i = floor_int(x)
    j = floor_int(y)
    k = floor_int(z)
    x = smoothstep(x - np.float32(i))
    y = smoothstep(y - np.float32(j))
    z = smoothstep(z - np.float32(k))
    a = lattice(i, j, k) * (1.0 - x) + lattice(i + 1, j, k) * x
    b = lattice(i, j + 1, k) * (1.0 - x) + lattice(i + 1, j + 1, k) * x
    c = lattice(i, j, k + 1) * (1.0 - x) + lattice(i + 1, j, k + 1) * x
    d = lattice(i, j + 1, k + 1) * (1.0 - x) + lattice(i + 1, j + 1, k + 1) * x
    return (a * (1.0 - y) + b * y) * (1.0 - z) + (c * (1.0 - y) + d * y) * z


def stripe(x, width):
    """Square wave of period 1 (first 0, then 1), blurred over `width`."""
    edge = max(0.5 * width, 0.02)
    distance = 0.25 - abs(fraction(x) - 0.5)
    return smoothstep(0.5 + 0.5 * distance / edge) if edge < 0.5 else 0.5


def line(x, thickness, width):
    """1 on lines of `thickness` at integer x, 0 between; blurred over `width` and dimmed accordingly."""
    edge = max(width, 0.01)
    distance = 0.5 * thickness - (0.5 - abs(fraction(x) - 0.5))
    return smoothstep(0.5 + distance / edge) * min(1.0, thickness / (0.6 * edge + 0.4 * thickness))


def pattern(materials, m, x, y, z, unit, width):
    """Share of the second colour in 0..1 at a local point.

    `unit` is 1 / the solid's largest half extent; `width` is the size of a pixel there, metres.
    """
    kind = int(materials[m, PATTERN])
    if kind == 0:
        return 0.0
    per_metre = materials[m, SCALE]
    s = per_metre * unit
    x *= s
    y *= s
    z *= s
    w = width * s
    share = 0.0
    if kind == 1:  # striped
        share = stripe(z * 1.6, w * 1.6)
    elif kind == 2:  # checkered
        a = stripe(x * 0.8 + 0.27, w * 0.8)
        b = stripe(y * 0.8 + 0.27, w * 0.8)
        c = stripe(z * 0.8 + 0.27, w * 0.8)
        a = a + b - 2.0 * a * b
        share = a + c - 2.0 * a * c
    elif kind == 3:  # spotted
        a = fraction(x * 1.7) - 0.5
        b = fraction(y * 1.7) - 0.5
        c = fraction(z * 1.7) - 0.5
        share = 1.0 - smoothstep((math.sqrt(a * a + b * b + c * c) - 0.38) / max(0.05, 1.7 * w) + 0.5)
    elif kind == 4:  # two-tone
        share = smoothstep(x / max(0.04, w) + 0.5)
    elif kind == 5:  # wooden
        grain = noise(x * 9.0, y * 9.0, z * 1.4)
        r = math.sqrt((x + 0.35) * (x + 0.35) + (y - 0.2) * (y - 0.2)) * 4.2
        r += 0.7 * noise(x * 1.3, y * 1.3, z * 0.5) + 0.18 * grain
        f = fraction(r)
        ring = f * f * (1.0 - smoothstep((f - 0.88) / 0.12))
        share = min(1.0, 0.75 * ring + 0.3 * grain)
    elif kind == 6:  # marbled
        q = noise(x * 1.7, y * 1.7, z * 1.7) + 0.5 * noise(x * 3.6, y * 3.6, z * 3.6)
        q += 0.25 * noise(x * 7.5, y * 7.5, z * 7.5)
        v = 0.5 + 0.5 * math.sin((x + 0.7 * y + 0.4 * z) * 2.2 + q * 6.5)
        v *= v
        share = v * v
    elif kind == 7:  # windows, per metre along x or y and along z
        x /= unit
        y /= unit
        z /= unit
        across = x if abs(x) < abs(y) else y
        w = width * per_metre
        a = abs(fraction(across) - 0.5)
        b = abs(fraction(z) - 0.55)
        edge = max(0.03, w)
        inside = smoothstep((0.26 - a) / edge + 0.5) * smoothstep((0.27 - b) / edge + 0.5)
        i = floor_int(across)
        j = floor_int(z)
        if lattice(i, j, 7) < materials[m, LIT_SHARE]:
            share = inside
    elif kind == 8:  # bricks, per metre along x and z
        x /= unit
        z /= unit
        w = width * per_metre
        row = floor_int(z * 2.6)
        shift = 0.5 * np.float32(row & 1)
        joint = max(line(x + shift, 0.06, w), line(z * 2.6, 0.12, 2.6 * w))
        tint = 0.3 * lattice(floor_int(x + shift), row, 3)
        share = tint + (1.0 - tint) * joint
    elif kind == 9:  # planks, per metre along x, upright
        x /= unit
        z /= unit
        w = width * per_metre
        board = floor_int(x * 2.0)
        tint = 0.35 * lattice(board, 5, 1) + 0.25 * noise(x * 20.0, 3.0, z * 1.2 + 7.0 * np.float32(board))
        share = max(tint, line(x * 2.0, 0.06, 2.0 * w))
    else:  # sectors around z, as on a beach ball
        share = stripe(math.atan2(y, x) * 0.4774648293, w * 0.5)
    return share


def world_to_local(buffers, row, hx, hy, hz):
    """Transform a world point to the solid's axes."""
    solids = buffers.solids
    x = hx - solids[row, CENTRE]
    y = hy - solids[row, CENTRE + 1]
    z = hz - solids[row, CENTRE + 2]
    return (
        solids[row, ROTATION] * x + solids[row, ROTATION + 3] * y + solids[row, ROTATION + 6] * z,
        solids[row, ROTATION + 1] * x + solids[row, ROTATION + 4] * y + solids[row, ROTATION + 7] * z,
        solids[row, ROTATION + 2] * x + solids[row, ROTATION + 5] * y + solids[row, ROTATION + 8] * z,
    )


def signed(x, size):
    """1 or -1 with the sign of x, times `size`."""
    return size if x > 0.0 else -size


def normal(buffers, row, x, y, z):
    """Outward unit normal, in world axes, at a local point of the surface.

    Edges of boxes, frusta and polyhedra are rounded only in the shading; outlines stay exact.
    """
    solids = buffers.solids
    a = solids[row, SIZE]
    b = solids[row, SIZE + 1]
    c = solids[row, SIZE + 2]
    kind = buffers.labels[row, KIND]
    nx = x
    ny = y
    nz = z
    if kind == 1:
        nx = x / (a * a)
        ny = y / (b * b)
        nz = z / (c * c)
    elif kind == 2:
        bevel = 0.09 * min(a, min(b, c))
        nx = signed(x, smoothstep((abs(x) - a + bevel) / bevel))
        ny = signed(y, smoothstep((abs(y) - b + bevel) / bevel))
        nz = signed(z, smoothstep((abs(z) - c + bevel) / bevel))
    elif kind == 3:
        slope = (b - a) / (2.0 * c)
        around = math.sqrt(x * x + y * y)
        edge = 0.5 * (a + b) + slope * z
        bevel = 0.09 * min(max(a, b), c)
        # The smaller of the distances below the side surface and below the nearer cap.
        side = smoothstep((around - edge + bevel) / bevel)
        lid = smoothstep((abs(z) - c + bevel) / bevel)
        along = 1.0 / math.sqrt(1.0 + slope * slope)
        q = max(around, 1e-6)
        nx = side * x / q * along
        ny = side * y / q * along
        nz = -side * slope * along + signed(z, lid)
    elif kind == 4:
        nz = z - min(b, max(-b, z))
    elif kind == 5:
        q = max(1e-6, math.sqrt(x * x + y * y))
        nx = x * (q - a) / q
        ny = y * (q - a) / q
    elif kind == 6:
        first = buffers.labels[row, FIRST_PLANE]
        bevel = 0.03 / solids[row, 16]
        nx = 0.0
        ny = 0.0
        nz = 0.0
        for k in range(first, first + buffers.labels[row, PLANE_COUNT]):
            px = buffers.planes[k, 0]
            py = buffers.planes[k, 1]
            pz = buffers.planes[k, 2]
            share = smoothstep((px * x + py * y + pz * z - buffers.planes[k, 3] + bevel) / bevel)
            nx += share * px
            ny += share * py
            nz += share * pz
    q = 1.0 / math.sqrt(max(1e-20, nx * nx + ny * ny + nz * nz))
    nx *= q
    ny *= q
    nz *= q
    return (
        solids[row, ROTATION] * nx + solids[row, ROTATION + 1] * ny + solids[row, ROTATION + 2] * nz,
        solids[row, ROTATION + 3] * nx + solids[row, ROTATION + 4] * ny + solids[row, ROTATION + 5] * nz,
        solids[row, ROTATION + 6] * nx + solids[row, ROTATION + 7] * ny + solids[row, ROTATION + 8] * nz,
    )
