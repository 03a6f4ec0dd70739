"""Finds claims of a clip and turns them into statements and slot values."""

from __future__ import annotations

import math

import numpy as np

from kinema.simulator.annotations import Claim, ClipAnnotations
from kinema.simulator.captions.content_planning import classify_motion
from kinema.simulator.captions.everyday.statements import EntityRef, Statement, Value


def find_claim(annotations: ClipAnnotations, kind: str, subject: int | None = None) -> Claim | None:
    """The first claim of a kind, of a subject if one is passed."""
    for claim in annotations.claims:
        if claim.kind == kind and (subject is None or claim.subject == subject):
            return claim
    return None


def group_size(group: str, annotations: ClipAnnotations) -> int:
    """Number of members of a group."""
    return sum(entity.group == group for entity in annotations.entities)


def motion_values(annotations: ClipAnnotations, who: int) -> dict[str, Value]:
    """Values for the motion verb, the direction and the speed of an entity."""
    values: dict[str, Value] = {}
    moves, speed = find_claim(annotations, "moves", who), find_claim(annotations, "speed", who)
    how = classify_motion(annotations, who)
    statements = () if how == "move" else (Statement(kind="manner", subject=who, value=how),)
    values["go"] = Value(value=how, statements=statements)
    if moves is not None:
        values["dir"] = Value(
            value=moves.value, statements=(Statement(kind="moves", subject=who, value=moves.value),)
        )
    if speed is not None:
        speed_statement = Statement(
            kind="speed", subject=who, value="quick" if speed.value == "quickly" else "slow"
        )
        if _has_speed(annotations, who, speed_statement.value):
            values["speed"] = Value(value=speed.value, statements=(speed_statement,))
    return values


def _has_speed(annotations: ClipAnnotations, entity: int, value: str) -> bool:
    """Whether the mean speed until the first contact is clearly 'quick' or 'slow'.

    The claim is about the motion until the event, which can differ from the motion until the first contact.
    """
    group = annotations.entities[entity].group
    members = {e.index for e in annotations.entities if e.index == entity or (group and e.group == group)}
    contacts = [
        math.ceil(contact.first)
        for contact in annotations.contacts
        if contact.first > 0.5
        and min(contact.a, contact.b) >= 0
        and (contact.a in members) != (contact.b in members)
    ]
    end = max(2, min(contacts, default=len(annotations.cameras) - 1))
    path = annotations.tracks.position[: end + 1, entity]
    speeds = np.linalg.norm(np.diff(path, axis=0), axis=1) * annotations.fps
    moving = speeds[: max(1, int(np.flatnonzero(speeds > 0.15).max(initial=0)) + 1)]
    mean_speed = float(moving.mean())
    return mean_speed > 1.9 if value == "quick" else mean_speed < 1.25


def pushed_statement(who: EntityRef, what: int, value: str) -> Statement:
    """The statement that a hit pushes an object."""
    return Statement(kind="pushed", subject=who, object=what, value=value)


def hit_statement(one: int, other: int) -> Statement:
    """The statement that two entities touch."""
    return Statement(kind="hits", subject=one, object=other)


def find_consequence(
    annotations: ClipAnnotations, what: int, by: EntityRef
) -> tuple[str, Statement, str] | None:
    """The consequence of a hit for the object hit: a key, the statement and the direction of the push."""
    tips, stays, pushed = (find_claim(annotations, kind, what) for kind in ("tips over", "stays", "pushed"))
    if tips:
        return "tips over", Statement(kind="tips over", subject=what), ""
    if stays:
        return "stays", Statement(kind="stays", subject=what), ""
    if pushed:
        return "pushed", pushed_statement(by, what, pushed.value), pushed.value
    return None


def actor_endings(annotations: ClipAnnotations) -> tuple[tuple[str, tuple[Statement, ...]], ...]:
    """Endings about the actor after a hit."""
    endings: list[tuple[str, tuple[Statement, ...]]] = []
    if find_claim(annotations, "bounces back", 0):
        endings.append(("bounces back", (Statement(kind="bounces back", subject=0),)))
    elif find_claim(annotations, "stops", 0):
        endings.append(("stops", (Statement(kind="stops", subject=0),)))
    return tuple(endings)
