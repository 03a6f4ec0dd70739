"""Checks of every kind of statement against tracks, pixel counts, contacts and cameras.

The checks are independent of the events that make the claims. Left and right are from the camera's point of
view, with the motion of the camera removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kinema.simulator.annotations import ClipAnnotations
from tools.caption_audit.environment_checks import (
    check_background,
    check_camera,
    check_cause,
    check_environment,
    check_exists,
)
from tools.caption_audit.measurements import CheckResult, ClipMeasurements, is_toward_side
from tools.caption_audit.parser import Statement


def _check_moves(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    end = max(2, clip.first_contact_frame(clip.entity_index(statement.subject)))
    right, up, forward = clip.camera_displacement(clip.entity_index(statement.subject), 0, end)
    if statement.value in ("left", "right"):
        screen = clip.tracks.screen[[0, end], clip.entity_index(statement.subject), 0]
        still = clip.annotations.camera == "static"
        seen = is_toward_side(float(screen[1] - screen[0]), statement.value) if still else True
        return is_toward_side(right, statement.value, 0.15) and abs(right) > 0.6 * abs(forward) and seen
    if statement.value == "away":
        return forward > 0.2
    if statement.value == "toward":
        return forward < -0.2
    return up < -0.1


def _check_speed(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    entity = clip.entity_index(statement.subject)
    end = max(2, clip.first_contact_frame(entity))
    steps = (
        np.linalg.norm(np.diff(clip.tracks.position[: end + 1, entity], axis=0), axis=1)
        * clip.annotations.fps
    )
    under_way = steps[: max(1, int(np.flatnonzero(steps > 0.15).max(initial=0)) + 1)]
    mean_speed = float(under_way.mean())
    return mean_speed > 1.9 if statement.value == "quick" else mean_speed < 1.25


def _check_motion_manner(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    entity = clip.entity_index(statement.subject)
    shape = clip.annotations.entities[entity].shape
    if statement.value == "drive":
        return shape == "car"
    end = max(4, min(clip.annotations.event_frame, clip.last_frame) + 1)
    spin = clip.tracks.rotation[:end, entity]
    trace = np.einsum("fij,fij->f", spin[1:], spin[:-1])
    turned = float(np.arccos(np.clip((trace - 1) / 2, -1, 1)).sum())
    path = float(np.linalg.norm(np.diff(clip.tracks.position[:end, entity], axis=0), axis=1).sum())
    if statement.value == "roll":
        return shape in ("ball", "egg", "ring", "disc", "cylinder", "capsule") and turned > 0.5 * path
    if statement.value == "slide":
        return turned < max(1.0, 0.8 * path)
    return turned > 0.8


def _check_stops(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    entity = clip.entity_index(statement.subject)
    return clip.at_rest(entity) and clip.max_displacement(entity) > 0.15


def _check_leaves(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    entity = clip.entity_index(statement.subject)
    return (
        bool(clip.invisible_frames(entity)[-1])
        and bool((~clip.invisible_frames(entity)).any())
        and not clip.in_frame(entity, clip.last_frame)
    )


def _check_hits(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    return bool(clip.contact_frames(statement.subject, statement.object))


def _check_misses(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    return not clip.contact_frames(statement.subject, statement.object)


def _check_short_of(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    return not clip.contact_frames(statement.subject, statement.object) and clip.at_rest(
        clip.entity_index(statement.subject)
    )


def _check_pushed(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    times = clip.contact_frames(statement.subject, statement.object)
    if not times or not isinstance(statement.object, int):
        return False
    first = max(0, int(times[0]))
    right, _, forward = clip.camera_displacement(statement.object, first, clip.last_frame)
    if statement.value in ("left", "right"):
        return is_toward_side(right, statement.value, 0.04)
    # 'Away' and 'aside' allow any direction.
    return max(abs(right), abs(forward)) > 0.08 if statement.value in ("away", "aside") else None


def _check_stays(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    return all(
        clip.max_displacement(k) < 0.12 and not clip.has_fallen(k) for k in clip.members(statement.subject)
    )


def _check_bounces_back(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    entity = clip.entity_index(statement.subject)
    meeting = min(clip.last_frame - 1, clip.first_contact_frame(entity))
    there = clip.tracks.position[meeting, entity] - clip.tracks.position[0, entity]
    back = clip.tracks.position[meeting:, entity] - clip.tracks.position[meeting, entity]
    along = back[:, :2] @ there[:2] / max(1e-6, float(np.linalg.norm(there[:2])))
    return float(along.max() - along[-1]) > 0.15 and float(along[-1]) < 0.05


def _check_tips_over(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    return all(float(clip.tracks.upright[-1, k]) < 0.8 for k in clip.members(statement.subject))


def _check_stands(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    return all(not clip.has_fallen(k) for k in clip.members(statement.subject))


def _check_falls(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    entity = clip.entity_index(statement.subject)
    height = clip.tracks.position[:, entity, 2]
    drop = float(height[0] - height.min())
    fastest = float(-np.diff(height).min() * clip.annotations.fps)
    return drop > 0.35 and fastest > 1.2


def _check_bounces(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    height = clip.tracks.position[:, clip.entity_index(statement.subject), 2]
    # The first frame in which it does not move down; the landing is within one frame of it.
    steps = np.diff(height)
    fallen = np.flatnonzero((steps > -0.01) & (np.arange(len(steps)) > 1))
    if not len(fallen):
        return False
    after = height[int(fallen[0]) :]
    rise = float((after - np.minimum.accumulate(after)).max()) / max(0.1, float(height[0] - height.min()))
    return {"high": rise > 0.2, "little": 0.02 < rise < 0.4, "none": rise < 0.09}[statement.value]


def _check_lands_on(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one, other = clip.entity_index(statement.subject), clip.entity_index(statement.object)
    apart = clip.tracks.position[-1, one] - clip.tracks.position[-1, other]
    return bool(clip.contact_frames(one, other)) and apart[2] > 0.2 and float(np.linalg.norm(apart[:2])) < 0.6


def _check_falls_beside(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one, other = clip.entity_index(statement.subject), clip.entity_index(statement.object)
    apart = clip.tracks.position[-1, one] - clip.tracks.position[-1, other]
    start = clip.tracks.position[0, one, 2]
    return bool(start > clip.tracks.position[-1, one, 2] + 0.2) and float(np.linalg.norm(apart[:2])) > 0.3


def _check_falls_off(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one, other = clip.entity_index(statement.subject), clip.entity_index(statement.object)
    height = clip.tracks.position[:, one, 2]
    return bool(clip.contact_frames(one, other)) and bool(height[0] - height[-1] > 0.35)


def _check_slides_down(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one = clip.entity_index(statement.subject)
    height = clip.tracks.position[:, one, 2]
    right = clip.camera_displacement(one, 0, clip.first_contact_frame(one))[0]
    sided = is_toward_side(right, statement.value, 0.1) if statement.value in ("left", "right") else True
    return (
        bool(clip.contact_frames(one, statement.object)) and bool(height[0] - height.min() > 0.15) and sided
    )


def _check_rests_on(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one = clip.entity_index(statement.subject)
    height = clip.tracks.position[:, one, 2]
    return (
        bool(clip.contact_frames(one, statement.object)) and float(np.ptp(height)) < 0.2 and clip.at_rest(one)
    )


def _check_hides(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one = clip.entity_index(statement.subject)
    away = clip.invisible_frames(one)
    hidden = [f for f in np.flatnonzero(away) if clip.in_frame(one, int(f))]
    if not hidden or not (~away[: hidden[0]]).any():
        return False
    over = clip.members(statement.object)
    return all(min(clip.tracks.depth[f, k] for k in over) < clip.tracks.depth[f, one] for f in hidden)


def _check_re_emerges(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one = clip.entity_index(statement.subject)
    away = np.flatnonzero(clip.invisible_frames(one))
    screens = [e.index for e in clip.annotations.entities if e.shape in ("screen", "wall")]
    if not len(away) or clip.invisible_frames(one)[-1] or not screens:
        return False
    gap = clip.tracks.screen[-1, one, 0] - clip.tracks.screen[-1, screens[0], 0]
    return is_toward_side(float(gap), statement.value) if statement.value else True


def _check_stays_hidden(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one = clip.entity_index(statement.subject)
    return (
        bool(clip.invisible_frames(one)[-1])
        and clip.in_frame(one, clip.last_frame)
        and bool((~clip.invisible_frames(one)).any())
    )


def _check_in_front(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one, other = clip.entity_index(statement.subject), clip.entity_index(statement.object)
    box = clip.tracks.box[:, other]
    x = clip.tracks.screen[:, one, 0]
    crossing = (x > box[:, 0]) & (x < box[:, 2])
    nearer = clip.tracks.depth[:, one] < clip.tracks.depth[:, other]
    return (
        bool(crossing.any())
        and bool(nearer[crossing].all())
        and not bool(clip.invisible_frames(one)[crossing].any())
    )


def _check_falls_in(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one, other = clip.entity_index(statement.subject), clip.entity_index(statement.object)
    apart = clip.tracks.position[-1, one] - clip.tracks.position[-1, other]
    fell = clip.tracks.position[0, one, 2] - clip.tracks.position[-1, one, 2] > 0.2
    return bool(fell) and float(np.linalg.norm(apart[:2])) < 0.5 and apart[2] < 0.6


def _check_seesaw(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    plank = clip.entity_index(statement.object)
    along = clip.tracks.rotation[:, plank, :, 0]
    slope = along[:, 2] * np.sign(np.einsum("fi,fi->f", along, clip.annotations.cameras[:, 3:6]))
    # The weight may slide off and the plank tip back, so only the first large change counts.
    change = slope - slope[0]
    first = float(change[int(np.argmax(np.abs(change) > 0.1))])
    return first < -0.1 if statement.value == "right" else first > 0.1


def _check_thrown(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    height = clip.tracks.position[:, clip.entity_index(statement.subject), 2]
    return float(height.max() - height[0]) > 0.25


def _check_side_of(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one, other = clip.entity_index(statement.subject), clip.entity_index(statement.object)
    gap = clip.tracks.screen[:, one, 0] - clip.tracks.screen[:, other, 0]
    return bool((gap < 0).all()) if statement.kind == "left of" else bool((gap > 0).all())


def _check_position_in_row(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    """'On the left', 'in the middle', 'on the right', relative to the other objects."""
    others = [
        e.index
        for e in clip.annotations.entities
        if e.named and e.role in ("main", "partner") and e.index != statement.subject
    ]
    x = clip.tracks.screen[0, :, 0]
    left = sum(x[k] < x[clip.entity_index(statement.subject)] for k in others)
    if statement.kind == "middle":
        return 0 < left < len(others)
    return left == (0 if statement.value == "left" else len(others))


def _check_count(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    members = clip.members(statement.subject)
    seen = sum(bool((clip.tracks.pixels[:, k] > 0).any()) for k in members)
    return len(members) == statement.number == seen


def _check_fallen(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    members = clip.members(statement.subject)
    fell = sum(clip.has_fallen(k) for k in members)
    if statement.number == -1:
        # 'The tower collapses': all blocks have fallen, except perhaps the lowest.
        return fell >= len(members) - 1
    return fell == statement.number


def _check_topples(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    members = clip.members(statement.subject)
    tilted = clip.tracks.upright[:, members] < 0.97
    when = np.where(tilted.any(axis=0), tilted.argmax(axis=0), clip.num_frames)
    x = clip.tracks.screen[0, members, 0]
    first = x[when.argmin()]
    return bool(first <= x.min() + 1e-6) if statement.value == "left" else bool(first >= x.max() - 1e-6)


def _check_chain_stops(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    fell = [clip.has_fallen(k) for k in clip.members(statement.subject)]
    return any(fell) and not all(fell)


def _check_swings(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    x = clip.tracks.position[:, clip.entity_index(statement.subject)]
    return float(np.ptp(x[:, 0])) > 0.3 and float(np.ptp(x[:, 2])) > 0.02


def _check_circles(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    one, other = clip.entity_index(statement.subject), clip.entity_index(statement.object)
    apart = clip.tracks.position[:, one] - clip.tracks.position[:, other]
    angle = np.unwrap(np.arctan2(apart[:, 1], apart[:, 0]))
    turned = float(angle[-1] - angle[0])
    return turned < -1.0 if statement.value == "clockwise" else turned > 1.0


def _check_spins(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    spin = clip.tracks.rotation[:, clip.entity_index(statement.subject)]
    step = np.einsum("fij,fkj->fik", spin[1:], spin[:-1])
    yaw = float(np.arctan2(step[:, 1, 0] - step[:, 0, 1], step[:, 0, 0] + step[:, 1, 1]).sum())
    return yaw < -0.8 if statement.value == "clockwise" else yaw > 0.8


def _check_rotation_speed(clip: ClipMeasurements, statement: Statement) -> CheckResult:
    """Slow or quick rotation, in radians per second; the ranges overlap."""
    spin = clip.tracks.rotation[:, clip.entity_index(statement.subject)]
    trace = np.einsum("fij,fij->f", spin[1:], spin[:-1])
    rate = float(np.arccos(np.clip((trace - 1) / 2, -1, 1)).mean() * clip.annotations.fps)
    return rate > 1.5 if statement.value == "quick" else rate < 2.5


CHECKS_BY_KIND: dict[str, Callable[[ClipMeasurements, Statement], CheckResult]] = {
    "moves": _check_moves, "speed": _check_speed, "manner": _check_motion_manner, "stops": _check_stops,
    "leaves": _check_leaves, "hits": _check_hits, "misses": _check_misses, "short of": _check_short_of,
    "pushed": _check_pushed, "stays": _check_stays, "bounces back": _check_bounces_back,
    "tips over": _check_tips_over, "stands": _check_stands, "falls": _check_falls, "bounces": _check_bounces,
    "lands on": _check_lands_on, "falls beside": _check_falls_beside, "falls off": _check_falls_off,
    "slides down": _check_slides_down, "rests on": _check_rests_on, "stops on": _check_rests_on,
    "hides": _check_hides, "re-emerges": _check_re_emerges, "stays hidden": _check_stays_hidden,
    "in front": _check_in_front, "falls in": _check_falls_in, "seesaw": _check_seesaw,
    "thrown": _check_thrown, "left of": _check_side_of, "right of": _check_side_of,
    "middle": _check_position_in_row, "on side": _check_position_in_row, "count": _check_count,
    "fallen": _check_fallen, "topples": _check_topples, "chain stops": _check_chain_stops,
    "swings": _check_swings, "circles": _check_circles, "spins": _check_spins,
    "turning": _check_rotation_speed, "camera": check_camera, "named": check_exists, "exists": check_exists,
    "behind": check_background, "because": check_cause, "sky": check_environment, "floor": check_environment,
    "background": check_environment,
}  # fmt: skip

_NEEDS_OBJECT = {
    "lands on", "falls beside", "falls in", "in front", "circles", "left of", "right of", "seesaw",
}  # fmt: skip
_NO_SUBJECT = {"camera", "because", "sky", "floor", "background", "named", "exists"}


def check_statement(annotations: ClipAnnotations, statement: Statement) -> CheckResult:
    """Whether a statement is true of a clip; None if the measurements cannot decide."""
    if statement.kind not in CHECKS_BY_KIND:
        return None
    if statement.kind not in _NO_SUBJECT and statement.subject is None:
        return False
    if statement.kind in _NEEDS_OBJECT and not isinstance(statement.object, int):
        return False
    each = statement.kind in ("moves", "speed", "manner", "stops", "short of", "bounces back")
    if each and isinstance(statement.subject, str):
        see = ClipMeasurements(annotations)
        return all(
            CHECKS_BY_KIND[statement.kind](see, replace(statement, subject=k))
            for k in see.members(statement.subject)
        )
    verdict = CHECKS_BY_KIND[statement.kind](ClipMeasurements(annotations), statement)
    return None if verdict is None else bool(verdict)
