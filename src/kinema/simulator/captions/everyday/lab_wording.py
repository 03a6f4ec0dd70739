"""Writes a meaning in the wording of the lab's captions, the wording that models of the lab follow best.

    write_lab_caption(meaning, random.Random(0))    # 'a red ball rolls to the left and hits a blue cube'

What the meaning leaves open (colours, shapes, directions, outcomes) is chosen at random. The same random
state gives the same caption.
"""

from __future__ import annotations

import random
import re

from kinema.simulator.attributes import LAB_COLOURS
from kinema.simulator.captions.everyday.meaning import Meaning, ObjectMeaning
from kinema.simulator.captions.everyday.slots import MAX_OBJECTS, order_objects
from kinema.simulator.captions.lexicon import NUMBERS, add_article, pluralize

_SHAPES = {"ball": "ball", "cube": "cube", "cylinder": "cylinder", "cone": "cone", "wall": "screen"}
_DIRECTIONS = {
    "left": "to the left",
    "right": "to the right",
    "toward": "toward the camera",
    "away": "away from the camera",
}
_SIDEWAYS = ("left", "right")
_CAMERA_CLAUSES = {
    "static": "stays still",
    "pan left": "pans left",
    "pan right": "pans right",
    "tilt up": "tilts up",
    "tilt down": "tilts down",
    "zoom in": "zooms in",
    "zoom out": "zooms out",
    "dolly in": "moves closer",
    "dolly out": "pulls back",
    "truck left": "slides left",
    "truck right": "slides right",
    "crane up": "rises",
    "crane down": "sinks down",
    "orbit left": "circles to the left",
    "orbit right": "circles to the right",
}
_FALL_ENDINGS = {
    "bounce": "bounces high",
    "bounce a little": "bounces a little",
    "fall without a bounce": "lands without bouncing",
    "land on": "lands on {other}",
    "land beside": "lands beside {other}",
}
_MEETING_ENDINGS = {
    "hit": " and hits {other}",
    "hit, it stays": " and hits {other}",
    "push": " and hits {other}",
    "knock over": " and hits {other}, which tips over",
    "miss": " and misses {other}",
    "stop short": ", but stops before reaching {other}",
}
_HIDING_ENDINGS = {
    "hide and come out": ", disappears behind {other} and reappears on the {direction}",
    "hide and stay": ", disappears behind {other} and stays hidden",
    "pass in front": " and passes in front of {other}",
}
_MAX_COUNT, _MAX_COUNTS = 5, {"ball": 4, "": 4}
"""Largest numbers of equal objects that the lab has: of most shapes, and of some."""


def write_lab_caption(meaning: Meaning, rng: random.Random) -> str | None:
    """Write a meaning as a caption of the lab.

    Args:
        meaning: what to say. The wording has no sizes.
        rng: chooses what the meaning leaves open.

    Returns:
        The caption, or None for what the lab does not have: another event, shape or colour, or too many
        objects.
    """
    objects = list(order_objects(meaning))
    if not objects or len(objects) > MAX_OBJECTS or any(not _is_of_lab(obj) for obj in objects):
        return None
    is_group = objects[0].count != 1
    if any(obj.count > _MAX_COUNTS.get(obj.shape, _MAX_COUNT) for obj in objects) or (
        # Groups of equal objects stand or roll, with nothing else in the scene.
        (len(objects) > 1 and {obj.count for obj in objects} != {1})
        or (is_group and meaning.event not in ("none", "still", "move"))
    ):
        return None
    clause = _write_clause(meaning, objects, rng)
    if clause is None:
        return None
    camera = _CAMERA_CLAUSES.get(meaning.camera)
    if meaning.camera and camera is None:
        return None
    # Captions state the camera of objects at rest only: in all others it does not move. That of a single
    # object at rest is always stated.
    standing = meaning.event in ("none", "still") and not is_group
    if camera is None and standing and len(objects) == 1:
        camera = _CAMERA_CLAUSES["static"]
    if len(objects) == MAX_OBJECTS:
        return clause if meaning.camera in ("", "static") else None
    return f"{clause} as the camera {camera}" if camera and standing else clause


def _is_of_lab(obj: ObjectMeaning) -> bool:
    return obj.shape in ("", *_SHAPES) and obj.colour in ("", *LAB_COLOURS)


