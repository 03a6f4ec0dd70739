"""Environment light: the sky image, its diffuse light, and ambient occlusion by nearby solids."""

from __future__ import annotations

import math

import numpy as np

from kinema.simulator.render.buffers import (
    FLOOR_ROTATION,
    FLOOR_TILE,
    OCCLUDER_CENTRE,
    OCCLUDER_COLOUR,
    OCCLUDER_OBJECT_ID,
    OCCLUDER_RADIUS_SQUARED,
    OCCLUDER_ROW,
    YAW,
)
from kinema.simulator.render.kernels.surface import floor_int, fraction


def sample_latlong(image, dx, dy, dz):
    """Bilinear look-up in a latitude-longitude image by direction."""
    height = image.shape[0]
    width = image.shape[1]
    u = (math.atan2(dy, dx) * 0.15915494309 + 0.5) * np.float32(width) - 0.5
    v = math.acos(min(1.0, max(-1.0, dz))) * 0.31830988618 * np.float32(height) - 0.5
    i = floor_int(u)
    j = floor_int(v)
    u -= np.float32(i)
    v -= np.float32(j)
    left = (i + width) % width
    right = (i + 1) % width
    above = min(height - 1, max(0, j))
    below = min(height - 1, max(0, j + 1))
    a = (1.0 - u) * (1.0 - v)
    b = u * (1.0 - v)
    c = (1.0 - u) * v
    d = u * v
    return (
        a * image[above, left, 0]
        + b * image[above, right, 0]
        + c * image[below, left, 0]
        + d * image[below, right, 0],
        a * image[above, left, 1]
        + b * image[above, right, 1]
        + c * image[below, left, 1]
        + d * image[below, right, 1],
        a * image[above, left, 2]
        + b * image[above, right, 2]
        + c * image[below, left, 2]
        + d * image[below, right, 2],
    )


def sky_radiance(buffers, dx, dy, dz, roughness):
    """Radiance of the sky in a direction, blurred as by a reflection with `roughness`."""
    x = buffers.light[YAW] * dx - buffers.light[YAW + 1] * dy
    y = buffers.light[YAW + 1] * dx + buffers.light[YAW] * dy
    if roughness < 0.05:
        return sample_latlong(buffers.sky, x, y, dz)
    if roughness < 0.18:
        f = (roughness - 0.05) / 0.13
        r, g, b = sample_latlong(buffers.sky, x, y, dz)
        r2, g2, b2 = sample_latlong(buffers.glossy, x, y, dz)
        return r + (r2 - r) * f, g + (g2 - g) * f, b + (b2 - b) * f
    f = min(1.0, (roughness - 0.18) / 0.3)
    r, g, b = sample_latlong(buffers.glossy, x, y, dz)
    r2, g2, b2 = sample_latlong(buffers.rough, x, y, dz)
    return r + (r2 - r) * f, g + (g2 - g) * f, b + (b2 - b) * f


def harmonic(table, c, x, y, z):
    """One channel of the irradiance (over pi) for a normal."""
    value = table[0, c] + table[1, c] * y + table[2, c] * z + table[3, c] * x
    value += table[4, c] * x * y + table[5, c] * y * z + table[6, c] * (3.0 * z * z - 1.0)
    value += table[7, c] * x * z + table[8, c] * (x * x - y * y)
    return max(value, 0.05 * table[0, c])


def diffuse_light(buffers, nx, ny, nz):
    """Diffuse light of the sky on a surface with this normal, as the radiance of a white surface."""
    x = buffers.light[YAW] * nx - buffers.light[YAW + 1] * ny
    y = buffers.light[YAW + 1] * nx + buffers.light[YAW] * ny
    table = buffers.irradiance
    return harmonic(table, 0, x, y, nz), harmonic(table, 1, x, y, nz), harmonic(table, 2, x, y, nz)


