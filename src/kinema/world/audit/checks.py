"""Is it so? Every kind of statement, judged by the tracks, the id buffer's counts, contacts and cameras.

These rules know nothing of the events that made the claims: they look at what was measured, as a person
with the film and a ruler would. Left and right are the camera's, with the camera's own motion taken out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kinema.world.audit.evidence import Evidence, Verdict, leftward
from kinema.world.audit.reading import Statement
from kinema.world.audit.scenery import check_because, check_behind, check_camera, check_named, check_scene
from kinema.world.facts import ClipFacts


def _moves(see: Evidence, said: Statement) -> Verdict:
    end = max(2, see.meeting(see.one(said.subject)))
    right, up, forward = see.shift(see.one(said.subject), 0, end)
    if said.value in ("left", "right"):
        screen = see.tracks.screen[[0, end], see.one(said.subject), 0]
        still = see.facts.camera == "static"
        seen = leftward(float(screen[1] - screen[0]), said.value) if still else True
        return leftward(right, said.value, 0.15) and abs(right) > 0.6 * abs(forward) and seen
    if said.value == "away":
        return forward > 0.2
    if said.value == "toward":
        return forward < -0.2
    return up < -0.1


def _speed(see: Evidence, said: Statement) -> Verdict:
    who = see.one(said.subject)
    end = max(2, see.meeting(who))
    steps = np.linalg.norm(np.diff(see.tracks.position[: end + 1, who], axis=0), axis=1) * see.facts.fps
    under_way = steps[: max(1, int(np.flatnonzero(steps > 0.15).max(initial=0)) + 1)]
    pace = float(under_way.mean())
    return pace > 1.9 if said.value == "quick" else pace < 1.25


def _manner(see: Evidence, said: Statement) -> Verdict:
    who = see.one(said.subject)
    shape = see.facts.entities[who].shape
    if said.value == "drive":
        return shape == "car"
    end = max(4, min(see.facts.event_frame, see.last) + 1)
    spin = see.tracks.rotation[:end, who]
    trace = np.einsum("fij,fij->f", spin[1:], spin[:-1])
    turned = float(np.arccos(np.clip((trace - 1) / 2, -1, 1)).sum())
    path = float(np.linalg.norm(np.diff(see.tracks.position[:end, who], axis=0), axis=1).sum())
    if said.value == "roll":
        return shape in ("ball", "egg", "ring", "disc", "cylinder", "capsule") and turned > 0.5 * path
    if said.value == "slide":
        return turned < max(1.0, 0.8 * path)
    return turned > 0.8


def _stops(see: Evidence, said: Statement) -> Verdict:
    who = see.one(said.subject)
    return see.resting(who) and see.moved(who) > 0.15


def _leaves(see: Evidence, said: Statement) -> Verdict:
    who = see.one(said.subject)
    return bool(see.gone(who)[-1]) and bool((~see.gone(who)).any()) and not see.in_frame(who, see.last)


def _hits(see: Evidence, said: Statement) -> Verdict:
    return bool(see.touches(said.subject, said.object))


def _misses(see: Evidence, said: Statement) -> Verdict:
    return not see.touches(said.subject, said.object)


def _short_of(see: Evidence, said: Statement) -> Verdict:
    return not see.touches(said.subject, said.object) and see.resting(see.one(said.subject))


def _pushed(see: Evidence, said: Statement) -> Verdict:
    times = see.touches(said.subject, said.object)
    if not times or not isinstance(said.object, int):
        return False
    first = max(0, int(times[0]))
    right, _, forward = see.shift(said.object, first, see.last)
    if said.value in ("left", "right"):
        return leftward(right, said.value, 0.04)
    # 'Knocked away' is said of pushes to any side; 'aside' of those across the view.
    return max(abs(right), abs(forward)) > 0.08 if said.value in ("away", "aside") else None


def _stays(see: Evidence, said: Statement) -> Verdict:
    return all(see.moved(k) < 0.12 and not see.tipped(k) for k in see.members(said.subject))


def _bounces_back(see: Evidence, said: Statement) -> Verdict:
    who = see.one(said.subject)
    meeting = min(see.last - 1, see.meeting(who))
    there = see.tracks.position[meeting, who] - see.tracks.position[0, who]
    back = see.tracks.position[meeting:, who] - see.tracks.position[meeting, who]
    along = back[:, :2] @ there[:2] / max(1e-6, float(np.linalg.norm(there[:2])))
    return float(along.max() - along[-1]) > 0.15 and float(along[-1]) < 0.05


def _tips_over(see: Evidence, said: Statement) -> Verdict:
    return all(float(see.tracks.upright[-1, k]) < 0.8 for k in see.members(said.subject))


def _stands(see: Evidence, said: Statement) -> Verdict:
    return all(not see.tipped(k) for k in see.members(said.subject))


def _falls(see: Evidence, said: Statement) -> Verdict:
    who = see.one(said.subject)
    height = see.tracks.position[:, who, 2]
    drop = float(height[0] - height.min())
    fastest = float(-np.diff(height).min() * see.facts.fps)
    return drop > 0.35 and fastest > 1.2


def _bounces(see: Evidence, said: Statement) -> Verdict:
    height = see.tracks.position[:, see.one(said.subject), 2]
    # The first frame from which it does not go on down: the landing lies within a frame of it.
    steps = np.diff(height)
    fallen = np.flatnonzero((steps > -0.01) & (np.arange(len(steps)) > 1))
    if not len(fallen):
        return False
    after = height[int(fallen[0]) :]
    rise = float((after - np.minimum.accumulate(after)).max()) / max(0.1, float(height[0] - height.min()))
    return {"high": rise > 0.2, "little": 0.02 < rise < 0.4, "none": rise < 0.09}[said.value]


def _lands_on(see: Evidence, said: Statement) -> Verdict:
    one, other = see.one(said.subject), see.one(said.object)
    apart = see.tracks.position[-1, one] - see.tracks.position[-1, other]
    return bool(see.touches(one, other)) and apart[2] > 0.2 and float(np.linalg.norm(apart[:2])) < 0.6


def _falls_beside(see: Evidence, said: Statement) -> Verdict:
    one, other = see.one(said.subject), see.one(said.object)
    apart = see.tracks.position[-1, one] - see.tracks.position[-1, other]
    start = see.tracks.position[0, one, 2]
    return bool(start > see.tracks.position[-1, one, 2] + 0.2) and float(np.linalg.norm(apart[:2])) > 0.3


def _falls_off(see: Evidence, said: Statement) -> Verdict:
    one, other = see.one(said.subject), see.one(said.object)
    height = see.tracks.position[:, one, 2]
    return bool(see.touches(one, other)) and bool(height[0] - height[-1] > 0.35)


def _slides_down(see: Evidence, said: Statement) -> Verdict:
    one = see.one(said.subject)
    height = see.tracks.position[:, one, 2]
    right = see.shift(one, 0, see.meeting(one))[0]
    sided = leftward(right, said.value, 0.1) if said.value in ("left", "right") else True
    return bool(see.touches(one, said.object)) and bool(height[0] - height.min() > 0.15) and sided


def _rests_on(see: Evidence, said: Statement) -> Verdict:
    one = see.one(said.subject)
    height = see.tracks.position[:, one, 2]
    return bool(see.touches(one, said.object)) and float(np.ptp(height)) < 0.2 and see.resting(one)


def _hides(see: Evidence, said: Statement) -> Verdict:
    one = see.one(said.subject)
    away = see.gone(one)
    hidden = [f for f in np.flatnonzero(away) if see.in_frame(one, int(f))]
    if not hidden or not (~away[: hidden[0]]).any():
        return False
    over = see.members(said.object)
    return all(min(see.tracks.depth[f, k] for k in over) < see.tracks.depth[f, one] for f in hidden)


def _re_emerges(see: Evidence, said: Statement) -> Verdict:
    one = see.one(said.subject)
    away = np.flatnonzero(see.gone(one))
    screens = [e.index for e in see.facts.entities if e.shape in ("screen", "wall")]
    if not len(away) or see.gone(one)[-1] or not screens:
        return False
    gap = see.tracks.screen[-1, one, 0] - see.tracks.screen[-1, screens[0], 0]
    return leftward(float(gap), said.value) if said.value else True


def _stays_hidden(see: Evidence, said: Statement) -> Verdict:
    one = see.one(said.subject)
    return bool(see.gone(one)[-1]) and see.in_frame(one, see.last) and bool((~see.gone(one)).any())


def _in_front(see: Evidence, said: Statement) -> Verdict:
    one, other = see.one(said.subject), see.one(said.object)
    box = see.tracks.box[:, other]
    x = see.tracks.screen[:, one, 0]
    crossing = (x > box[:, 0]) & (x < box[:, 2])
    nearer = see.tracks.depth[:, one] < see.tracks.depth[:, other]
    return bool(crossing.any()) and bool(nearer[crossing].all()) and not bool(see.gone(one)[crossing].any())


def _falls_in(see: Evidence, said: Statement) -> Verdict:
    one, other = see.one(said.subject), see.one(said.object)
    apart = see.tracks.position[-1, one] - see.tracks.position[-1, other]
    fell = see.tracks.position[0, one, 2] - see.tracks.position[-1, one, 2] > 0.2
    return bool(fell) and float(np.linalg.norm(apart[:2])) < 0.5 and apart[2] < 0.6


def _seesaw(see: Evidence, said: Statement) -> Verdict:
    plank = see.one(said.object)
    along = see.tracks.rotation[:, plank, :, 0]
    slope = along[:, 2] * np.sign(np.einsum("fi,fi->f", along, see.facts.cameras[:, 3:6]))
    # What falls onto it may slide off, and the plank tip back: what counts is the first big change.
    change = slope - slope[0]
    first = float(change[int(np.argmax(np.abs(change) > 0.1))])
    return first < -0.1 if said.value == "right" else first > 0.1


def _thrown(see: Evidence, said: Statement) -> Verdict:
    height = see.tracks.position[:, see.one(said.subject), 2]
    return float(height.max() - height[0]) > 0.25


def _left_of(see: Evidence, said: Statement) -> Verdict:
    one, other = see.one(said.subject), see.one(said.object)
    gap = see.tracks.screen[:, one, 0] - see.tracks.screen[:, other, 0]
    return bool((gap < 0).all()) if said.kind == "left of" else bool((gap > 0).all())


def _place(see: Evidence, said: Statement) -> Verdict:
    """'On the left', 'in the middle', 'on the right': among the things that stand there."""
    others = [
        e.index
        for e in see.facts.entities
        if e.named and e.role in ("main", "partner") and e.index != said.subject
    ]
    x = see.tracks.screen[0, :, 0]
    left = sum(x[k] < x[see.one(said.subject)] for k in others)
    if said.kind == "middle":
        return 0 < left < len(others)
    return left == (0 if said.value == "left" else len(others))


def _count(see: Evidence, said: Statement) -> Verdict:
    members = see.members(said.subject)
    seen = sum(bool((see.tracks.pixels[:, k] > 0).any()) for k in members)
    return len(members) == said.number == seen


def _fallen(see: Evidence, said: Statement) -> Verdict:
    members = see.members(said.subject)
    fell = sum(see.tipped(k) for k in members)
    if said.number == -1:
        # 'The tower collapses': whatever can fall has fallen; the lowest block lies already.
        return fell >= len(members) - 1
    return fell == said.number


def _topples(see: Evidence, said: Statement) -> Verdict:
    members = see.members(said.subject)
    tilted = see.tracks.upright[:, members] < 0.97
    when = np.where(tilted.any(axis=0), tilted.argmax(axis=0), see.frames)
    x = see.tracks.screen[0, members, 0]
    first = x[when.argmin()]
    return bool(first <= x.min() + 1e-6) if said.value == "left" else bool(first >= x.max() - 1e-6)


def _chain_stops(see: Evidence, said: Statement) -> Verdict:
    fell = [see.tipped(k) for k in see.members(said.subject)]
    return any(fell) and not all(fell)


def _swings(see: Evidence, said: Statement) -> Verdict:
    x = see.tracks.position[:, see.one(said.subject)]
    return float(np.ptp(x[:, 0])) > 0.3 and float(np.ptp(x[:, 2])) > 0.02


def _circles(see: Evidence, said: Statement) -> Verdict:
    one, other = see.one(said.subject), see.one(said.object)
    apart = see.tracks.position[:, one] - see.tracks.position[:, other]
    angle = np.unwrap(np.arctan2(apart[:, 1], apart[:, 0]))
    turned = float(angle[-1] - angle[0])
    return turned < -1.0 if said.value == "clockwise" else turned > 1.0


def _spins(see: Evidence, said: Statement) -> Verdict:
    spin = see.tracks.rotation[:, see.one(said.subject)]
    step = np.einsum("fij,fkj->fik", spin[1:], spin[:-1])
    yaw = float(np.arctan2(step[:, 1, 0] - step[:, 0, 1], step[:, 0, 0] + step[:, 1, 1]).sum())
    return yaw < -0.8 if said.value == "clockwise" else yaw > 0.8


def _turning(see: Evidence, said: Statement) -> Verdict:
    """Slowly or quickly, of what turns or circles: radians a second, between which nothing is said."""
    spin = see.tracks.rotation[:, see.one(said.subject)]
    trace = np.einsum("fij,fij->f", spin[1:], spin[:-1])
    rate = float(np.arccos(np.clip((trace - 1) / 2, -1, 1)).mean() * see.facts.fps)
    return rate > 1.5 if said.value == "quick" else rate < 2.5


CHECKS: dict[str, Callable[[Evidence, Statement], Verdict]] = {
    "moves": _moves, "speed": _speed, "manner": _manner, "stops": _stops, "leaves": _leaves, "hits": _hits,
    "misses": _misses, "short of": _short_of, "pushed": _pushed, "stays": _stays,
    "bounces back": _bounces_back, "tips over": _tips_over, "stands": _stands, "falls": _falls,
    "bounces": _bounces, "lands on": _lands_on, "falls beside": _falls_beside, "falls off": _falls_off,
    "slides down": _slides_down, "rests on": _rests_on, "stops on": _rests_on, "hides": _hides,
    "re-emerges": _re_emerges, "stays hidden": _stays_hidden, "in front": _in_front, "falls in": _falls_in,
    "seesaw": _seesaw, "thrown": _thrown, "left of": _left_of, "right of": _left_of, "middle": _place,
    "on side": _place, "count": _count, "fallen": _fallen, "topples": _topples, "chain stops": _chain_stops,
    "swings": _swings, "circles": _circles, "spins": _spins, "turning": _turning, "camera": check_camera,
    "named": check_named, "exists": check_named, "behind": check_behind, "because": check_because,
    "sky": check_scene,
    "floor": check_scene, "decor": check_scene,
}  # fmt: skip

_NEEDS_OBJECT = {
    "lands on",
    "falls beside",
    "falls in",
    "in front",
    "circles",
    "left of",
    "right of",
    "seesaw",
}
_OF_ONE = {
    "leaves", "falls", "bounces", "lands on", "falls beside", "falls off", "slides down", "rests on",
    "stops on",
    "hides", "re-emerges", "stays hidden", "in front", "falls in", "thrown", "left of", "right of", "swings",
    "circles", "spins", "behind",
}  # fmt: skip
_NO_SUBJECT = {"camera", "because", "sky", "floor", "decor", "named", "exists"}


def check(facts: ClipFacts, said: Statement) -> Verdict:
    """Whether a statement is true of a clip; None where nothing measured can tell."""
    if said.kind not in CHECKS:
        return None
    if said.kind not in _NO_SUBJECT and said.subject is None:
        return False
    if said.kind in _NEEDS_OBJECT and not isinstance(said.object, int):
        return False
    each = said.kind in ("moves", "speed", "manner", "stops", "short of", "bounces back")
    if each and isinstance(said.subject, str):
        see = Evidence(facts)
        return all(CHECKS[said.kind](see, replace(said, subject=k)) for k in see.members(said.subject))
    verdict = CHECKS[said.kind](Evidence(facts), said)
    return None if verdict is None else bool(verdict)
