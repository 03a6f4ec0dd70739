"""Words for shapes, colours, materials, patterns, sizes and numbers, and morphology.

The first word of every entry is the one that 'core' captions use; the others are synonyms. No word stands
for two shapes or two colours, so that references are unambiguous.
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
"""Shapes that 'lie' rather than 'stand'."""

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
    """Adjectives of a material: `appearance` goes before the colour ('shiny red'), `substance` after it
    ('red metal')."""

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
"""Patterns worded as 'red and white striped'. Spots follow the noun: 'with white spots'."""

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
"""Heads of groups that form a unit: 'a tower of four blocks'."""

MANY_COLOURS = ("colourful", "multicoloured")

WEIGHTS = {"light": ("lightweight", "featherweight"), "heavy": ("heavy", "weighty")}
"""'Light' is left out: in 'a light green ball' it would describe the colour."""

IRREGULAR_THIRD_PERSON: dict[str, str] = {"be": "is", "do": "does", "go": "goes", "have": "has"}
"""Third-person forms that the spelling rules do not cover."""

_DOUBLES_CONSONANT = re.compile(r"[^aeiou]*[aeiou][bdgklmnprtz]")


def third_person(verb: str) -> str:
    """The third person of a verb: 'roll' -> 'rolls', 'push' -> 'pushes', 'carry' -> 'carries'."""
    if verb in IRREGULAR_THIRD_PERSON:
        return IRREGULAR_THIRD_PERSON[verb]
    if verb.endswith(("s", "sh", "ch", "x", "z")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def present_participle(verb: str) -> str:
    """The -ing form of a verb: 'roll' -> 'rolling', 'slide' -> 'sliding', 'hit' -> 'hitting'."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("be", "ee", "ye", "oe")):
        return verb[:-1] + "ing"
    if _DOUBLES_CONSONANT.fullmatch(verb):
        return verb + verb[-1] + "ing"
    return verb + "ing"


def pluralize(noun: str) -> str:
    """The plural of a noun: 'cube' -> 'cubes', 'toy car' -> 'toy cars', 'domino' -> 'dominoes'."""
    head, space, last = noun.rpartition(" ")
    return head + space + PLURALS.get(last, last + "s")


def add_article(phrase: str) -> str:
    """Put the indefinite article in front: 'a red ball', 'an orange ball'."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def number_word(number: int) -> str:
    """The number as a word up to twelve, as digits above."""
    return NUMBERS[number] if number < len(NUMBERS) else str(number)
