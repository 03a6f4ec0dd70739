"""Soft sun shadows without sampling.

For each solid between a point and the sun, the clearance between the shadow ray and the solid's outline has a
closed form. Compared with the size of the sun's disc at that distance it gives the hidden share of the sun,
so penumbras widen with distance and have no noise. Outlines: spheres, ellipsoids and capsules are exact or
first-order; boxes and polyhedra use the entry and exit faces (the gradient of the chord length is the
distance to the outline); frusta are the hull of two projected discs (signed distance to an uneven capsule, I.
Quilez); tori use sphere tracing.
"""

from __future__ import annotations

import math

from kinema.simulator.render.buffers import (
    BOUND,
    CENTRE,
    FIRST_PLANE,
    KIND,
    LOCAL_SUN,
    MATERIAL,
    PLANE_COUNT,
    ROTATION,
    SIZE,
    SUN,
    SUN_ACROSS,
    SUN_ALONG,
    SUN_SPACE_CENTRE,
    SUN_SPREAD,
)

INSIDE = -1e3
"""Clearance of a ray that passes deep through a solid."""
OUTSIDE = 1e3


def ellipsoid_clearance(x, y, z, u, v, w, a, b, c):
    """(clearance, distance along the ray) of an ellipsoid's outline."""
    x /= a
    y /= b
    z /= c
    u /= a
    v /= b
    w /= c
    t = -(x * u + y * v + z * w) / (u * u + v * v + w * w)
    x += t * u
    y += t * v
    z += t * w
    q = math.sqrt(x * x + y * y + z * z)
    if q < 0.3:
        return INSIDE, t
    x /= a * q
    y /= b * q
    z /= c * q
    return (q - 1.0) / math.sqrt(x * x + y * y + z * z), t


def box_clearance(x, y, z, u, v, w, a, b, c):
    """(clearance, distance along the ray) of a box's outline."""
    iu = 1.0 / (u if abs(u) > 1e-6 else 1e-6)
    iv = 1.0 / (v if abs(v) > 1e-6 else 1e-6)
    iw = 1.0 / (w if abs(w) > 1e-6 else 1e-6)
    enter = -x * iu - a * abs(iu)
    leave = -x * iu + a * abs(iu)
    first = iu
    last = iu
    entered = 0
    left = 0
    t = -y * iv - b * abs(iv)
    if t > enter:
        enter = t
        first = iv
        entered = 1
    t = -y * iv + b * abs(iv)
    if t < leave:
        leave = t
        last = iv
        left = 1
    t = -z * iw - c * abs(iw)
    if t > enter:
        enter = t
        first = iw
        entered = 2
    t = -z * iw + c * abs(iw)
    if t < leave:
        leave = t
        last = iw
        left = 2
    middle = 0.5 * (enter + leave)
    if entered == left:
        return INSIDE, middle
    return (enter - leave) / math.sqrt(first * first + last * last), middle


def polyhedron_clearance(planes, first, count, x, y, z, u, v, w):
    """(clearance, distance along the ray) of a convex polyhedron's outline."""
    enter = -1e9
    leave = 1e9
    front = first
    back = first
    for k in range(first, first + count):
        along = planes[k, 0] * u + planes[k, 1] * v + planes[k, 2] * w
        if abs(along) < 1e-6:
            along = 1e-6
        t = (planes[k, 3] - (planes[k, 0] * x + planes[k, 1] * y + planes[k, 2] * z)) / along
        if along < 0.0:
            if t > enter:
                enter = t
                front = k
        elif t < leave:
            leave = t
            back = k
    i = planes[front, 0] * u + planes[front, 1] * v + planes[front, 2] * w
    j = planes[back, 0] * u + planes[back, 1] * v + planes[back, 2] * w
    i = 1.0 / (i if abs(i) > 1e-6 else 1e-6)
    j = 1.0 / (j if abs(j) > 1e-6 else 1e-6)
    gx = planes[front, 0] * i - planes[back, 0] * j
    gy = planes[front, 1] * i - planes[back, 1] * j
    gz = planes[front, 2] * i - planes[back, 2] * j
    slope = math.sqrt(gx * gx + gy * gy + gz * gz)
    middle = 0.5 * (enter + leave)
    if slope < 1e-6:
        return INSIDE, middle
    return (enter - leave) / slope, middle


def capsule_clearance(x, y, z, u, v, w, radius, half):
    """(clearance, distance along the ray) of a capsule's outline."""
    along = x * u + y * v + z * w
    place = min(half, max(-half, (z - w * along) / max(1e-6, 1.0 - w * w)))
    z -= place
    t = -(x * u + y * v + z * w)
    x += t * u
    y += t * v
    z += t * w
    return math.sqrt(x * x + y * y + z * z) - radius, t


