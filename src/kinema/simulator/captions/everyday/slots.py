"""The meaning of a prompt as slots, each with one of a few values: what a classifier can predict.

The slots hold what the lab has. Everything else is `OTHER`: a meaning with it cannot be written in the lab's
wording, and is none of `slots_to_meaning`.
"""

from __future__ import annotations

from collections.abc import Mapping

from kinema.simulator.attributes import CAMERA_MOVES, LAB_COLOURS
from kinema.simulator.captions.everyday.meaning import Meaning, ObjectMeaning, order_by_role

OTHER = "other"
MAX_OBJECTS = 3
"""Objects, or groups of equal ones, of a clip of the lab."""
_EVENTS = (
    "none", "still", "move", "stop", "fall", "bounce", "bounce a little", "fall without a bounce", "land on",
    "land beside", "hit", "hit, it stays", "push", "knock over", "miss", "stop short", "hide",
    "hide and come out", "hide and stay", "pass in front",
)  # fmt: skip
SHAPES = ("ball", "cube", "cylinder", "cone", "wall")
_SLOTS_OF_OBJECT = {
    "shape": ("", *SHAPES, OTHER),
    "colour": ("", *LAB_COLOURS, OTHER),
    "count": ("0", "1", "2", "3", "4", "5", OTHER),
}
SLOTS: dict[str, tuple[str, ...]] = {
    "event": (*_EVENTS, OTHER),
    "direction": ("", "left", "right", "toward", "away", OTHER),
    "relation": ("", "left of", "next to", "between", OTHER),
    "camera": ("", *CAMERA_MOVES, OTHER),
    "objects": ("1", "2", "3", OTHER),
    **{
        f"{name} {number}": values
        for number in range(1, MAX_OBJECTS + 1)
        for name, values in _SLOTS_OF_OBJECT.items()
    },
}
"""Values of each slot. Objects are in the order of `order_objects`. The slots of an object that is not there
have no meaning."""

_RELATIONS = {
    (2, "left of"): ("left of", (0, 1)),
    (2, "next to"): ("next to", (0, 1)),
    (3, "between"): ("between", (1, -1)),
}
"""Relation and related objects, by the number of objects and the value of the slot."""


def order_objects(meaning: Meaning) -> tuple[ObjectMeaning, ...]:
    """The objects in the order of `order_by_role`; the one between two others is the second."""
    order = order_by_role(meaning)
    if meaning.relation == "between" and meaning.actor is None and len(order) == MAX_OBJECTS:
        middle, first, last = order
        order = [first, middle, last]
    return tuple(meaning.objects[k] for k in order)


def meaning_to_slots(meaning: Meaning) -> dict[str, int | None]:
    """The index of the value of each slot; None for the slots of an object that is not there."""
    objects = order_objects(meaning)
    values: dict[str, str] = {
        "event": meaning.event,
        "direction": "" if meaning.direction == "down" else meaning.direction,
        "relation": meaning.relation,
        "camera": meaning.camera,
        "objects": str(len(objects)),
    }
    for number, obj in enumerate(objects[:MAX_OBJECTS], 1):
        values |= {
            f"shape {number}": obj.shape,
            f"colour {number}": obj.colour,
            f"count {number}": str(obj.count),
        }
    return {
        name: None
        if name not in values
        else options.index(values[name] if values[name] in options else OTHER)
        for name, options in SLOTS.items()
    }


def used_slots(values: Mapping[str, str]) -> tuple[str, ...]:
    """The slots that have a meaning: all of `values` but those of objects that are not there."""
    count = MAX_OBJECTS if values["objects"] == OTHER else int(values["objects"])
    return tuple(name for name in values if not name[-1].isdigit() or int(name[-1]) <= count)


def slots_to_meaning(values: Mapping[str, str]) -> Meaning | None:
    """The meaning of one value for each slot; None if it is not one of the lab."""
    if values["objects"] == OTHER:
        return None
    if any(values[name] == OTHER for name in used_slots(values)):
        return None
    count = int(values["objects"])
    objects = tuple(
        ObjectMeaning(
            shape=values[f"shape {number}"],
            colour=values[f"colour {number}"],
            count=int(values[f"count {number}"]),
        )
        for number in range(1, count + 1)
    )
    acts = values["event"] != "none"
    relation, related = _RELATIONS.get((count, values["relation"]), ("", None))
    return Meaning(
        objects=objects,
        event=values["event"],
        direction=values["direction"],
        actor=0 if acts else None,
        patient=1 if acts and count > 1 else None,
        relation=relation,
        related=related,
        camera=values["camera"],
    )
