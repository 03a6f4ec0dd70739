"""The lab: the plain subset of the simulator for evaluation, and its train/test split.

Eight hues, solid plastic or rubber, four shapes, a neutral floor and a fixed camera. About a tenth of the
combinations of event, relation, colours and shapes is held out of training. A hash of the combination
decides, so the split is the same for every seed and version of the code.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from kinema.simulator.annotations import CameraMove, ClipAnnotations, Event
from kinema.simulator.camera_moves import CameraShot
from kinema.simulator.entities import Entity
from kinema.simulator.event_api import EventOutcome, EventType, SceneProposal

HELD_OUT_SHARE = 0.1
"""Share of combinations held out of training."""

_LAB_OUTCOMES: dict[Event, tuple[str, ...]] = {
    "roll": ("stops", "keeps going"),
    "still": ("pair",),
    "occlude": ("re-emerges", "stays hidden", "in front"),
}
"""Outcomes used in the lab, for events of which it has only some."""
_REQUESTED_LAB_OUTCOMES: dict[Event, tuple[str, ...]] = {"still": ("three",)}
"""Outcomes that a lab clip has only if its specification names them."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """The unit of the held-out split."""

    event: Event
    relation: str
    """A direction, a side or an outcome, depending on the event."""
    objects: tuple[tuple[str, str], ...]
    """(colour, shape) of each main or partner object, in order."""


def proposal_combination(event: Event, proposal: SceneProposal) -> Combination:
    """The combination of a proposed scene."""
    return _build_combination(event, proposal.relation, proposal.entities)


def _build_combination(event: Event, relation: str, entities: tuple[Entity, ...]) -> Combination:
    objects = [(e.colour or e.material, e.shape) for e in entities if e.role in ("main", "partner")]
    if relation == "right of":
        # 'a right of b' means 'b left of a'; both must be in the same split.
        relation, objects = "left of", objects[::-1]
    if event == "count":
        objects = objects[:1]
    return Combination(event=event, relation=relation, objects=tuple(objects))


def is_held_out(item: Combination | ClipAnnotations) -> bool:
    """Whether a combination, or the combination of a lab clip, is held out of training."""
    if isinstance(item, ClipAnnotations):
        item = clip_combination(item)
    parts = [item.event, item.relation, *(word for thing in item.objects for word in thing)]
    digest = hashlib.sha256("|".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64


def clip_combination(annotations: ClipAnnotations) -> Combination:
    """The combination of an annotated lab clip."""
    relation = annotations.outcome
    for claim in annotations.claims:
        if annotations.event == "roll" and claim.kind == "moves":
            relation = claim.value
        elif annotations.event == "still" and claim.kind in ("left of", "right of"):
            relation = claim.kind
    objects = [
        (e.colour or e.material, e.shape) for e in annotations.entities if e.role in ("main", "partner")
    ]
    if relation == "right of":
        relation, objects = "left of", objects[::-1]
    if annotations.event == "count":
        relation, objects = next(c.value for c in annotations.claims if c.kind == "count"), objects[:1]
    return Combination(event=annotations.event, relation=relation, objects=tuple(objects))


def lab_outcomes(event_type: EventType) -> tuple[str, ...]:
    """The outcomes from which a lab clip draws."""
    return _LAB_OUTCOMES.get(event_type.name, event_type.outcomes)


def all_lab_outcomes(event_type: EventType) -> tuple[str, ...]:
    """The outcomes that a lab clip can have, drawn or requested."""
    return (*lab_outcomes(event_type), *_REQUESTED_LAB_OUTCOMES.get(event_type.name, ()))


def lab_camera_move(event_outcome: EventOutcome) -> CameraMove:
    """The camera move in the lab: static, unless the event is a camera move."""
    for claim in event_outcome.claims:
        if claim.kind == "camera":
            move: CameraMove = claim.value  # pyrefly: ignore
            return move
    return "static"


LAB_MOVE_AMOUNTS: dict[str, float] = {
    "static": 0.0, "pan": 14.0, "tilt": 10.0, "zoom": 1.5, "dolly": 1.45, "orbit": 40.0, "truck": 0.25,
    "crane": 18.0,
}  # fmt: skip


def lab_shot(move: CameraMove) -> CameraShot:
    """The camera of the lab: always the same view, which a move passes half-way."""
    return CameraShot(
        move=move,
        amount=LAB_MOVE_AMOUNTS[move.split()[0]],
        target=(0.0, 0.2, 0.55),
        distance=5.4,
        azimuth=-90.0,
        elevation=16.0,
        fov=42.0,
    )


def swap_colours(entities: tuple[Entity, ...]) -> tuple[Entity, ...]:
    """Exchange the colours of the first two entities; a single entity stays as it is."""
    if len(entities) < 2:
        return entities
    first, second, *rest = entities
    return (replace(first, colour=second.colour), replace(second, colour=first.colour), *rest)
