"""The passes from rays to pixels: tile culling, one sample per pixel, and antialiasing.

Every pixel is first sampled at its centre. It is sampled again at several fixed points if the path of its ray
or its colour differs from a neighbour's. The sample points are the same for every pixel and frame, and
shadows and textures are smooth by construction, so nothing flickers.
"""

from __future__ import annotations

import math

import numpy as np

from kinema.simulator.render.buffers import BOUND, CENTRE, EXPOSURE, OBJECT_ID
from kinema.simulator.render.kernels.shading import trace_radiance

TILE = 8
"""Edge length of the tiles that share a list of candidate solids, pixels."""


def camera_ray(buffers, frame, height, width, px, py):
    """Unit direction through a point of the image, in pixels from the top left."""
    cameras = buffers.cameras
    tangent = cameras[frame, 12]
    scale = tangent / np.float32(height)
    u = (2.0 * px - np.float32(width)) * scale
    v = (np.float32(height) - 2.0 * py) * scale
    dx = cameras[frame, 9] + u * cameras[frame, 3] + v * cameras[frame, 6]
    dy = cameras[frame, 10] + u * cameras[frame, 4] + v * cameras[frame, 7]
    dz = cameras[frame, 11] + u * cameras[frame, 5] + v * cameras[frame, 8]
    q = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
    return dx * q, dy * q, dz * q


def sphere_touches_cone(x, y, z, bound, ax, ay, az, cosine, sine):
    """Whether a sphere at (x, y, z) relative to the apex intersects a cone about axis a."""
    square = x * x + y * y + z * z
    along = x * ax + y * ay + z * az
    apart = math.sqrt(max(0.0, square - along * along))
    return square <= bound * bound or apart * cosine - along * sine <= bound


