"""Ray-solid intersections in closed form (the torus by sphere tracing).

Every solid is first tested by its bounding sphere. The ray's origin is then moved to the point closest to the
solid's centre, so that all quadratics have small coefficients. This keeps single precision accurate for
small, distant spheres (Haines et al., Ray Tracing Gems, chapter 7).
"""

from __future__ import annotations

import math

from kinema.simulator.render.buffers import BOUND, CENTRE, FIRST_PLANE, KIND, PLANE_COUNT, ROTATION, SIZE

MISS = 1e9
"""Distance of a ray that hits nothing."""
TINY = 1e-12


def sphere(x, y, z, u, v, w, radius, near):
    """Distance along the ray to a sphere around the origin, beyond `near`."""
    b = x * u + y * v + z * w
    px = x - b * u
    py = y - b * v
    pz = z - b * w
    square = radius * radius - (px * px + py * py + pz * pz)
    if square < 0.0:
        return MISS
    root = math.sqrt(square)
    if -b - root > near:
        return -b - root
    if -b + root > near:
        return -b + root
    return MISS


def ellipsoid(x, y, z, u, v, w, a, b, c, near):
    """Distance along the ray to an ellipsoid of radii a, b, c."""
    x /= a
    y /= b
    z /= c
    u /= a
    v /= b
    w /= c
    length = math.sqrt(u * u + v * v + w * w)
    t = sphere(x, y, z, u / length, v / length, w / length, 1.0, near * length)
    if t < MISS:
        return t / length
    return MISS


def box(x, y, z, u, v, w, a, b, c, near):
    """Distance along the ray to a box of half extents a, b, c (slab method)."""
    iu = 1.0 / (u if abs(u) > TINY else TINY)
    iv = 1.0 / (v if abs(v) > TINY else TINY)
    iw = 1.0 / (w if abs(w) > TINY else TINY)
    enter = -x * iu - a * abs(iu)
    leave = -x * iu + a * abs(iu)
    enter = max(enter, -y * iv - b * abs(iv))
    leave = min(leave, -y * iv + b * abs(iv))
    enter = max(enter, -z * iw - c * abs(iw))
    leave = min(leave, -z * iw + c * abs(iw))
    if enter > leave:
        return MISS
    if enter > near:
        return enter
    if leave > near:
        return leave
    return MISS


def frustum(x, y, z, u, v, w, bottom, top, half, near):
    """Distance along the ray to a frustum: radius `bottom` at z = -half, `top` at z = half."""
    best = MISS
    middle = 0.5 * (bottom + top)
    slope = (top - bottom) / (2.0 * half)
    radius = middle + slope * z
    a = u * u + v * v - slope * slope * w * w
    b = x * u + y * v - slope * w * radius
    c = x * x + y * y - radius * radius
    if abs(a) > TINY:
        square = b * b - a * c
        if square >= 0.0:
            root = math.sqrt(square)
            for side in range(2):
                t = (-b - root) / a if side == 0 else (-b + root) / a
                height = z + t * w
                # At an apex, rounding may put the intersection slightly above the top.
                inside = abs(height) <= half + TINY and middle + slope * height >= -TINY
                if near < t < best and inside:
                    best = t
    if abs(w) > TINY:
        for side in range(2):
            t = ((-half if side == 0 else half) - z) / w
            edge = bottom if side == 0 else top
            px = x + t * u
            py = y + t * v
            if near < t < best and px * px + py * py <= edge * edge:
                best = t
    return best


def capsule(x, y, z, u, v, w, radius, half, near):
    """Distance along the ray to a capsule about z with half length `half`."""
    best = MISS
    a = u * u + v * v
    if a > TINY:
        b = x * u + y * v
        square = b * b - a * (x * x + y * y - radius * radius)
        if square >= 0.0:
            root = math.sqrt(square)
            for side in range(2):
                t = (-b - root) / a if side == 0 else (-b + root) / a
                if near < t < best and abs(z + t * w) <= half:
                    best = t
    for end in range(2):
        pz = z + half if end == 0 else z - half
        outward = -1.0 if end == 0 else 1.0
        t = sphere(x, y, pz, u, v, w, radius, near)
        if t < best and (z + t * w) * outward < half:
            # The near side of this sphere lies within the cylinder; its far side may still be the surface.
            t = sphere(x, y, pz, u, v, w, radius, t + 1e-5)
        if t < best and (z + t * w) * outward >= half:
            best = t
    return best