def frustum_clearance(x, y, z, u, v, w, bottom, top, half):
    """(clearance, distance along the ray) of a frustum's outline."""
    along = x * u + y * v + z * w
    sine = math.sqrt(max(0.0, 1.0 - w * w))
    if sine < 0.02:
        px = x - along * u
        py = y - along * v
        return math.sqrt(px * px + py * py) - max(bottom, top), -along
    squash = max(0.03, abs(w))
    across = abs(y * u - x * v) / sine
    upward = (z - w * along) / sine
    place = min(half, max(-half, upward / sine))
    t = w * place - along
    height = half * sine / squash
    py = upward / squash + height
    length = 2.0 * height
    b = (bottom - top) / length
    if abs(b) >= 0.999:
        # One disc's outline covers the other's.
        if top > bottom:
            py -= length
        radius = max(bottom, top)
        q = math.sqrt(across * across + py * py)
        gx = across / max(q, 1e-6)
        gy = py / max(q, 1e-6)
        distance = q - radius
    else:
        a = math.sqrt(1.0 - b * b)
        k = a * py - b * across
        if k < 0.0:
            q = math.sqrt(across * across + py * py)
            gx = across / max(q, 1e-6)
            gy = py / max(q, 1e-6)
            distance = q - bottom
        elif k > a * length:
            py -= length
            q = math.sqrt(across * across + py * py)
            gx = across / max(q, 1e-6)
            gy = py / max(q, 1e-6)
            distance = q - top
        else:
            gx = a
            gy = b
            distance = across * a + py * b - bottom
    gy /= squash
    return distance / math.sqrt(max(1e-6, gx * gx + gy * gy)), t


def torus_visible(x, y, z, u, v, w, ring, tube, spread, blur):
    """Visible share of the sun past a torus, by sphere tracing."""
    limit = ring + tube
    b = x * u + y * v + z * w
    t = max(0.004, -b - limit)
    visible = 1.0
    for _ in range(40):
        px = x + t * u
        py = y + t * v
        pz = z + t * w
        side = math.sqrt(px * px + py * py) - ring
        distance = math.sqrt(side * side + pz * pz) - tube
        visible = min(visible, 0.5 + 0.5 * distance / (t * spread + blur))
        if visible <= 0.0:
            return 0.0
        t += max(0.4 * abs(distance), 0.004)
        if t > -b + limit:
            break
    return visible * visible * (3.0 - 2.0 * visible)


def sun_visibility(buffers, first, count, hit, hx, hy, hz, blur):
    """Share of the sun's disc that is visible from a point, 0 to 1.

    `hit` is the row on which the point lies (or FLOOR); a convex solid does not shadow its own lit side.
    `blur` widens every edge by about a pixel.
    """
    solids = buffers.solids
    light = buffers.light
    pa = hx * light[SUN_ACROSS] + hy * light[SUN_ACROSS + 1] + hz * light[SUN_ACROSS + 2]
    pb = hx * light[SUN_ALONG] + hy * light[SUN_ALONG + 1] + hz * light[SUN_ALONG + 2]
    pc = hx * light[SUN] + hy * light[SUN + 1] + hz * light[SUN + 2]
    spread = light[SUN_SPREAD]
    hidden = 0.0
    for row in range(first, first + count):
        bound = solids[row, BOUND]
        ahead = solids[row, SUN_SPACE_CENTRE + 2] - pc
        if ahead + bound <= 0.0:
            continue
        da = solids[row, SUN_SPACE_CENTRE] - pa
        db = solids[row, SUN_SPACE_CENTRE + 1] - pb
        reach = bound + spread * (ahead + bound) + blur
        apart = da * da + db * db
        if apart > reach * reach:
            continue
        kind = buffers.labels[row, KIND]
        if row == hit and kind != 5:
            continue
        a = solids[row, SIZE]
        if kind == 0:
            clearance = math.sqrt(apart) - a
            t = ahead
        else:
            lx = hx - solids[row, CENTRE]
            ly = hy - solids[row, CENTRE + 1]
            lz = hz - solids[row, CENTRE + 2]
            x = solids[row, ROTATION] * lx + solids[row, ROTATION + 3] * ly + solids[row, ROTATION + 6] * lz
            y = (
                solids[row, ROTATION + 1] * lx
                + solids[row, ROTATION + 4] * ly
                + solids[row, ROTATION + 7] * lz
            )
            z = (
                solids[row, ROTATION + 2] * lx
                + solids[row, ROTATION + 5] * ly
                + solids[row, ROTATION + 8] * lz
            )
            u = solids[row, LOCAL_SUN]
            v = solids[row, LOCAL_SUN + 1]
            w = solids[row, LOCAL_SUN + 2]
            b = solids[row, SIZE + 1]
            c = solids[row, SIZE + 2]
            t = ahead
            clearance = OUTSIDE
            if kind == 1:
                clearance, t = ellipsoid_clearance(x, y, z, u, v, w, a, b, c)
            elif kind == 2:
                clearance, t = box_clearance(x, y, z, u, v, w, a, b, c)
            elif kind == 3:
                clearance, t = frustum_clearance(x, y, z, u, v, w, a, b, c)
            elif kind == 4:
                clearance, t = capsule_clearance(x, y, z, u, v, w, a, b)
            elif kind == 5:
                seen = torus_visible(x, y, z, u, v, w, a, b, spread, blur)
                hidden += (1.0 - seen) * buffers.materials[buffers.labels[row, MATERIAL], 14]
                continue
            else:
                plane = buffers.labels[row, FIRST_PLANE]
                planes = buffers.labels[row, PLANE_COUNT]
                clearance, t = polyhedron_clearance(buffers.planes, plane, planes, x, y, z, u, v, w)
        if t <= 0.0:
            continue
        share = 0.5 - 0.5 * clearance / (t * spread + blur)
        if share > 0.0:
            share = min(1.0, share)
            share *= share * (3.0 - 2.0 * share)
            hidden += share * buffers.materials[buffers.labels[row, MATERIAL], 14]
            if hidden >= 1.0:
                return 0.0
    return 1.0 - hidden
