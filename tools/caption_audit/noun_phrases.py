"""Parses noun phrases: 'a small red ball', 'the other cube', 'four of the blocks'.

The word tables are deliberately independent of the captions' lexicon, so that errors in either are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kinema.simulator.annotations import ClipAnnotations, EntityAnnotation

NOUNS: dict[str, str] = {
    "ball": "ball", "sphere": "ball", "orb": "ball", "egg": "egg", "cube": "cube", "cubic block": "cube",
    "cylinder": "cylinder", "drum": "cylinder", "cone": "cone", "capsule": "capsule", "pill": "capsule",
    "ring": "ring", "hoop": "ring", "disc": "disc", "disk": "disc", "puck": "disc", "pyramid": "pyramid",
    "triangular prism": "prism", "hexagonal prism": "hexagonal block", "prism": "prism", "wedge": "prism",
    "gem": "gem", "jewel": "gem", "gemstone": "gem", "octahedron": "octahedron",
    "double pyramid": "octahedron", "hexagonal block": "hexagonal block", "toy car": "car", "car": "car",
    "snowman": "snowman", "bowling pin": "pin", "pin": "pin", "skittle": "pin", "domino": "domino",
    "block": "block", "brick": "block", "wall": "wall", "barrier": "wall", "screen": "screen",
    "panel": "screen", "partition": "screen", "ramp": "ramp", "slope": "ramp", "incline": "ramp",
    "tabletop": "table", "table": "table", "seesaw": "plank", "teeter-totter": "plank", "open box": "box",
    "box": "box", "crate": "box", "object": "",
}  # fmt: skip

COLOURS: dict[str, str] = {
    "red": "red", "crimson": "red", "scarlet": "red", "bright red": "red", "orange": "orange",
    "tangerine": "orange", "bright orange": "orange", "yellow": "yellow", "lemon-yellow": "yellow",
    "canary-yellow": "yellow", "bright yellow": "yellow", "green": "green", "emerald": "green",
    "grass-green": "green", "cyan": "cyan", "turquoise": "cyan", "aqua": "cyan", "blue": "blue",
    "cobalt": "blue", "royal-blue": "blue", "deep blue": "blue", "purple": "purple", "violet": "purple",
    "pink": "pink", "rose-pink": "pink", "rosy": "pink", "white": "white", "snow-white": "white",
    "ivory": "white", "black": "black", "jet-black": "black", "pitch-black": "black", "brown": "brown",
    "chocolate-brown": "brown", "chestnut": "brown", "gray": "gray", "grey": "gray", "ash-gray": "gray",
}  # fmt: skip

MATERIALS: dict[str, str] = {
    "plastic": "plastic", "shiny": "plastic", "glossy": "plastic", "rubber": "rubber", "bouncy": "rubber",
    "dull": "rubber", "metal": "metal", "metallic": "metal", "steel": "metal", "polished": "metal",
    "gleaming": "metal", "glass": "glass", "crystal": "glass", "transparent": "glass",
    "see-through": "glass", "wooden": "wood", "carved": "wood", "marble": "marble", "stone": "marble",
    "smooth": "marble", "clay": "clay", "matte": "clay", "chalky": "clay", "glowing": "glowing",
    "luminous": "glowing", "shining": "glowing",
}  # fmt: skip

PATTERNS: dict[str, str] = {
    "striped": "striped", "stripy": "striped", "checkered": "checkered", "chequered": "checkered",
    "two-tone": "two-tone", "two-coloured": "two-tone",
}  # fmt: skip

SIZES: dict[str, str] = {
    "small": "small", "little": "small", "tiny": "small", "medium-sized": "medium", "large": "large",
    "big": "large",
}  # fmt: skip

WEIGHTS = {"lightweight": "light", "featherweight": "light", "heavy": "heavy", "weighty": "heavy"}
MANY_COLOURS = ("colourful", "multicoloured")
NUMBERS = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
        ]
    )
}
PLURALS = {"boxes": "box", "snowmen": "snowman", "dominoes": "domino", "octahedra": "octahedron"}


@dataclass(frozen=True, kw_only=True)
class Mention:
    """A noun phrase and the entity or group it refers to."""

    text: str
    entity: int | None = None
    group: str | None = None
    number: int | None = None
    """The stated number of members."""
    partial: bool = False
    """Whether it refers to part of a group: 'two of the blocks'."""
    error: str = ""
    """Why the phrase refers to nothing in the clip; empty if it does."""


def _alternatives(table: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(table, key=len, reverse=True))


_PLURAL_NOUNS = {
    **{noun + "s": shape for noun, shape in NOUNS.items()},
    **{many: NOUNS[one] for many, one in PLURALS.items()},
}
_ADJECTIVE = "|".join(
    _alternatives(table) for table in (COLOURS, MATERIALS, PATTERNS, SIZES, WEIGHTS, MANY_COLOURS)
)
_ADJECTIVES = rf"(?P<adjectives>(?:(?:{_ADJECTIVE})(?: and)? )*)"
_NUMBER = rf"(?P<number>{_alternatives(NUMBERS)}|\d+)"
_SPOTS = rf"(?: with (?P<spots>{_alternatives(COLOURS)}) (?:spots|dots))?"
_SINGULAR = re.compile(
    rf"(?P<determiner>a |an |the |another |other )?(?P<other>other )?{_ADJECTIVES}"
    rf"(?P<noun>{_alternatives(NOUNS)})\b"
    rf"(?!s)(?! (?:{_alternatives(NOUNS)})\b){_SPOTS}"
)
_PLURAL = re.compile(
    rf"(?:(?P<head>(?:a |the )?(?:tower|stack|row|line) of ))?(?P<the>the )?{_NUMBER}? ?{_ADJECTIVES}"
    rf"(?P<noun>{_alternatives(_PLURAL_NOUNS)})\b{_SPOTS}"
)
_GROUP_HEAD = re.compile(r"(?:the |a )?(?P<head>tower|stack|row|line)\b(?! of)")
_PARTITIVE = re.compile(
    rf"(?P<some>(?:just |only )?{_NUMBER}|all|none|every one|any) of "
    rf"(?:them|the (?P<noun>{_alternatives(_PLURAL_NOUNS)}))\b"
)


def _find_group(
    annotations: ClipAnnotations, shape: str, adjectives: str = "", spots: str | None = None
) -> str | None:
    colours = set(_parse_colours(adjectives))
    material = _first_match(MATERIALS, adjectives)
    patterned = spots or _first_match(PATTERNS, adjectives)
    for name in sorted({entity.group for entity in annotations.entities if entity.group}):
        members = [entity for entity in annotations.entities if entity.group == name]
        if shape and any(member.shape != shape for member in members):
            continue
        if patterned:
            # The colours belong to the pattern of each member.
            if not all(_matches_entity(member, shape, adjectives, spots) for member in members):
                continue
        elif colours and colours != {member.colour for member in members}:
            continue
        if material and any(member.material != material for member in members):
            continue
        return name
    return None


def _parse_colours(adjectives: str) -> list[str]:
    return [COLOURS[word] for word in re.findall(rf"\b(?:{_alternatives(COLOURS)})\b", adjectives)]


def _first_match(table: dict[str, str], adjectives: str) -> str | None:
    found = re.search(rf"(?<![\w-])(?:{_alternatives(table)})(?![\w-])", adjectives)
    return table[found.group()] if found else None


def _matches_entity(entity: EntityAnnotation, shape: str, adjectives: str, spots: str | None) -> bool:
    colours = _parse_colours(adjectives)
    pattern = _first_match(PATTERNS, adjectives)
    material = _first_match(MATERIALS, adjectives)
    size = _first_match(SIZES, adjectives)
    if shape and entity.shape != shape:
        return False
    if colours and entity.colour != colours[0]:
        return False
    if len(colours) > 1 and entity.second_colour != colours[1]:
        return False
    if spots and (entity.pattern != "spotted" or entity.second_colour != COLOURS[spots]):
        return False
    if pattern and entity.pattern != pattern:
        return False
    if material and entity.material != material:
        return False
    return not (size and entity.size != size)


def parse_mention(
    text: str, start: int, annotations: ClipAnnotations, mentioned: list[int]
) -> tuple[Mention, int] | None:
    """Parse the noun phrase at `start`; returns it with its end, or None."""
    some = _PARTITIVE.match(text, start)
    if some:
        shape = _PLURAL_NOUNS[some["noun"]] if some["noun"] else ""
        group = _find_group(annotations, shape)
        size = sum(entity.group == group for entity in annotations.entities)
        word = some["some"].removeprefix("just ").removeprefix("only ")
        number = {"all": size, "every one": size, "none": 0, "any": 0}.get(word)
        if number is None:
            number = NUMBERS[word] if word in NUMBERS else int(word)
        return Mention(text=some[0], group=group, number=number, partial=True), some.end()
    many = _PLURAL.match(text, start)
    if many:
        return _group_mention(many, annotations), many.end()
    head = _GROUP_HEAD.match(text, start)
    if head:
        shape = "domino" if head["head"] in ("row", "line") else ""
        group = _find_group(annotations, shape)
        return Mention(text=head[0], group=group, error="" if group else "no such group"), head.end()
    one = _SINGULAR.match(text, start)
    if one is None:
        return None
    return _entity_mention(one, annotations, mentioned), one.end()


def _group_mention(match: re.Match[str], annotations: ClipAnnotations) -> Mention:
    number = match["number"]
    count = (NUMBERS[number] if number in NUMBERS else int(number)) if number else None
    group = _find_group(annotations, _PLURAL_NOUNS[match["noun"]], match["adjectives"], match["spots"])
    if group is None:
        return Mention(text=match[0], number=count, error="no group of such things")
    return Mention(text=match[0], group=group, number=count)


def _entity_mention(match: re.Match[str], annotations: ClipAnnotations, mentioned: list[int]) -> Mention:
    adjectives, shape = match["adjectives"], NOUNS[match["noun"]]
    fitting = [e.index for e in annotations.entities if _matches_entity(e, shape, adjectives, match["spots"])]
    determiner = (match["determiner"] or "").strip()
    weight = _first_match(WEIGHTS, adjectives)
    if weight and annotations.cause != weight:
        return Mention(text=match[0], error=f"nothing here is {weight}")
    if not fitting:
        return Mention(text=match[0], error="nothing looks like that")
    old = [index for index in fitting if index in mentioned]
    new = [index for index in fitting if index not in mentioned]
    if match["other"] or determiner == "other":
        chosen = old[-1:] or new
    elif determiner == "the":
        chosen = old or new
    else:
        chosen = new or old
    return Mention(text=match[0], entity=chosen[0])