def _write_clause(meaning: Meaning, objects: list[ObjectMeaning], rng: random.Random) -> str | None:
    event, relation = meaning.event, meaning.relation
    if event in ("none", "still"):
        if len(objects) == 1:
            return _write_standing(objects[0], rng)
        if len(objects) == MAX_OBJECTS:
            return _write_row(objects, rng) if relation in ("", "between") else None
        if relation not in ("", "left of", "next to"):
            return None
        one, other = _name(objects, ("", ""), rng)
        # The lab's camera sees the first object of 'next to' or of a list on either side.
        return f"{one} stands to the {'left' if relation == 'left of' else rng.choice(_SIDEWAYS)} of {other}"
    if event in ("move", "stop"):
        return _write_move(meaning, objects, rng)
    if event in ("fall", *_FALL_ENDINGS):
        if event == "fall":
            # Without another object, a ball bounces or not, and everything else only falls.
            is_ball = objects[0].shape in ("ball", "")
            event = rng.choice(("bounce", "bounce a little")) if is_ball else "fall without a bounce"
        # A ball alone bounces; everything lands without a bounce.
        default = ("ball", "") if event in ("bounce", "bounce a little") else ("", "cube")
        if (len(objects) == 2) != (event in ("land on", "land beside")):
            return None
        one, *rest = _name(objects, default, rng)
        return f"{one} falls down and {_FALL_ENDINGS[event].format(other=rest[0] if rest else '')}"
    direction = meaning.direction if meaning.direction in _SIDEWAYS else rng.choice(_SIDEWAYS)
    if event == "hide":
        event = rng.choice(("hide and come out", "hide and stay"))
    for endings, default in ((_MEETING_ENDINGS, "cube"), (_HIDING_ENDINGS, "wall")):
        if event in endings and len(objects) == 2:
            if event == "knock over":
                default = "cylinder"
            one, other = _name(objects, ("ball", default), rng)
            verb = "rolls" if objects[0].shape in ("ball", "") else "slides"
            ending = endings[event].format(other=other, direction=direction)
            return f"{one} {verb} {_DIRECTIONS[direction]}{ending}"
    return None


def _write_standing(obj: ObjectMeaning, rng: random.Random) -> str:
    [name] = _name([obj], ("",), rng)
    return f"{name} {'is' if obj.count == 1 else 'are'} on the ground"


def _write_row(objects: list[ObjectMeaning], rng: random.Random) -> str | None:
    if any(obj.shape == "wall" for obj in objects):
        return None
    left, middle, right = _name(objects, ("", "", ""), rng)
    return f"{left} is on the left, {middle} in the middle and {right} on the right"


def _write_move(meaning: Meaning, objects: list[ObjectMeaning], rng: random.Random) -> str | None:
    if len(objects) > 1:
        return None
    [obj] = objects
    [name] = _name(objects, ("ball",), rng)
    direction = meaning.direction if meaning.direction in _DIRECTIONS else rng.choice(_SIDEWAYS)
    verb = "roll" if obj.shape in ("ball", "") else "slide"
    ending = " and stop" if meaning.event == "stop" else ""
    if obj.count == 1:
        return f"{name} {verb}s {_DIRECTIONS[direction]}{ending + 's' if ending else ''}"
    return f"{name} {verb} {_DIRECTIONS[direction]}{ending}"


def _name(objects: list[ObjectMeaning], default: tuple[str, ...], rng: random.Random) -> list[str]:
    """Noun phrases of the objects, with different colours."""
    stated = {obj.colour for obj in objects}
    free = [colour for colour in LAB_COLOURS if colour not in stated]
    rng.shuffle(free)
    names = []
    for obj, own_default in zip(objects, default, strict=False):
        shape = obj.shape or own_default or rng.choice(("ball", "cube", "cylinder", "cone"))
        noun = f"{obj.colour or free.pop()} {_SHAPES[shape]}"
        count = obj.count or rng.randint(2, 4)
        names.append(add_article(noun) if count == 1 else f"{NUMBERS[count]} {pluralize(noun)}")
    return names


_COLOUR = "|".join(LAB_COLOURS)
_NOUN = "ball|cube|cylinder|cone|screen"
_ADJECTIVES = rf"(?:(?:small|large|plastic|rubber) )*(?:{_COLOUR}) (?:(?:plastic|rubber) )?"
_OBJECT = rf"(?:(?:an?|another) {_ADJECTIVES}(?:{_NOUN})|(?:two|three|four|five) {_ADJECTIVES}(?:{_NOUN})s)"
_LAB_CAPTION = re.compile(
    rf"{_OBJECT} (?:"
    rf"stands? to the (?:left|right) of {_OBJECT}"
    rf"|is on the left, {_OBJECT} in the middle and {_OBJECT} on the right"
    r"|(?:is|are) on the ground"
    rf"|falls down and (?:bounces high|bounces a little|lands without bouncing|lands (?:on|beside) {_OBJECT})"
    rf"|(?:rolls?|slides?) (?:{'|'.join(_DIRECTIONS.values())})(?: and stops?"
    rf"| and hits {_OBJECT}(?:, which tips over)?"
    rf"| and misses {_OBJECT}|, but stops before reaching {_OBJECT}| and passes in front of {_OBJECT}"
    rf"|, disappears behind {_OBJECT} and (?:stays hidden|reappears on the (?:left|right)))?"
    rf")(?: as the camera (?:{'|'.join(_CAMERA_CLAUSES.values())}))?\.?",
    re.IGNORECASE,
)


def is_lab_caption(text: str) -> bool:
    """Whether a prompt already has the wording of the lab's plain captions."""
    return _LAB_CAPTION.fullmatch(" ".join(text.split())) is not None
