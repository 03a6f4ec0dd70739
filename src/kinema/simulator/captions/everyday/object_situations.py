"""Situations of events with one to three objects."""

from __future__ import annotations

from collections.abc import Iterable

from kinema.simulator.annotations import ClipAnnotations
from kinema.simulator.captions.everyday.claim_statements import (
    actor_endings,
    find_claim,
    find_consequence,
    hit_statement,
    motion_values,
    pushed_statement,
)
from kinema.simulator.captions.everyday.statements import EntityRef, Situation, Statement, Value


def rolling_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """An object rolls, drives or slides."""
    values = motion_values(annotations, 0)
    if "dir" not in values:
        return
    if find_claim(annotations, "stops", 0):
        statements = (Statement(kind="stops", subject=0),)
        yield Situation(
            key="moves and stops", roles={"A": 0}, statements=statements, values=values, weight=5.0
        )
        yield Situation(key="moves", roles={"A": 0}, values=values, weight=0.7)
    elif find_claim(annotations, "leaves", 0):
        statements = (Statement(kind="leaves", subject=0),)
        yield Situation(
            key="moves and leaves", roles={"A": 0}, statements=statements, values=values, weight=5.0
        )
        yield Situation(key="moves", roles={"A": 0}, values=values, weight=1.5)
    else:
        yield Situation(key="moves", roles={"A": 0}, values=values, weight=6.0)
        yield Situation(key="moves somewhere", roles={"A": 0}, values=values, weight=0.6)


def collision_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """An object hits another one, misses it or stops before it."""
    values = motion_values(annotations, 0)
    hits = find_claim(annotations, "hits", 0)
    if hits is None:
        for kind, key in (("misses", "misses"), ("short of", "stops short")):
            claim = find_claim(annotations, kind, 0)
            if claim is not None and claim.object is not None:
                statement = Statement(kind=kind, subject=0, object=claim.object)
                yield Situation(
                    key=key,
                    roles={"A": 0, "B": claim.object},
                    statements=(statement,),
                    values=values,
                    weight=6.0,
                )
        return
    if hits.object is None:
        return
    other = hits.object
    hit, consequence = hit_statement(0, other), find_consequence(annotations, other, 0)
    endings = actor_endings(annotations)
    roles: dict[str, EntityRef] = {"A": 0, "B": other}
    if consequence is None:
        yield Situation(
            key="hits", roles=roles, statements=(hit,), values=values, endings=endings, weight=6.0
        )
        return
    key, statement, way = consequence
    more = {"pdir": Value(value=way, statements=(statement,))} if way else {}
    yield Situation(
        key="hits",
        roles=roles,
        statements=(hit,),
        values=values | more,
        endings=((key, (statement,)), (key, (statement,)), *endings),
        weight=3.0,
    )
    own = {"tips over": "knocks over", "stays": "hits, it stays", "pushed": "pushes"}[key]
    yield Situation(
        key=own, roles=roles, statements=(hit, statement), values=values | more, endings=endings, weight=3.0
    )


def dropping_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """An object falls and bounces or lands."""
    falls = Statement(kind="falls", subject=0)
    bounces = find_claim(annotations, "bounces", 0)
    if bounces is not None:
        keys = {
            "high": "falls, bounces high",
            "little": "falls, bounces a little",
            "none": "falls, no bounce",
        }
        statement = Statement(kind="bounces", subject=0, value=bounces.value)
        values = {} if bounces.value == "none" else {"height": Value(value=bounces.value)}
        yield Situation(
            key=keys[bounces.value], roles={"A": 0}, statements=(falls, statement), values=values, weight=4.0
        )
        yield Situation(key="falls", roles={"A": 0}, statements=(falls,), weight=2.0)
        return
    for kind, key in (("lands on", "lands on"), ("falls beside", "lands beside")):
        claim = find_claim(annotations, kind, 0)
        if claim is not None and claim.object is not None:
            statement = Statement(kind=kind, subject=0, object=claim.object)
            yield Situation(
                key=key,
                roles={"A": 0, "B": claim.object},
                weight=6.0,
                statements=(falls, hit_statement(0, claim.object), statement),
            )


