"""What can be seen in a clip of the whole simulator, as labels for a classifier.

The attributes are event, outcome, camera, floor, place, background, shapes, colours and materials.
The labels are read from the JSON of a clip's annotations (`annotation_io.annotations_to_json`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from kinema.models.scene_classifier import ClassifiedAttribute
from kinema.simulator.annotations import PAIRED_EVENTS, CameraMove, Colour, Material, Shape
from kinema.simulator.appearance.environments import LAB_SKY, SKIES
from kinema.simulator.captions.environment_phrases import BACKGROUNDS, FLOORS, WALLS
from kinema.simulator.events import EVENT_TYPES

_NO_BACKGROUND = "nothing"
_LOOKS_LIKE = {
    "dolly in": "zoom in", "dolly out": "zoom out", "truck left": "pan left", "truck right": "pan right",
}  # fmt: skip
"""Camera moves that differ from another one in the parallax alone, which small scenes hardly have."""
_MIRRORED_WORDS = {
    "left": "right", "right": "left", "clockwise": "counterclockwise", "counterclockwise": "clockwise",
}  # fmt: skip


_EVENTS = tuple(sorted(name for name in EVENT_TYPES if name not in PAIRED_EVENTS))
SCENE_ATTRIBUTES: tuple[ClassifiedAttribute, ...] = (
    ClassifiedAttribute(name="event", values=_EVENTS),
    ClassifiedAttribute(
        name="outcome",
        values=tuple(f"{name}: {one}" for name in _EVENTS for one in EVENT_TYPES[name].outcomes),
    ),
    ClassifiedAttribute(name="camera", values=get_args(CameraMove), from_motion=True),
    ClassifiedAttribute(name="floor", values=tuple(FLOORS)),
    ClassifiedAttribute(name="place", values=(*SKIES, LAB_SKY)),
    ClassifiedAttribute(
        name="background", values=(_NO_BACKGROUND, *BACKGROUNDS, *(f"{one} wall" for one in WALLS))
    ),
    ClassifiedAttribute(name="shapes", values=get_args(Shape), several=True),
    ClassifiedAttribute(name="colours", values=get_args(Colour), several=True),
    ClassifiedAttribute(name="materials", values=get_args(Material), several=True),
)
"""Events that come in pairs look like others and have no label."""


@dataclass(frozen=True, kw_only=True)
class SceneLabels:
    """The labels of one clip, by the name of the attribute. An attribute without a label is left out."""

    one: Mapping[str, str]
    """Of attributes with one value."""
    several: Mapping[str, frozenset[str]]
    """Of attributes with several: the values of all objects."""
    main: Mapping[str, frozenset[str]]
    """The values of the objects that the event is about, without those in the background."""


def read_scene_labels(annotations: str) -> SceneLabels:
    """Read the labels of a clip from the JSON of its annotations."""
    plain = json.loads(annotations)
    environment = plain["environment"]
    background = environment["background"]
    if background == "wall":
        background = f"{environment['wall']} wall"
    one = {
        "camera": plain["camera"],
        "floor": environment["floor"],
        "place": environment["sky"],
        "background": background if background in _values("background") else _NO_BACKGROUND,
    }
    if plain["event"] not in PAIRED_EVENTS:
        one["event"] = plain["event"]
        one["outcome"] = f"{plain['event']}: {plain['outcome']}"
    entities = plain["entities"]
    main = [entity for entity in entities if entity["role"] != "background"]
    return SceneLabels(
        one={name: value for name, value in one.items() if value in _values(name)},
        several=_object_values(entities),
        main=_object_values([entity for entity in main if entity["named"] or entity["group"]]),
    )


def mirror_labels(labels: SceneLabels) -> SceneLabels:
    """The labels of the mirrored video: left and right, and the senses of rotation, are exchanged."""

    def mirror(value: str) -> str:
        return " ".join(_MIRRORED_WORDS.get(word, word) for word in value.split(" "))

    return SceneLabels(
        one={name: mirror(value) for name, value in labels.one.items()},
        several=labels.several,
        main=labels.main,
    )


def merge_alike(values: Iterable[str]) -> frozenset[str]:
    """The values of an attribute with those that look alike replaced by one of them: a dolly by a zoom."""
    return frozenset(_LOOKS_LIKE.get(value, value) for value in values)


def measure_accuracy(
    pairs: Iterable[tuple[SceneLabels, Mapping[str, frozenset[str]]]],
) -> dict[str, float]:
    """The accuracy of a classifier for each attribute.

    For an attribute with one value it is the share of the clips in which the value is right, or looks alike
    (`merge_alike`). For one with
    several it is the mean of two shares: of the values of the main objects that were seen, and of the values
    that no object has that were not seen.

    Args:
        pairs: the labels of a clip, and the values that were seen.
    """
    right: dict[str, list[bool]] = {one.name: [] for one in SCENE_ATTRIBUTES}
    absent: dict[str, list[bool]] = {one.name: [] for one in SCENE_ATTRIBUTES if one.several}
    for labels, seen in pairs:
        for attribute in SCENE_ATTRIBUTES:
            found = seen[attribute.name]
            if not attribute.several:
                if attribute.name in labels.one:
                    value = labels.one[attribute.name]
                    right[attribute.name].append(merge_alike([value]) <= merge_alike(found))
                continue
            right[attribute.name] += [value in found for value in labels.main[attribute.name]]
            others = set(attribute.values) - labels.several[attribute.name]
            absent[attribute.name] += [value not in found for value in others]
    accuracy = {name: sum(values) / len(values) for name, values in right.items() if values}
    return {
        name: (value + sum(absent[name]) / len(absent[name])) / 2 if name in absent else value
        for name, value in accuracy.items()
    }


def _values(name: str) -> tuple[str, ...]:
    return next(attribute.values for attribute in SCENE_ATTRIBUTES if attribute.name == name)


def _object_values(entities: list[dict[str, Any]]) -> dict[str, frozenset[str]]:
    colours = {entity[key] for entity in entities for key in ("colour", "second_colour")} - {None}
    return {
        "shapes": frozenset(entity["shape"] for entity in entities),
        "colours": frozenset(colours),
        "materials": frozenset(entity["material"] for entity in entities),
    }
