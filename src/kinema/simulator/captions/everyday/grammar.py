"""Inflection of verbs and nouns, articles, spacing and capitals."""

from __future__ import annotations

import re

_PAST = {
    "be": "was",
    "hit": "hit",
    "run": "ran",
    "strike": "struck",
    "slide": "slid",
    "drive": "drove",
    "ride": "rode",
    "go": "went",
    "shoot": "shot",
    "speed": "sped",
    "creep": "crept",
    "fly": "flew",
    "fall": "fell",
    "come": "came",
    "throw": "threw",
    "spin": "spun",
    "swing": "swung",
    "stand": "stood",
    "sit": "sat",
    "send": "sent",
    "leave": "left",
    "make": "made",
    "fling": "flung",
    "spring": "sprang",
    "leap": "leapt",
    "upset": "upset",
    "hide": "hid",
    "get": "got",
    "shake": "shook",
}
_PARTICIPLE = _PAST | {
    "be": "been",
    "run": "run",
    "drive": "driven",
    "ride": "ridden",
    "go": "gone",
    "fly": "flown",
    "fall": "fallen",
    "come": "come",
    "throw": "thrown",
    "spring": "sprung",
    "hide": "hidden",
}
_THIRD = {"be": "is", "do": "does", "go": "goes", "have": "has"}
_DOUBLED = re.compile(r"[^aeiou]*[aeiou][bdgklmnprt]|propel")
_PLURALS = {
    "snowman": "snowmen",
    "domino": "dominoes",
    "box": "boxes",
    "torus": "tori",
    "octahedron": "octahedra",
}


def inflect(verb: str, form: str, *, plural: bool) -> str:
    """Inflect the first word of a verb phrase.

    Args:
        verb: the base form, with particles ('tip over').
        form: 's' (present, agrees), 'base', 'ing', 'ed' (participle) or 'past'.
        plural: whether the subject is plural.
    """
    first, _, rest = verb.partition(" ")
    if plural:
        rest = re.sub(r"\bits\b", "their", re.sub(r"\bit is\b", "they are", rest))
    if form == "s" and not plural:
        first = _THIRD.get(first) or (
            first + "es"
            if re.search(r"(s|sh|ch|x|z)$", first)
            else first[:-1] + "ies"
            if re.search(r"[^aeiou]y$", first)
            else first + "s"
        )
    elif form == "s":
        first = "are" if first == "be" else first
    elif form == "ing":
        first = (
            first[:-2] + "ying"
            if first.endswith("ie")
            else first[:-1] + "ing"
            if first.endswith("e") and not first.endswith(("ee", "be", "ye", "oe"))
            else first + first[-1] + "ing"
            if _DOUBLED.fullmatch(first)
            else first + "ing"
        )
    elif form in ("ed", "past"):
        table = _PARTICIPLE if form == "ed" else _PAST
        if first == "be" and form == "past" and plural:
            first = "were"
        else:
            first = table.get(first) or (
                first + "d"
                if first.endswith("e")
                else first[:-1] + "ied"
                if re.search(r"[^aeiou]y$", first)
                else first + first[-1] + "ed"
                if _DOUBLED.fullmatch(first)
                else first + "ed"
            )
    return f"{first} {rest}".strip()


def pluralize(noun: str) -> str:
    """'cube' -> 'cubes', 'toy box' -> 'toy boxes'."""
    head, space, last = noun.rpartition(" ")
    if last in _PLURALS:
        return head + space + _PLURALS[last]
    return head + space + (last + "es" if last.endswith(("s", "x", "sh", "ch")) else last + "s")


def normalize_spacing(text: str) -> str:
    """Remove repeated spaces, spaces before punctuation, and repeated commas and full stops."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" ([,.;:])", r"\1", text)
    text = re.sub(r"([,.;:])[,;:]+", r"\1", text)
    text = re.sub(r"[,;:]?\.[,.;:]*", ".", text)
    return text.strip(" ,;:")


def fix_articles(text: str) -> str:
    """Choose 'a' or 'an' by the letter that follows."""
    return re.sub(r"\ba (?=[aeiou])", "an ", re.sub(r"\ban (?=[^aeiou])", "a ", text))


def format_sentences(text: str) -> str:
    """Capitalize the start of every sentence and end the last one with a full stop."""
    text = re.sub(r"(^|[.!?] )([a-z])", lambda m: m[1] + m[2].upper(), text)
    return text if text[-1] in ".!?" else text + "."
