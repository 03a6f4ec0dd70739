"""The meaning of a caption as data: objects, event, roles, direction, relation and camera.

It contains only what the text states. An attribute that the text leaves out is empty and matches any value.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from kinema.simulator.captions.everyday.realization import RealizedCaption
from kinema.simulator.captions.everyday.statements import EntityRef, Statement

EQUIVALENT_SHAPES = {"screen": "wall", "block": "cube"}
"""Shapes for which everyday English uses the same words."""
EVENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("throw", ("thrown",)),
    ("tip seesaw", ("seesaw",)),
    ("fall off", ("falls off",)),
    ("go down", ("slides down",)),
    ("land on", ("lands on",)),
    ("land beside", ("falls beside",)),
    ("fall in", ("falls in",)),
    ("bounce", ("bounces high",)),
    ("bounce a little", ("bounces little",)),
    ("fall without a bounce", ("bounces none",)),
    ("hide and come out", ("hides", "re-emerges")),
    ("hide and stay", ("hides", "stays hidden")),
    ("hide", ("hides",)),
    ("pass in front", ("in front",)),
    ("chain", ("hits", "hits second")),
    ("knock over", ("hits", "tips over")),
    ("knock down", ("hits", "fallen")),
    ("push", ("hits", "pushed")),
    ("hit, it stays", ("hits", "stays")),
    ("hit, it stays", ("hits", "stands")),
    ("swing", ("swings",)),
    ("hit", ("hits",)),
    ("miss", ("misses",)),
    ("stop short", ("short of",)),
    ("topple", ("topples",)),
    ("topple", ("fallen",)),
    ("topple", ("chain stops",)),
    ("circle", ("turns round",)),
    ("spin", ("turns",)),
    ("stop", ("stops",)),
    ("leave", ("leaves",)),
    ("fall", ("falls",)),
    ("rest on", ("rests on",)),
    ("move", ("moves",)),
    ("move", ("manner",)),
    ("still", ("stays",)),
    ("still", ("stands",)),
)
"""Events with the kinds of statements that they need. The first event whose kinds are all stated applies."""
RELATIONS = ("left of", "right of", "next to", "between", "on top of", "behind", "in a row")


@dataclass(frozen=True, kw_only=True)
class ObjectMeaning:
    """One object or a group of equal objects. Attributes that the caption does not state are empty."""

    shape: str = ""
    colour: str = ""
    size: str = ""
    count: int = 1
    """0: a group whose number is not stated."""


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """The meaning of a caption. Objects are in the order of their first mention."""

    objects: tuple[ObjectMeaning, ...]
    event: str = "none"
    direction: str = ""
    actor: int | None = None
    patient: int | None = None
    relation: str = ""
    related: tuple[int, int] | None = None
    """Indices of the two objects of the relation, subject first; for `between` the middle object and -1."""
    camera: str = ""

    def to_dict(self) -> dict:
        """The values as JSON types."""
        return asdict(self)


def order_by_role(meaning: Meaning) -> list[int]:
    """Indices of the objects: the actor before the patient, the subject of a relation before the other."""
    order = [k for k in (meaning.actor, meaning.patient) if k is not None]
    if not order and meaning.related is not None:
        order = [k for k in meaning.related if k >= 0]
    return order + [k for k in range(len(meaning.objects)) if k not in order]


def extract_meaning(caption: RealizedCaption) -> Meaning:
    """Derive the meaning of a caption from its statements and the order of its mentions."""
    positions: dict[EntityRef | None, int] = {ref: k for k, ref in enumerate(caption.mentions)}
    by_kind: dict[str, Statement] = {}
    for statement in caption.statements:
        name = statement.kind
        if name == "bounces":
            name = f"bounces {statement.value}"
        elif name == "hits" and "hits" in by_kind:
            name = "hits second"
        by_kind.setdefault(name, statement)
    event, action = _event(by_kind, caption.key)
    direction = next(
        (s.value for s in caption.statements if s.kind in ("moves", "slides down") and s.value), ""
    )
    actor = patient = None
    if action is not None:
        actor, patient = positions.get(action.subject), positions.get(action.object)
    relation, related = _relation(by_kind, positions, caption)
    return Meaning(
        objects=tuple(_object_meaning(ref, caption) for ref in caption.mentions),
        event=event,
        direction=direction,
        actor=actor,
        patient=patient,
        relation=relation,
        related=related,
        camera=by_kind["camera"].value if "camera" in by_kind else "",
    )


def _event(by_kind: dict[str, Statement], key: str) -> tuple[str, Statement | None]:
    if key.startswith(
        (
            "side by side",
            "left and right",
            "between",
            "on top",
            "in depth",
            "in line",
            "row",
            "list",
            "two stand",
        )
    ):
        return "none", None
    for event, needed in EVENTS:
        if all(kind in by_kind for kind in needed):
            return event, by_kind[needed[0]]
    return "none", None


def _relation(
    by_kind: dict[str, Statement], positions: dict[EntityRef | None, int], caption: RealizedCaption
) -> tuple[str, tuple[int, int] | None]:
    if caption.key == "between":
        return "between", (positions[by_kind["middle"].subject], -1)
    if caption.key == "on top":
        statement = by_kind["rests on"]
        return "on top of", (positions[statement.subject], positions[statement.object])
    if caption.key == "row":
        return "in a row", None
    if caption.key in ("in depth", "in line"):
        statement = by_kind["behind"]
        return "behind", (positions[statement.subject], 1 - positions[statement.subject])
    if caption.key in ("side by side", "left and right"):
        for kind in ("left of", "right of", "next to"):
            if kind in by_kind:
                statement = by_kind[kind]
                one, other = positions[statement.subject], positions[statement.object]
                if kind == "right of":
                    return "left of", (other, one)
                if kind == "next to":
                    return kind, (min(one, other), max(one, other))
                return kind, (one, other)
    return "", None


def _object_meaning(ref: EntityRef, caption: RealizedCaption) -> ObjectMeaning:
    own = {s.kind: s for s in caption.statements if s.subject == ref}
    many = isinstance(ref, str)
    count = (own["count"].number or 0) if "count" in own else 0 if many else 1
    shape = own["shape"].value if "shape" in own else ""
    return ObjectMeaning(
        shape=EQUIVALENT_SHAPES.get(shape, shape),
        colour=own["colour"].value if "colour" in own else "",
        size=own["size"].value if "size" in own else "",
        count=count,
    )