def cull_tile(buffers, frame, height, width, tile, tiles_across, rows, counts):
    """List the solids that the camera rays of a tile may hit, and those that their floor reflections may hit.

    `rows` has 2n entries per tile: n for camera rays and n for reflected rays. `counts` has the number of
    used entries of each.
    """
    cameras = buffers.cameras
    solids = buffers.counts[0]
    tx = np.float32((tile % tiles_across) * TILE)
    ty = np.float32((tile // tiles_across) * TILE)
    side = np.float32(TILE)
    half = 0.5 * side
    ax, ay, az = camera_ray(buffers, frame, height, width, tx + half, ty + half)
    cosine = 1.0
    for corner in range(4):
        bx, by, bz = camera_ray(
            buffers,
            frame,
            height,
            width,
            tx + (side if corner & 1 else 0.0),
            ty + (side if corner & 2 else 0.0),
        )
        cosine = min(cosine, ax * bx + ay * by + az * bz)
    # Tolerance for rounding in single precision.
    cosine = min(1.0, cosine) - 2e-5
    sine = math.sqrt(1.0 - cosine * cosine)
    start = 2 * solids * tile
    direct = 0
    mirrored = 0
    for row in range(frame * solids, (frame + 1) * solids):
        x = buffers.solids[row, CENTRE] - cameras[frame, 0]
        y = buffers.solids[row, CENTRE + 1] - cameras[frame, 1]
        z = buffers.solids[row, CENTRE + 2]
        bound = buffers.solids[row, BOUND] * 1.0001 + 1e-4
        if sphere_touches_cone(x, y, z - cameras[frame, 2], bound, ax, ay, az, cosine, sine):
            rows[start + direct] = row
            direct += 1
        if sphere_touches_cone(x, y, -z - cameras[frame, 2], bound, ax, ay, az, cosine, sine):
            rows[start + solids + mirrored] = row
            mirrored += 1
    counts[2 * tile] = direct
    counts[2 * tile + 1] = mirrored


def tonemap(tone, light):
    """Display value in 0..1 of a radiance, by table look-up."""
    place = math.sqrt(max(0.0, light)) * 255.75
    i = int(place)
    if i >= 1022:
        return tone[1023]
    return tone[i] + (tone[i + 1] - tone[i]) * (place - np.float32(i))


def shade_sample(buffers, frame, height, width, px, py, tile, rows, counts):
    """Trace a point of the image: display red, green and blue, first hit, distance and path hash."""
    cameras = buffers.cameras
    solids = buffers.counts[0]
    dx, dy, dz = camera_ray(buffers, frame, height, width, px, py)
    start = 2 * solids * tile
    r, g, b, seen, distance, mark = trace_radiance(
        buffers,
        frame,
        rows,
        start,
        counts[2 * tile],
        start + solids,
        counts[2 * tile + 1],
        cameras[frame, 0],
        cameras[frame, 1],
        cameras[frame, 2],
        dx,
        dy,
        dz,
        2.0 * cameras[frame, 12] / np.float32(height),
    )
    exposure = buffers.light[EXPOSURE]
    return (
        tonemap(buffers.tone, r * exposure),
        tonemap(buffers.tone, g * exposure),
        tonemap(buffers.tone, b * exposure),
        seen,
        distance,
        mark,
    )


def primary_pass(
    buffers, frame, height, width, x, y, tiles_across, rows, counts, colour, path_hashes, object_ids, depth
):
    """Sample pixel (x, y) at its centre."""
    tile = (y // TILE) * tiles_across + x // TILE
    r, g, b, seen, distance, mark = shade_sample(
        buffers, frame, height, width, np.float32(x) + 0.5, np.float32(y) + 0.5, tile, rows, counts
    )
    colour[y, x, 0] = r
    colour[y, x, 1] = g
    colour[y, x, 2] = b
    # The lowest bit marks floor and sky, whose textures are already smooth.
    path_hashes[y, x] = 2 * mark + (1 if seen < 0 else 0)
    object_ids[y, x] = buffers.labels[seen, OBJECT_ID] if seen >= 0 else 0
    depth[y, x] = distance


def differs_from_neighbour(colour, path_hashes, j, i, y, x):
    """Whether a neighbour has another path hash and another colour."""
    if path_hashes[j, i] == path_hashes[y, x]:
        return False
    apart = abs(colour[j, i, 0] - colour[y, x, 0]) + abs(colour[j, i, 1] - colour[y, x, 1])
    return apart + abs(colour[j, i, 2] - colour[y, x, 2]) > 0.02


def deviates(before, here, after, limit):
    """Whether a value differs from the mean of its two neighbours by more than the contrast."""
    return abs(before + after - 2.0 * here) > limit


def deviates_from_neighbours(colour, j, i, m, k, y, x, limit):
    """Whether the colour of pixel (y, x) differs from the mean of two opposite neighbours."""
    return (
        deviates(colour[j, i, 0], colour[y, x, 0], colour[m, k, 0], limit)
        or deviates(colour[j, i, 1], colour[y, x, 1], colour[m, k, 1], limit)
        or deviates(colour[j, i, 2], colour[y, x, 2], colour[m, k, 2], limit)
    )


def needs_antialiasing(colour, path_hashes, height, width, x, y, contrast):
    """Whether a pixel needs antialiasing: it contains an edge and not only shading."""
    left = max(0, x - 1)
    right = min(width - 1, x + 1)
    above = max(0, y - 1)
    below = min(height - 1, y + 1)
    if differs_from_neighbour(colour, path_hashes, y, left, y, x) or differs_from_neighbour(
        colour, path_hashes, y, right, y, x
    ):
        return True
    if differs_from_neighbour(colour, path_hashes, above, x, y, x) or differs_from_neighbour(
        colour, path_hashes, below, x, y, x
    ):
        return True
    limit = 4.0 * contrast if path_hashes[y, x] & 1 else contrast
    return deviates_from_neighbours(colour, y, left, y, right, y, x, limit) or deviates_from_neighbours(
        colour, above, x, below, x, y, x, limit
    )


def dither_noise(x, y, c):
    """A fixed dither value in -0.5..0.5 for each pixel and channel."""
    n = (x * 73856093 + y * 19349663 + c * 83492791) & 0xFFFFFFFF
    n = ((n ^ (n >> 15)) * 739985213) & 0xFFFFFFFF
    return np.float32((n ^ (n >> 16)) & 0xFFFF) / 65536.0 - 0.5


def antialias_pass(
    buffers,
    frame,
    height,
    width,
    x,
    y,
    tiles_across,
    rows,
    counts,
    colour,
    path_hashes,
    points,
    contrast,
    frames,
):
    """Write pixel (x, y); sample it at all `points` (0..1 from its corner) if it needs antialiasing."""
    r = colour[y, x, 0]
    g = colour[y, x, 1]
    b = colour[y, x, 2]
    if points.shape[0] > 1 and needs_antialiasing(colour, path_hashes, height, width, x, y, contrast):
        tile = (y // TILE) * tiles_across + x // TILE
        r = 0.0
        g = 0.0
        b = 0.0
        for k in range(points.shape[0]):
            r1, g1, b1, _seen, _distance, _mark = shade_sample(
                buffers,
                frame,
                height,
                width,
                np.float32(x) + points[k, 0],
                np.float32(y) + points[k, 1],
                tile,
                rows,
                counts,
            )
            r += r1
            g += g1
            b += b1
        share = 1.0 / np.float32(points.shape[0])
        r *= share
        g *= share
        b *= share
    frames[y, x, 0] = int(min(255.0, max(0.0, r * 255.0 + 0.5 + 0.9 * dither_noise(x, y, 0))))
    frames[y, x, 1] = int(min(255.0, max(0.0, g * 255.0 + 0.5 + 0.9 * dither_noise(x, y, 1))))
    frames[y, x, 2] = int(min(255.0, max(0.0, b * 255.0 + 0.5 + 0.9 * dither_noise(x, y, 2))))
