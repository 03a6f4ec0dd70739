"""The radiance along a ray: hit, lighting, reflection and transmission."""

from __future__ import annotations

import math

from kinema.simulator.appearance.material import (
    COLOUR,
    EMISSION,
    GLASS,
    METALLIC,
    PATTERN,
    REFRACTIVE_INDEX,
    ROUGHNESS,
    SECOND_COLOUR,
    SPECULAR,
)
from kinema.simulator.render.buffers import (
    FADE_FROM,
    FADE_TO,
    FLOOR,
    FLOOR_BOUNCE,
    FLOOR_ROUGHNESS,
    FLOOR_SPECULAR,
    HAZE,
    HDRI_HEIGHT,
    KIND,
    MATERIAL,
    OBJECT_ID,
    PATTERN_SCALE,
    SKY,
    SUN,
    SUN_COLOUR,
)
from kinema.simulator.render.kernels.env_light import (
    ambient_occlusion,
    diffuse_light,
    floor_colour,
    sky_radiance,
)
from kinema.simulator.render.kernels.intersect import MISS, intersect
from kinema.simulator.render.kernels.shadow import sun_visibility
from kinema.simulator.render.kernels.surface import normal, pattern, smoothstep, world_to_local

MAX_BOUNCES = 5
MAX_FLOOR_DISTANCE = 400.0
"""End of the floor, metres; it has faded into the sky before."""
MIN_EDGE_WEIGHT = 0.08
"""Edges in reflections weaker than this are not antialiased."""
TERMINATOR_SOFTNESS = 0.14
"""Sine of the angle of the soft transition between lit and unlit sides."""
WINDOWS_PATTERN = 7
BACKGROUND_ID = 255


def nearest_hit_in_list(buffers, rows, begin, count, ox, oy, oz, dx, dy, dz):
    """(distance, row) of the nearest solid among a list."""
    best = MISS
    hit = SKY
    for k in range(begin, begin + count):
        row = rows[k]
        t = intersect(buffers, row, ox, oy, oz, dx, dy, dz, 1e-3, best)
        if t < best:
            best = t
            hit = row
    return best, hit


def nearest_hit(buffers, first, count, ox, oy, oz, dx, dy, dz):
    """(distance, row) of the nearest solid of the frame."""
    best = MISS
    hit = SKY
    for row in range(first, first + count):
        t = intersect(buffers, row, ox, oy, oz, dx, dy, dz, 1e-3, best)
        if t < best:
            best = t
            hit = row
    return best, hit


def horizon_radiance(buffers, hx, hy, dx, dy, dz, floor):
    """Radiance into which distant floor and background fade."""
    grounded = buffers.light[HDRI_HEIGHT]
    if grounded > 0.0:
        if floor:
            # The ground of the photograph, projected onto a plane below its camera.
            q = 1.0 / math.sqrt(hx * hx + hy * hy + grounded * grounded)
            return sky_radiance(buffers, hx * q, hy * q, -grounded * q, 0.0)
        return sky_radiance(buffers, dx, dy, dz, 0.0)
    if dz < 0.02 or floor:
        q = 1.0 / math.sqrt(dx * dx + dy * dy + 4e-4)
        return sky_radiance(buffers, dx * q, dy * q, 0.02 * q, 0.0)
    return sky_radiance(buffers, dx, dy, dz, 0.0)


def sun_specular(roughness, half_cosine, cosine, sun_cosine):
    """Specular reflection of the sun (GGX, without the masking term)."""
    a = max(roughness * roughness, 0.012)
    a *= a
    d = half_cosine * half_cosine * (a - 1.0) + 1.0
    return min(16.0, a / (d * d) / (4.0 * max(0.15, cosine * sun_cosine))) * sun_cosine * 0.32


