"""Situations of a clip: what its captions can describe, with roles and values for the slots."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from kinema.simulator.annotations import ClipAnnotations
from kinema.simulator.captions.everyday.claim_statements import find_claim, motion_values
from kinema.simulator.captions.everyday.group_situations import (
    bowling_situations,
    dominoes_situations,
    tower_situations,
)
from kinema.simulator.captions.everyday.object_situations import (
    chain_situations,
    collision_situations,
    container_situations,
    dropping_situations,
    edge_situations,
    occlusion_situations,
    pendulum_situations,
    ramp_situations,
    rolling_situations,
    seesaw_situations,
)
from kinema.simulator.captions.everyday.statements import EntityRef, Situation, Statement, Value


def find_situations(annotations: ClipAnnotations) -> tuple[Situation, ...]:
    """All situations of a clip, those of its event first."""
    found: list[Situation] = [
        *event_situations(annotations),
        *_placement_situations(annotations),
        *_camera_situations(annotations),
        *_list_situations(annotations),
    ]
    return tuple(found)


def event_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """Situations of the event of a clip."""
    kinds = {claim.kind for claim in annotations.claims}
    match annotations.event:
        case "roll":
            yield from rolling_situations(annotations)
        case "collide" | "mass pair":
            yield from collision_situations(annotations)
        case "drop":
            yield from dropping_situations(annotations)
        case "ramp":
            yield from ramp_situations(annotations)
        case "tower":
            yield from tower_situations(annotations)
        case "domino":
            yield from dominoes_situations(annotations)
        case "occlude":
            yield from occlusion_situations(annotations)
        case "orbit":
            claim = find_claim(annotations, "circles")
            if claim is not None and claim.object is not None:
                statement = Statement(kind="circles", subject=0, object=claim.object, value=claim.value)
                yield Situation(
                    key="circles",
                    roles={"A": 0, "B": claim.object},
                    weight=6.0,
                    statements=(Statement(kind="turns round", subject=0, object=claim.object),),
                    values={"turn": Value(value=claim.value, statements=(statement,))},
                )
        case "spin":
            claim = find_claim(annotations, "spins")
            if claim is not None:
                statement = Statement(kind="spins", subject=0, value=claim.value)
                yield Situation(
                    key="spins",
                    roles={"A": 0},
                    weight=6.0,
                    statements=(Statement(kind="turns", subject=0),),
                    values={"turn": Value(value=claim.value, statements=(statement,))},
                )
        case "edge":
            yield from edge_situations(annotations)
        case "pendulum":
            yield from pendulum_situations(annotations)
        case "bowl":
            yield from bowling_situations(annotations)
        case "seesaw":
            yield from seesaw_situations(annotations)
        case "container":
            yield from container_situations(annotations)
        case "chain":
            yield from chain_situations(annotations)
        case "count":
            number = Value(value="")
            if "moves" in kinds:
                claim = find_claim(annotations, "moves")
                assert claim is not None
                assert claim.group is not None
                statement = Statement(kind="moves", subject=claim.group, value=claim.value)
                go = Value(value="roll")
                yield Situation(
                    key="group moves",
                    roles={"G": claim.group},
                    weight=6.0,
                    statements=(statement,),
                    values={"go": go, "dir": Value(value=claim.value), "n": number},
                )
            else:
                group = next((c.group for c in annotations.claims if c.kind == "count" and c.group), None)
                if group is not None:
                    statements = (Statement(kind="stays", subject=group),)
                    yield Situation(key="group stands", roles={"G": group}, statements=statements, weight=6.0)
        case "wall pair":
            if annotations.cause == "no wall":
                yield Situation(
                    key="no wall",
                    roles={"A": 0},
                    weight=5.0,
                    values=motion_values(annotations, 0),
                    statements=(Statement(kind="because", value="no wall"),),
                )
                yield Situation(key="moves", roles={"A": 0}, weight=2.0, values=motion_values(annotations, 0))
            else:
                yield from collision_situations(annotations)
        case _:
            pass


def _placement_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """Positions of objects at rest, from the measured tracks."""
    who = named_entities(annotations)
    still = [
        k
        for k in who
        if annotations.entities[k].role in ("main", "partner")
        and float(abs(annotations.tracks.position[:, k] - annotations.tracks.position[0, k]).max()) < 0.05
    ]
    standing = annotations.event in ("still", "camera")
    if standing and len(still) == 2:
        left, right = sorted(still, key=lambda k: float(annotations.tracks.screen[0, k, 0]))
        apart = annotations.tracks.screen[:, right, 0] - annotations.tracks.screen[:, left, 0]
        if bool((apart > 0.05).all()):
            for one, other, rel in ((left, right, "left of"), (right, left, "right of")):
                statements = (Statement(kind=rel, subject=one, object=other),)
                yield Situation(
                    key="side by side",
                    roles={"A": one, "B": other},
                    statements=statements,
                    weight=1.6,
                    values={"rel": Value(value=rel)},
                )
            statements = (
                Statement(kind="left of", subject=left, object=right),
                Statement(kind="on side", subject=left, value="left"),
            )
            yield Situation(
                key="left and right", roles={"A": left, "B": right}, statements=statements, weight=1.6
            )
            near = Statement(kind="next to", subject=left, object=right)
            for one, other in ((left, right), (right, left)):
                yield Situation(
                    key="side by side",
                    roles={"A": one, "B": other},
                    weight=0.6,
                    statements=(near,),
                    values={"rel": Value(value="next to")},
                )
            stays = tuple(Statement(kind="stays", subject=k) for k in (left, right))
            yield Situation(
                key="two stand still", roles={"A": left, "B": right}, statements=stays, weight=0.6
            )
    if standing and len(still) == 3:
        a, b, c = sorted(still, key=lambda k: float(annotations.tracks.screen[0, k, 0]))
        statements = (
            Statement(kind="left of", subject=a, object=b),
            Statement(kind="left of", subject=b, object=c),
            Statement(kind="middle", subject=b),
        )
        yield Situation(key="between", roles={"A": a, "B": b, "C": c}, statements=statements, weight=6.0)
    if standing and len(still) == 4:
        order = sorted(still, key=lambda k: float(annotations.tracks.screen[0, k, 0]))
        statements = tuple(Statement(kind="left of", subject=a, object=b) for a, b in pairwise(order))
        roles: dict[str, EntityRef] = dict(zip("ABCD", order, strict=True))
        yield Situation(key="row", roles=roles, statements=statements, weight=5.0)
        for one, other in ((order[0], order[1]), (order[2], order[3])):
            statements = (Statement(kind="left of", subject=one, object=other),)
            yield Situation(
                key="side by side",
                roles={"A": one, "B": other},
                statements=statements,
                weight=1.0,
                values={"rel": Value(value="left of")},
            )
    if standing and len(still) == 1:
        statements = (Statement(kind="stays", subject=still[0]),)
        yield Situation(key="stands still", roles={"A": still[0]}, statements=statements, weight=2.0)
    for entity in annotations.entities:
        if (
            entity.role == "background"
            and entity.named
            and who
            and annotations.tracks.pixels[:, entity.index].max() > 60
        ):
            statements = (Statement(kind="behind", subject=entity.index),)
            yield Situation(
                key="in depth", roles={"A": who[0], "B": entity.index}, statements=statements, weight=0.6
            )
            apart = annotations.tracks.screen[:, entity.index, 0] - annotations.tracks.screen[:, who[0], 0]
            if float(abs(apart).max()) < 0.2:
                for one, other, rel in (
                    (who[0], entity.index, "in front of"),
                    (entity.index, who[0], "behind"),
                ):
                    yield Situation(
                        key="in line",
                        roles={"A": one, "B": other},
                        statements=statements,
                        weight=0.4,
                        values={"rel": Value(value=rel)},
                    )


_CAMERA_KEYS = {
    "zoom in": "camera zooms in",
    "zoom out": "camera zooms out",
    "dolly in": "camera approaches",
    "dolly out": "camera withdraws",
    "orbit left": "camera circles",
    "orbit right": "camera circles",
    "pan left": "camera pans",
    "pan right": "camera pans",
}


def _camera_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """The camera moves with respect to the only thing, which is at rest."""
    who = named_entities(annotations)
    key = _CAMERA_KEYS.get(annotations.camera)
    if annotations.event != "camera" or key is None or len(who) != 1 or len(annotations.entities) != 1:
        return
    way = annotations.camera.split()[1]
    yield Situation(
        key=key,
        roles={"A": who[0]},
        statements=(Statement(kind="camera", value=annotations.camera),),
        values={"dir": Value(value=way)} if way in ("left", "right") else {},
        weight=4.0,
    )


def _list_situations(annotations: ClipAnnotations) -> Iterable[Situation]:
    """Lists of the objects without an event."""
    who = [k for k in named_entities(annotations) if annotations.entities[k].role in ("main", "partner")]
    # A list must name every object.
    if any(e.index not in who and e.shape not in ("pivot", "rod") for e in annotations.entities):
        return
    # A list leaves out the event, so it is rare in clips with one.
    weight = 1.5 if annotations.event in ("still", "camera") else 0.25
    if len(who) == 1:
        yield Situation(key="list of one", roles={"A": who[0]}, weight=weight)
    elif len(who) == 2:
        yield Situation(key="list of two", roles={"A": who[0], "B": who[1]}, weight=weight / 2)
        yield Situation(key="list of two", roles={"A": who[1], "B": who[0]}, weight=weight / 2)
    elif len(who) == 3:
        roles: dict[str, EntityRef] = dict(zip("ABC", who, strict=True))
        yield Situation(key="list of three", roles=roles, weight=weight)


def named_entities(annotations: ClipAnnotations) -> list[int]:
    """Entities that a sentence can mention individually."""
    return [
        e.index
        for e in annotations.entities
        if e.named and e.group is None and e.shape not in ("pivot", "rod") and e.role != "background"
    ]