def ramp_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """An object slides down a ramp or rests on it."""
    rests, down = find_claim(annotations, "rests on", 0), find_claim(annotations, "slides down", 0)
    if rests is not None and rests.object is not None:
        statement = Statement(kind="rests on", subject=0, object=rests.object)
        yield Situation(
            key="rests on the ramp", roles={"A": 0, "B": rests.object}, statements=(statement,), weight=6.0
        )
        yield Situation(
            key="on top",
            roles={"A": 0, "B": rests.object},
            weight=1.5,
            statements=(statement,),
            values={"rel": Value(value="on top of")},
        )
    if down is None or down.object is None:
        return
    values = motion_values(annotations, 0)
    values["dir"] = Value(
        value=down.value,
        statements=(Statement(kind="slides down", subject=0, object=down.object, value=down.value),),
    )
    statement = Statement(kind="slides down", subject=0, object=down.object, value=down.value)
    roles: dict[str, EntityRef] = {"A": 0, "B": down.object}
    hits = find_claim(annotations, "hits", 0)
    endings: tuple[tuple[str, tuple[Statement, ...]], ...] = ()
    yield Situation(
        key="goes down", roles=roles, statements=(statement,), values=values, endings=endings, weight=5.0
    )
    if hits is not None and hits.object is not None:
        consequence = find_consequence(annotations, hits.object, 0)
        hit = hit_statement(0, hits.object)
        pair: dict[str, EntityRef] = {"A": 0, "B": hits.object}
        plain = {"go": values["go"]}
        more = (
            {"pdir": Value(value=consequence[2], statements=(consequence[1],))}
            if consequence and consequence[2]
            else {}
        )
        endings_of_hit = ((consequence[0], (consequence[1],)),) if consequence else ()
        yield Situation(
            key="hits", roles=pair, statements=(hit,), values=plain | more, endings=endings_of_hit, weight=2.5
        )
        if consequence and consequence[0] == "tips over":
            yield Situation(
                key="knocks over", roles=pair, statements=(hit, consequence[1]), values=plain, weight=2.0
            )


def occlusion_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """An object passes behind a screen or in front of it."""
    values = motion_values(annotations, 0)
    front, hides = find_claim(annotations, "in front", 0), find_claim(annotations, "hides", 0)
    if front is not None and front.object is not None:
        statement = Statement(kind="in front", subject=0, object=front.object)
        yield Situation(
            key="in front",
            roles={"A": 0, "B": front.object},
            statements=(statement,),
            values=values,
            weight=6.0,
        )
    if hides is None or hides.object is None:
        return
    roles: dict[str, EntityRef] = {"A": 0, "B": hides.object}
    hidden = Statement(kind="hides", subject=0, object=hides.object)
    out = find_claim(annotations, "re-emerges", 0)
    yield Situation(key="behind", roles=roles, statements=(hidden,), values=values, weight=1.0)
    if out is None:
        statements = (hidden, Statement(kind="stays hidden", subject=0, object=hides.object))
        yield Situation(
            key="behind and hidden", roles=roles, statements=statements, values=values, weight=6.0
        )
        return
    emerges = Statement(kind="re-emerges", subject=0, object=hides.object, value=out.value)
    values["side"] = Value(value=out.value, statements=(emerges,))
    same = "dir" in values and values["dir"].value == out.value
    key = "behind and out" if same else "behind and back"
    yield Situation(key=key, roles=roles, statements=(hidden, emerges), values=values, weight=6.0)


def edge_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """An object moves over the edge of a table or stops before it."""
    values = motion_values(annotations, 0)
    off, rests = find_claim(annotations, "falls off", 0), find_claim(annotations, "rests on", 0)
    if off is not None and off.object is not None:
        statement = Statement(kind="falls off", subject=0, object=off.object)
        yield Situation(
            key="falls off",
            roles={"A": 0, "B": off.object},
            statements=(statement,),
            values=values,
            weight=6.0,
        )
    if rests is not None and rests.object is not None:
        statements = (
            Statement(kind="rests on", subject=0, object=rests.object),
            Statement(kind="stops", subject=0),
        )
        yield Situation(
            key="stops on",
            roles={"A": 0, "B": rests.object},
            statements=statements,
            values=values,
            weight=6.0,
        )
        yield Situation(
            key="on top",
            roles={"A": 0, "B": rests.object},
            weight=1.0,
            statements=statements[:1],
            values={"rel": Value(value="on top of")},
        )