def sample_mip(texture, level, u, v):
    """Bilinear look-up in one level of a mip pyramid whose level 0 is 256 wide."""
    side = 256 >> level
    offset = (262144 - 4 * side * side) // 3
    x = fraction(u) * np.float32(side) - 0.5
    y = fraction(v) * np.float32(side) - 0.5
    i = floor_int(x)
    j = floor_int(y)
    x -= np.float32(i)
    y -= np.float32(j)
    i0 = (i + side) & (side - 1)
    i1 = (i + 1) & (side - 1)
    j0 = offset + ((j + side) & (side - 1)) * side
    j1 = offset + ((j + 1) & (side - 1)) * side
    a = (1.0 - x) * (1.0 - y)
    b = x * (1.0 - y)
    c = (1.0 - x) * y
    d = x * y
    p = j0 + i0
    q = j0 + i1
    r = j1 + i0
    s = j1 + i1
    return (
        a * texture[p, 0] + b * texture[q, 0] + c * texture[r, 0] + d * texture[s, 0],
        a * texture[p, 1] + b * texture[q, 1] + c * texture[r, 1] + d * texture[s, 1],
        a * texture[p, 2] + b * texture[q, 2] + c * texture[r, 2] + d * texture[s, 2],
    )


def floor_colour(buffers, hx, hy, dx, dy, dz, width):
    """Colour of the floor under a pixel of `width` metres: trilinear, with up to 4 taps along the view."""
    light = buffers.light
    tile = light[FLOOR_TILE]
    c = light[FLOOR_ROTATION]
    s = light[FLOOR_ROTATION + 1]
    u = (c * hx - s * hy) / tile
    v = (s * hx + c * hy) / tile
    across = width * 256.0 / tile
    stretch = 1.0 / max(0.02, -dz)
    taps = int(min(4.0, max(1.0, stretch + 0.5)))
    detail = math.log(max(0.25, 0.8 * across * max(1.0, stretch / np.float32(taps)))) * 1.44269504
    detail = min(8.0, max(0.0, detail))
    level = int(detail)
    blend = detail - np.float32(level)
    flat = max(1e-4, math.sqrt(dx * dx + dy * dy))
    step = width * stretch / (np.float32(taps) * flat * tile)
    su = (c * dx - s * dy) * step
    sv = (s * dx + c * dy) * step
    r = 0.0
    g = 0.0
    b = 0.0
    for k in range(taps):
        off = np.float32(k) - 0.5 * np.float32(taps - 1)
        r1, g1, b1 = sample_mip(buffers.texture, level, u + off * su, v + off * sv)
        if blend > 0.02 and level < 8:
            r2, g2, b2 = sample_mip(buffers.texture, level + 1, u + off * su, v + off * sv)
            r1 += (r2 - r1) * blend
            g1 += (g2 - g1) * blend
            b1 += (b2 - b1) * blend
        r += r1
        g += g1
        b += b1
    share = 1.0 / np.float32(taps)
    return r * share, g * share, b * share


def ambient_occlusion(buffers, first, count, hit, object_id, round_hit, hx, hy, hz, nx, ny, nz):
    """Ambient occlusion: (visible share of the sky, red, green, blue of the occluders).

    Solids are approximated by spheres. `hit` is relative to the frame's first solid. Solids of one entity
    occlude each other only at points on a sphere (a snowman's), because otherwise the approximations overlap
    the surface.
    """
    table = buffers.occluders
    open_share = 1.0
    r = 0.0
    g = 0.0
    b = 0.0
    for k in range(first, first + count):
        x = table[k, OCCLUDER_CENTRE] - hx
        y = table[k, OCCLUDER_CENTRE + 1] - hy
        z = table[k, OCCLUDER_CENTRE + 2] - hz
        square = x * x + y * y + z * z
        radius = table[k, OCCLUDER_RADIUS_SQUARED]
        if square > radius * 30.0:
            continue
        if hit >= 0 and (
            int(table[k, OCCLUDER_ROW]) == hit
            or (int(table[k, OCCLUDER_OBJECT_ID]) == object_id and round_hit == 0)
        ):
            continue
        facing = (nx * x + ny * y + nz * z) / math.sqrt(square + 1e-9)
        # Fade out towards the cut-off above to avoid a visible edge.
        share = (radius / (square + 1e-6) - 0.0333333) * max(0.0, 0.25 + 0.75 * facing)
        share = min(1.0, share)
        if share > 0.0:
            open_share *= 1.0 - 0.85 * share
            r += share * table[k, OCCLUDER_COLOUR]
            g += share * table[k, OCCLUDER_COLOUR + 1]
            b += share * table[k, OCCLUDER_COLOUR + 2]
    return open_share, r, g, b