def torus(x, y, z, u, v, w, ring, tube, near):
    """Distance along the ray to a torus about z, by sphere tracing."""
    limit = ring + tube
    b = x * u + y * v + z * w
    t = max(near, -b - limit)
    for _ in range(96):
        px = x + t * u
        py = y + t * v
        pz = z + t * w
        across = math.sqrt(px * px + py * py) - ring
        distance = math.sqrt(across * across + pz * pz) - tube
        if abs(distance) < 1e-4:
            if t > near + 2e-4:
                return t
            distance = 1e-3
        t += abs(distance)
        if t > -b + limit:
            return MISS
    return MISS


def polyhedron(planes, first, count, x, y, z, u, v, w, near):
    """Distance along the ray to a convex polyhedron, the intersection of half-spaces."""
    enter = -MISS
    leave = MISS
    for k in range(first, first + count):
        along = planes[k, 0] * u + planes[k, 1] * v + planes[k, 2] * w
        out = planes[k, 3] - (planes[k, 0] * x + planes[k, 1] * y + planes[k, 2] * z)
        if abs(along) < TINY:
            if out < 0.0:
                return MISS
        elif along < 0.0:
            enter = max(enter, out / along)
        else:
            leave = min(leave, out / along)
    if enter > leave:
        return MISS
    if enter > near:
        return enter
    if leave > near:
        return leave
    return MISS


def intersect(buffers, row, ox, oy, oz, dx, dy, dz, near, far):
    """Distance along the ray (unit direction) to solid `row`, between `near` and `far`; MISS otherwise."""
    solids = buffers.solids
    lx = ox - solids[row, CENTRE]
    ly = oy - solids[row, CENTRE + 1]
    lz = oz - solids[row, CENTRE + 2]
    closest = -(lx * dx + ly * dy + lz * dz)
    lx += closest * dx
    ly += closest * dy
    lz += closest * dz
    bound = solids[row, BOUND]
    square = bound * bound - (lx * lx + ly * ly + lz * lz)
    if square < 0.0:
        return MISS
    reach = math.sqrt(square)
    if closest - reach > far or closest + reach < near:
        return MISS
    start = near - closest
    kind = buffers.labels[row, KIND]
    a = solids[row, SIZE]
    b = solids[row, SIZE + 1]
    c = solids[row, SIZE + 2]
    if kind == 0:
        t = sphere(lx, ly, lz, dx, dy, dz, a, start)
    else:
        x = solids[row, ROTATION] * lx + solids[row, ROTATION + 3] * ly + solids[row, ROTATION + 6] * lz
        y = solids[row, ROTATION + 1] * lx + solids[row, ROTATION + 4] * ly + solids[row, ROTATION + 7] * lz
        z = solids[row, ROTATION + 2] * lx + solids[row, ROTATION + 5] * ly + solids[row, ROTATION + 8] * lz
        u = solids[row, ROTATION] * dx + solids[row, ROTATION + 3] * dy + solids[row, ROTATION + 6] * dz
        v = solids[row, ROTATION + 1] * dx + solids[row, ROTATION + 4] * dy + solids[row, ROTATION + 7] * dz
        w = solids[row, ROTATION + 2] * dx + solids[row, ROTATION + 5] * dy + solids[row, ROTATION + 8] * dz
        if kind == 1:
            t = ellipsoid(x, y, z, u, v, w, a, b, c, start)
        elif kind == 2:
            t = box(x, y, z, u, v, w, a, b, c, start)
        elif kind == 3:
            t = frustum(x, y, z, u, v, w, a, b, c, start)
        elif kind == 4:
            t = capsule(x, y, z, u, v, w, a, b, start)
        elif kind == 5:
            t = torus(x, y, z, u, v, w, a, b, start)
        else:
            first = buffers.labels[row, FIRST_PLANE]
            t = polyhedron(buffers.planes, first, buffers.labels[row, PLANE_COUNT], x, y, z, u, v, w, start)
    if t >= MISS:
        return MISS
    t += closest
    if t > far:
        return MISS
    return t
