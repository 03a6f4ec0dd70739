"""The words for things: shapes, colours, materials, patterns, sizes, numbers and the verbs' odd forms.

The first word of every entry is the plain one, used in 'core' captions; the others are its everyday
synonyms. No word stands for two shapes or two colours, so a caption always says which thing it means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SHAPES: dict[str, tuple[str, ...]] = {
    "ball": ("ball", "sphere", "orb"),
    "egg": ("egg",),
    "cube": ("cube", "cubic block"),
    "cylinder": ("cylinder", "drum"),
    "cone": ("cone",),
    "capsule": ("capsule", "pill"),
    "ring": ("ring", "hoop"),
    "disc": ("disc", "disk", "puck"),
    "pyramid": ("pyramid",),
    "prism": ("prism", "triangular prism", "wedge"),
    "gem": ("gem", "jewel", "gemstone"),
    "octahedron": ("octahedron", "double pyramid"),
    "hexagonal block": ("hexagonal block", "hexagonal prism"),
    "car": ("car", "toy car"),
    "snowman": ("snowman",),
    "pin": ("bowling pin", "pin", "skittle"),
    "domino": ("domino",),
    "block": ("block", "brick"),
    "wall": ("wall", "barrier"),
    "screen": ("screen", "panel", "partition"),
    "ramp": ("ramp", "slope", "incline"),
    "table": ("table", "tabletop"),
    "plank": ("seesaw", "teeter-totter"),
    "pivot": ("pivot",),
    "box": ("box", "crate", "open box"),
    "rod": ("rod",),
}

LYING_SHAPES = ("egg", "capsule", "ring", "disc")
"""What nobody would say stands: these lie."""

PLURALS = {
    "box": "boxes",
    "snowman": "snowmen",
    "domino": "dominoes",
    "octahedron": "octahedra",
}

COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet", "bright red"),
    "orange": ("orange", "tangerine", "bright orange"),
    "yellow": ("yellow", "lemon-yellow", "canary-yellow", "bright yellow"),
    "green": ("green", "emerald", "grass-green"),
    "cyan": ("cyan", "turquoise", "aqua"),
    "blue": ("blue", "cobalt", "royal-blue", "deep blue"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose-pink", "rosy"),
    "white": ("white", "snow-white", "ivory"),
    "black": ("black", "jet-black", "pitch-black"),
    "brown": ("brown", "chocolate-brown", "chestnut"),
    "gray": ("gray", "grey", "ash-gray"),
}


@dataclass(frozen=True, kw_only=True)
class MaterialAdjectives:
    """Adjectives for a material: `appearance` before the colour ('shiny red'), `substance` after it ('red metal')."""

    substance: tuple[str, ...]
    appearance: tuple[str, ...] = ()


MATERIALS: dict[str, MaterialAdjectives] = {
    "plastic": MaterialAdjectives(substance=("plastic",), appearance=("shiny", "glossy")),
    "rubber": MaterialAdjectives(substance=("rubber",), appearance=("bouncy", "dull")),
    "metal": MaterialAdjectives(
        substance=("metal", "metallic", "steel"), appearance=("polished", "gleaming")
    ),
    "glass": MaterialAdjectives(substance=("glass", "crystal"), appearance=("transparent", "see-through")),
    "wood": MaterialAdjectives(substance=("wooden",), appearance=("carved",)),
    "marble": MaterialAdjectives(substance=("marble", "stone"), appearance=("smooth",)),
    "clay": MaterialAdjectives(substance=("clay",), appearance=("matte", "chalky")),
    "glowing": MaterialAdjectives(substance=("glowing", "luminous", "shining")),
}

PATTERNS: dict[str, tuple[str, ...]] = {
    "striped": ("striped", "stripy"),
    "checkered": ("checkered", "chequered"),
    "two-tone": ("two-tone", "two-coloured"),
}
"""Patterns said as 'red and white striped'. Spots are said behind the noun: 'with white spots'."""

SPOTS = ("with {colour} spots", "with {colour} dots")

SIZES: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium-sized",),
    "large": ("large", "big"),
}

NUMBERS = (
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
)

GROUP_HEADS = {
    "block": ("tower of", "stack of"),
    "cube": ("tower of", "stack of"),
    "domino": ("row of", "line of"),
}
"""What several of them form, when they stand as one: 'a tower of four blocks'."""

MANY_COLOURS = ("colourful", "multicoloured")

WEIGHTS = {"light": ("lightweight", "featherweight"), "heavy": ("heavy", "weighty")}
"""Not 'light': a light green ball is one of a pale green."""

IRREGULAR_THIRD_PERSON: dict[str, str] = {"be": "is", "do": "does", "go": "goes", "have": "has"}
"""Third persons that the spelling rules don't give."""

_DOUBLES_CONSONANT = re.compile(r"[^aeiou]*[aeiou][bdgklmnprtz]")


def third_person(verb: str) -> str:
    """'roll' -> 'rolls', 'push' -> 'pushes', 'carry' -> 'carries'."""
    if verb in IRREGULAR_THIRD_PERSON:
        return IRREGULAR_THIRD_PERSON[verb]
    if verb.endswith(("s", "sh", "ch", "x", "z")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def present_participle(verb: str) -> str:
    """'roll' -> 'rolling', 'slide' -> 'sliding', 'hit' -> 'hitting', 'lie' -> 'lying'."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("be", "ee", "ye", "oe")):
        return verb[:-1] + "ing"
    if _DOUBLES_CONSONANT.fullmatch(verb):
        return verb + verb[-1] + "ing"
    return verb + "ing"


def pluralize(noun: str) -> str:
    """'cube' -> 'cubes', 'toy car' -> 'toy cars', 'domino' -> 'dominoes'."""
    head, space, last = noun.rpartition(" ")
    return head + space + PLURALS.get(last, last + "s")


def add_article(phrase: str) -> str:
    """'red ball' -> 'a red ball', 'orange ball' -> 'an orange ball'."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def number_word(number: int) -> str:
    """The number in letters up to twelve, in digits above."""
    return NUMBERS[number] if number < len(NUMBERS) else str(number)
