"""The lab: the plain part of the film set on which models are measured.

Eight hues, solid plastic or rubber, four shapes, a neutral floor, a known camera. About a tenth of the
combinations of event, relation, colours and shapes is held out of training, chosen by a hash of the
combination itself, so that no seed and no version of the code moves one from one side to the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from kinema.world.cameras import Shot
from kinema.world.entities import Entity
from kinema.world.facts import CameraMove, ClipFacts, Event
from kinema.world.spec import ClipSpec
from kinema.world.stage import EventKind, Proposal, Verdict

HELD_OUT = 0.1
"""Share of combinations held out of training."""

_OUTCOMES: dict[Event, tuple[str, ...]] = {
    "roll": ("stops", "keeps going"),
    "still": ("pair",),
    "occlude": ("re-emerges", "stays hidden", "in front"),
}
"""Outcomes the lab keeps to, where it does not have them all."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What the held-out split is made over."""

    event: Event
    relation: str
    """A direction, a side or an outcome; see each event."""
    things: tuple[tuple[str, str], ...]
    """(colour, shape) of everything that takes part, in order."""


def combination(event: Event, proposal: Proposal) -> Combination:
    """The combination of a proposed scene."""
    return _combination(event, proposal.relation, proposal.entities)


def _combination(event: Event, relation: str, entities: tuple[Entity, ...]) -> Combination:
    things = [(e.colour or e.material, e.shape) for e in entities if e.role in ("main", "partner")]
    if relation == "right of":
        # 'a right of b' says what 'b left of a' says: both wordings must fall on the same side.
        relation, things = "left of", things[::-1]
    if event == "count":
        things = things[:1]
    return Combination(event=event, relation=relation, things=tuple(things))


def held_out(what: Combination | ClipFacts) -> bool:
    """Whether a combination is kept out of training. Facts must be those of a lab clip."""
    if isinstance(what, ClipFacts):
        what = combination_of(what)
    words = [what.event, what.relation, *(word for thing in what.things for word in thing)]
    digest = hashlib.sha256("|".join(words).encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT * 2**64


def combination_of(facts: ClipFacts) -> Combination:
    """The combination that a finished lab clip shows."""
    relation = facts.outcome
    for claim in facts.claims:
        if facts.event == "roll" and claim.kind == "moves":
            relation = claim.value
        elif facts.event == "still" and claim.kind in ("left of", "right of"):
            relation = claim.kind
    things = [(e.colour or e.material, e.shape) for e in facts.entities if e.role in ("main", "partner")]
    if relation == "right of":
        relation, things = "left of", things[::-1]
    if facts.event == "count":
        relation, things = next(c.value for c in facts.claims if c.kind == "count"), things[:1]
    return Combination(event=facts.event, relation=relation, things=tuple(things))


def outcomes(kind: EventKind) -> tuple[str, ...]:
    """The outcomes an event can have in the lab."""
    return _OUTCOMES.get(kind.name, kind.outcomes)


def camera_of(verdict: Verdict) -> CameraMove:
    """The lab's camera is still, except where its move is the event."""
    for claim in verdict.claims:
        if claim.kind == "camera":
            move: CameraMove = claim.value  # pyrefly: ignore
            return move
    return "static"


LAB_AMOUNTS: dict[str, float] = {
    "static": 0.0, "pan": 14.0, "tilt": 10.0, "zoom": 1.5, "dolly": 1.45, "orbit": 40.0, "truck": 0.25,
    "crane": 18.0,
}  # fmt: skip


def shot(move: CameraMove) -> Shot:
    """The lab's camera: always in the same place, or passing through it half-way."""
    return Shot(
        move=move,
        amount=LAB_AMOUNTS[move.split()[0]],
        target=(0.0, 0.2, 0.55),
        distance=5.4,
        azimuth=-90.0,
        elevation=16.0,
        fov=42.0,
    )


def colours_swapped(entities: tuple[Entity, ...]) -> tuple[Entity, ...]:
    """The scene with the colours of its first two things exchanged, or its one thing in another colour."""
    if len(entities) < 2:
        return entities
    first, second, *rest = entities
    return (replace(first, colour=second.colour), replace(second, colour=first.colour), *rest)


def swapped(spec: ClipSpec, what: str = "colours") -> ClipSpec:
    """The spec of a clip's minimal pair: 'colours' exchanged, or 'sides', with everything else equal."""
    return replace(spec, swap="sides" if what == "sides" else "colours")