def trace_radiance(
    buffers, frame, rows, begin, count, mirror_begin, mirror_count, ox, oy, oz, dx, dy, dz, pixel
):
    """Compute the radiance along a camera ray.

    Args:
        buffers: the scene.
        frame: index of the frame.
        rows: candidate solids by tile. Those of this ray start at `begin`, those of its reflection in the
            floor at `mirror_begin`.
        begin: see `rows`.
        count: see `rows`.
        mirror_begin: see `rows`.
        mirror_count: see `rows`.
        ox: origin, metres.
        oy: origin.
        oz: origin.
        dx: unit direction.
        dy: unit direction.
        dz: unit direction.
        pixel: size of a pixel at a distance of 1 metre.

    Returns:
        Red, green, blue; the row of the first hit (or SKY or FLOOR); the distance to it; and a hash of the
        ray's path through the scene.
    """
    light = buffers.light
    paints = buffers.materials
    solids = buffers.counts[0]
    first = frame * solids
    occluders = buffers.counts[1]
    red = 0.0
    green = 0.0
    blue = 0.0
    wr = 1.0
    wg = 1.0
    wb = 1.0
    seen = SKY
    seen_at = MISS
    mark = 0
    inside = SKY
    travelled = 0.0
    roughness = 0.0
    route = 0
    for bounce in range(MAX_BOUNCES):
        if inside >= 0:
            t = intersect(buffers, inside, ox, oy, oz, dx, dy, dz, 1e-4, MISS)
            hit = inside if t < MISS else SKY
        else:
            if route == 0:
                t, hit = nearest_hit_in_list(buffers, rows, begin, count, ox, oy, oz, dx, dy, dz)
            elif route == 1:
                t, hit = nearest_hit_in_list(
                    buffers, rows, mirror_begin, mirror_count, ox, oy, oz, dx, dy, dz
                )
            else:
                t, hit = nearest_hit(buffers, first, solids, ox, oy, oz, dx, dy, dz)
            if dz < -1e-5 and oz > 0.0:
                down = -oz / dz
                if down < t and down < MAX_FLOOR_DISTANCE:
                    t = down
                    hit = FLOOR
        if bounce == 0:
            seen = hit
            seen_at = t
        if max(wr, max(wg, wb)) > MIN_EDGE_WEIGHT:
            mark = (mark * 31 + (hit - first if hit >= 0 else hit) + 3) & 0xFFFFFF
        if hit == SKY:
            if bounce == 0:
                r, g, b = horizon_radiance(buffers, ox, oy, dx, dy, dz, False)
            else:
                r, g, b = sky_radiance(buffers, dx, dy, dz, roughness)
            if bounce > 0:
                r = min(r, 5.0)
                g = min(g, 5.0)
                b = min(b, 5.0)
            red += wr * r
            green += wg * g
            blue += wb * b
            break
        hx = ox + t * dx
        hy = oy + t * dy
        hz = oz + t * dz
        travelled += t
        if roughness > 0.05 and inside < 0:
            # Rough reflections fade with distance.
            lost = 30.0 * roughness * roughness * t * t
            keep = 1.0 / (1.0 + lost)
            r, g, b = sky_radiance(buffers, dx, dy, abs(dz), 0.3)
            red += wr * (1.0 - keep) * 0.7 * min(r, 4.0)
            green += wg * (1.0 - keep) * 0.7 * min(g, 4.0)
            blue += wb * (1.0 - keep) * 0.7 * min(b, 4.0)
            wr *= keep
            wg *= keep
            wb *= keep
        width = pixel * travelled
        nx = 0.0
        ny = 0.0
        nz = 1.0
        metallic = 0.0
        emission = 0.0
        fade = 0.0
        identity = 0
        round_hit = 0
        m = 0
        if hit == FLOOR:
            r, g, b = floor_colour(buffers, hx, hy, dx, dy, dz, width)
            rough = light[FLOOR_ROUGHNESS]
            shine = light[FLOOR_SPECULAR]
            far = math.sqrt(hx * hx + hy * hy)
            fade = smoothstep((far - light[FADE_FROM]) / (light[FADE_TO] - light[FADE_FROM]))
        else:
            m = buffers.labels[hit, MATERIAL]
            identity = buffers.labels[hit, OBJECT_ID]
            if buffers.labels[hit, KIND] == 0:
                round_hit = 1
            x, y, z = world_to_local(buffers, hit, hx, hy, hz)
            nx, ny, nz = normal(buffers, hit, x, y, z)
            share = pattern(paints, m, x, y, z, buffers.solids[hit, PATTERN_SCALE], width)
            r = paints[m, COLOUR] + (paints[m, SECOND_COLOUR] - paints[m, COLOUR]) * share
            g = paints[m, COLOUR + 1] + (paints[m, SECOND_COLOUR + 1] - paints[m, COLOUR + 1]) * share
            b = paints[m, COLOUR + 2] + (paints[m, SECOND_COLOUR + 2] - paints[m, COLOUR + 2]) * share
            rough = paints[m, ROUGHNESS]
            shine = paints[m, SPECULAR]
            metallic = paints[m, METALLIC]
            emission = paints[m, EMISSION]
            if int(paints[m, PATTERN]) == WINDOWS_PATTERN:
                emission *= share
            if identity == BACKGROUND_ID:
                far = math.sqrt(hx * hx + hy * hy)
                fade = light[HAZE] * smoothstep((far - 6.0) / 26.0)
        cosine = -(nx * dx + ny * dy + nz * dz)
        if hit >= 0 and paints[m, GLASS] > 0.5:
            index = paints[m, REFRACTIVE_INDEX]
            eta = 1.0 / index
            if inside >= 0:
                nx = -nx
                ny = -ny
                nz = -nz
                cosine = -cosine
                eta = index
            cosine = max(0.0, cosine)
            k = 1.0 - eta * eta * (1.0 - cosine * cosine)
            if k <= 0.0:
                dx += 2.0 * cosine * nx
                dy += 2.0 * cosine * ny
                dz += 2.0 * cosine * nz
            else:
                if inside < 0:
                    head_on = (1.0 - index) / (1.0 + index)
                    head_on *= head_on
                    grazing = 1.0 - cosine
                    fresnel = head_on + (1.0 - head_on) * grazing * grazing * grazing * grazing * grazing
                    rx = dx + 2.0 * cosine * nx
                    ry = dy + 2.0 * cosine * ny
                    rz = dz + 2.0 * cosine * nz
                    er, eg, eb = sky_radiance(buffers, rx, ry, rz, 0.1)
                    glint = max(0.0, rx * light[SUN] + ry * light[SUN + 1] + rz * light[SUN + 2])
                    glint = smoothstep((glint - 0.985) / 0.012) * 6.0
                    red += wr * fresnel * (min(er, 4.0) + glint * light[SUN_COLOUR])
                    green += wg * fresnel * (min(eg, 4.0) + glint * light[SUN_COLOUR + 1])
                    blue += wb * fresnel * (min(eb, 4.0) + glint * light[SUN_COLOUR + 2])
                    wr *= 1.0 - fresnel
                    wg *= 1.0 - fresnel
                    wb *= 1.0 - fresnel
                    inside = hit
                else:
                    wr *= r
                    wg *= g
                    wb *= b
                    inside = SKY
                bend = eta * cosine - math.sqrt(k)
                dx = eta * dx + bend * nx
                dy = eta * dy + bend * ny
                dz = eta * dz + bend * nz
            q = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
            dx *= q
            dy *= q
            dz *= q
            ox = hx + dx * 1e-3
            oy = hy + dy * 1e-3
            oz = hz + dz * 1e-3
            route = 2
            continue
        if cosine < 0.0:
            cosine = -cosine
            nx = -nx
            ny = -ny
            nz = -nz
        # Diffuse light of the sky with occlusion, plus light reflected by occluders and floor.
        open_share, br, bg, bb = ambient_occlusion(
            buffers, frame * occluders, occluders, hit - first, identity, round_hit, hx, hy, hz, nx, ny, nz
        )
        ir, ig, ib = diffuse_light(buffers, nx, ny, nz)
        if hit >= 0:
            below = 0.5 - 0.5 * nz
            open_share *= 1.0 - 0.5 * below * math.exp(-3.0 * max(0.0, hz))
            thrown = below * max(0.0, light[SUN + 2]) * 0.7
            dim = 1.0 - 0.75 * below
            ir = ir * dim + below * open_share * light[FLOOR_BOUNCE] * (light[SUN_COLOUR] * thrown + 0.6 * ir)
            ig = ig * dim + below * open_share * light[FLOOR_BOUNCE + 1] * (
                light[SUN_COLOUR + 1] * thrown + 0.6 * ig
            )
            ib = ib * dim + below * open_share * light[FLOOR_BOUNCE + 2] * (
                light[SUN_COLOUR + 2] * thrown + 0.6 * ib
            )
        sun = nx * light[SUN] + ny * light[SUN + 1] + nz * light[SUN + 2]
        # Soft transition between the lit and unlit side.
        if sun < TERMINATOR_SOFTNESS:
            sun = (
                (sun + TERMINATOR_SOFTNESS) * (sun + TERMINATOR_SOFTNESS) / (4.0 * TERMINATOR_SOFTNESS)
                if sun > -TERMINATOR_SOFTNESS
                else 0.0
            )
        direct = 0.0
        if sun > 0.0 and fade < 1.0:
            direct = sun * sun_visibility(
                buffers, first, solids, hit, hx + 1e-3 * nx, hy + 1e-3 * ny, hz + 1e-3 * nz, width
            )
        body = 1.0 - metallic
        lr = r * body * (ir * (open_share + 0.2 * br) + direct * light[SUN_COLOUR])
        lg = g * body * (ig * (open_share + 0.2 * bg) + direct * light[SUN_COLOUR + 1])
        lb = b * body * (ib * (open_share + 0.2 * bb) + direct * light[SUN_COLOUR + 2])
        head_on = 0.04 * shine * body
        grazing = 1.0 - min(1.0, cosine)
        rim = grazing * grazing * grazing * grazing * grazing * (1.0 - rough) * min(1.0, shine)
        fr = head_on + r * metallic
        fg = head_on + g * metallic
        fb = head_on + b * metallic
        fr += (1.0 - fr) * rim
        fg += (1.0 - fg) * rim
        fb += (1.0 - fb) * rim
        if direct > 0.0 and shine > 0.0:
            x = light[SUN] - dx
            y = light[SUN + 1] - dy
            z = light[SUN + 2] - dz
            q = 1.0 / math.sqrt(x * x + y * y + z * z)
            spot = sun_specular(rough, max(0.0, (nx * x + ny * y + nz * z) * q), cosine, sun) * direct / sun
            lr += spot * fr * light[SUN_COLOUR]
            lg += spot * fg * light[SUN_COLOUR + 1]
            lb += spot * fb * light[SUN_COLOUR + 2]
        lr += emission * r
        lg += emission * g
        lb += emission * b
        if fade > 0.0:
            er, eg, eb = horizon_radiance(buffers, hx, hy, dx, dy, dz, hit == FLOOR)
            lr += (er - lr) * fade
            lg += (eg - lg) * fade
            lb += (eb - lb) * fade
        red += wr * lr
        green += wg * lg
        blue += wb * lb
        wr *= fr * (1.0 - fade)
        wg *= fg * (1.0 - fade)
        wb *= fb * (1.0 - fade)
        weight = max(wr, max(wg, wb))
        if weight < 0.004:
            break
        dx += 2.0 * cosine * nx
        dy += 2.0 * cosine * ny
        dz += 2.0 * cosine * nz
        if weight < 0.02 or rough > 0.42 or bounce == MAX_BOUNCES - 1:
            er, eg, eb = sky_radiance(buffers, dx, dy, dz, rough)
            gloss = open_share * (1.0 - 0.5 * rough)
            red += wr * gloss * min(er, 4.0)
            green += wg * gloss * min(eg, 4.0)
            blue += wb * gloss * min(eb, 4.0)
            break
        # Candidates of a floor reflection exist only for the first hit of a camera ray.
        route = 1 if hit == FLOOR and bounce == 0 else 2
        roughness = max(roughness, rough)
        q = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
        dx *= q
        dy *= q
        dz *= q
        ox = hx + nx * 1e-3
        oy = hy + ny * 1e-3
        oz = hz + nz * 1e-3
    return red, green, blue, seen, seen_at, mark