def pendulum_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """A pendulum swings."""
    swings = Statement(kind="swings", subject=0)
    hits = find_claim(annotations, "hits", 0)
    if hits is None or hits.object is None:
        yield Situation(key="swings", roles={"A": 0}, statements=(swings,), weight=6.0)
        return
    hit, consequence = hit_statement(0, hits.object), find_consequence(annotations, hits.object, 0)
    more = (
        {"pdir": Value(value=consequence[2], statements=(consequence[1],))}
        if consequence and consequence[2]
        else {}
    )
    yield Situation(
        key="swings and hits",
        roles={"A": 0, "B": hits.object},
        statements=(swings, hit),
        values=more,
        endings=((consequence[0], (consequence[1],)),) if consequence else (),
        weight=6.0,
    )


def seesaw_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """An object falls on a seesaw."""
    plank = next((e.index for e in annotations.entities if e.shape == "plank"), None)
    if plank is None:
        return
    falls, hit = Statement(kind="falls", subject=0), hit_statement(0, plank)
    tips, thrown = find_claim(annotations, "seesaw"), find_claim(annotations, "thrown")
    if tips is None:
        statements = (falls, hit, Statement(kind="stays", subject=plank))
        yield Situation(key="seesaw stays", roles={"A": 0, "B": plank}, statements=statements, weight=6.0)
        return
    statement = Statement(kind="seesaw", subject=0, object=plank, value=tips.value)
    side = Value(value=tips.value, statements=(statement,))
    yield Situation(
        key="seesaw tips",
        roles={"A": 0, "B": plank},
        statements=(falls, hit, statement),
        values={"side": side, "end": side},
        weight=1.0 if thrown else 6.0,
    )
    if thrown is not None and thrown.subject is not None:
        yield Situation(
            key="seesaw throws",
            roles={"A": 0, "B": plank, "C": thrown.subject},
            weight=6.0,
            statements=(falls, hit, Statement(kind="thrown", subject=thrown.subject)),
        )


def container_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """An object falls into a box or misses it."""
    falls = Statement(kind="falls", subject=0)
    for kind, key in (("falls in", "falls in"), ("misses", "misses the box")):
        claim = find_claim(annotations, kind, 0)
        if claim is not None and claim.object is not None:
            statement = Statement(kind=kind, subject=0, object=claim.object)
            yield Situation(
                key=key, roles={"A": 0, "B": claim.object}, statements=(falls, statement), weight=6.0
            )


def chain_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """An object hits a second one, which may hit a third."""
    values = motion_values(annotations, 0)
    first, second, short = (
        find_claim(annotations, "hits", 0),
        find_claim(annotations, "hits", 1),
        find_claim(annotations, "short of", 1),
    )
    if first is None:
        return
    roles: dict[str, EntityRef] = {"A": 0, "B": 1, "C": 2}
    hit, push = hit_statement(0, 1), find_claim(annotations, "pushed", 1)
    if second is not None:
        consequence = find_consequence(annotations, 2, 1)
        endings: list[tuple[str, tuple[Statement, ...]]] = []
        if consequence and consequence[0] == "tips over":
            endings.append(("third tips over", (consequence[1],)))
        elif consequence and consequence[2]:
            endings.append(("third pushed", (consequence[1],)))
            values["cdir"] = Value(value=consequence[2])
        yield Situation(
            key="chain",
            roles=roles,
            statements=(hit, hit_statement(1, 2)),
            values=values,
            endings=tuple(endings),
            weight=6.0,
        )
    elif short is not None:
        statements = (
            hit,
            Statement(kind="short of", subject=1, object=2),
            Statement(kind="stays", subject=2),
        )
        yield Situation(key="chain short", roles=roles, statements=statements, values=values, weight=6.0)
    if push is not None:
        pushed = pushed_statement(0, 1, push.value)
        yield Situation(
            key="pushes",
            roles={"A": 0, "B": 1},
            statements=(hit, pushed),
            weight=1.0,
            values=values | {"pdir": Value(value=push.value)},
        )
