"""Situations of events with a group: towers, dominoes and pins."""

from __future__ import annotations

from collections.abc import Iterable

from kinema.simulator.annotations import ClipAnnotations
from kinema.simulator.captions.everyday.claim_statements import find_claim, group_size, motion_values
from kinema.simulator.captions.everyday.statements import EntityRef, Situation, Statement, Value


def tower_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """An object moves towards a tower."""
    values = motion_values(annotations, 0)
    group = next((e.group for e in annotations.entities if e.group), None)
    if group is None:
        return
    roles: dict[str, EntityRef] = {"A": 0, "G": group}
    stands = Statement(kind="stands", subject=group)
    if find_claim(annotations, "short of", 0):
        statements = (Statement(kind="short of", subject=0, object=group), stands)
        yield Situation(key="tower short", roles=roles, statements=statements, values=values, weight=6.0)
        return
    hit = Statement(kind="hits", subject=0, object=group)
    fallen = find_claim(annotations, "fallen")
    if fallen is None:
        yield Situation(key="tower stands", roles=roles, statements=(hit, stands), values=values, weight=6.0)
        return
    number, total = int(fallen.value), group_size(group, annotations)
    statement = Statement(kind="fallen", subject=group, number=number, value=fallen.value)
    if number >= total - 1:
        whole = Statement(kind="fallen", subject=group, number=-1)
        yield Situation(key="tower falls", roles=roles, statements=(hit, whole), values=values, weight=6.0)
    else:
        values["n"] = Value(value=fallen.value, statements=(statement,))
        part = Statement(kind="part falls", subject=group)
        yield Situation(
            key="tower partly falls", roles=roles, statements=(hit, part), values=values, weight=6.0
        )


def dominoes_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """A row of dominoes falls or stands."""
    group = next((e.group for e in annotations.entities if e.group), None)
    if group is None:
        return
    roles: dict[str, EntityRef] = {"G": group}
    topple = find_claim(annotations, "topple")
    if topple is None:
        statements = (Statement(kind="stands", subject=group),)
        yield Situation(key="dominoes stand", roles=roles, statements=statements, weight=6.0)
        return
    end = Value(
        value=topple.value, statements=(Statement(kind="topples", subject=group, value=topple.value),)
    )
    fallen = find_claim(annotations, "fallen")
    if fallen is None:
        statements = (Statement(kind="fallen", subject=group, number=group_size(group, annotations)),)
        yield Situation(
            key="dominoes fall", roles=roles, statements=statements, values={"end": end}, weight=6.0
        )
        return
    number = Statement(kind="fallen", subject=group, number=int(fallen.value), value=fallen.value)
    statements = (Statement(kind="chain stops", subject=group),)
    yield Situation(
        key="dominoes stop",
        roles=roles,
        statements=statements,
        weight=6.0,
        values={"end": end, "n": Value(value=fallen.value, statements=(number,))},
    )


def bowling_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """A ball rolls towards pins."""
    values = motion_values(annotations, 0)
    group = next((e.group for e in annotations.entities if e.group), None)
    if group is None:
        return
    roles: dict[str, EntityRef] = {"A": 0, "G": group}
    fallen = find_claim(annotations, "fallen")
    if fallen is None:
        statements = (
            Statement(kind="misses", subject=0, object=group),
            Statement(kind="stands", subject=group),
        )
        yield Situation(key="bowls none", roles=roles, statements=statements, values=values, weight=6.0)
        return
    hit = Statement(kind="hits", subject=0, object=group)
    number = Statement(kind="fallen", subject=group, number=int(fallen.value), value=fallen.value)
    if int(fallen.value) == group_size(group, annotations):
        yield Situation(key="bowls all", roles=roles, statements=(hit, number), values=values, weight=6.0)
    else:
        values["n"] = Value(value=fallen.value)
        yield Situation(key="bowls some", roles=roles, statements=(hit, number), values=values, weight=6.0)
