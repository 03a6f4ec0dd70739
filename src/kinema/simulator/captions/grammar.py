"""Agreement of verbs, and the small matters of writing a list or a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from kinema.simulator.captions import lexicon

VerbForm = Literal["finite", "gerund"]

_VERB = re.compile(r"\[(!?)([a-z]+)\]")
SUBJECT_PRONOUN = re.compile(r"\bit (?=\[)")


def inflect(text: str, *, plural: bool, form: VerbForm = "finite", contractions: bool = False) -> str:
    """Every `[verb]` in agreement with its subject; with `form='gerund'` the first one ends in -ing.

    `contractions` writes 'doesn't' for 'does not'. After a gerund, verbs tied by 'and' are gerunds too;
    those of clauses with their own pronoun stay finite.
    """
    gerund = form == "gerund"

    def verb(match: re.Match[str]) -> str:
        negated, word = match.groups()
        finite = not gerund or re.search(r"(it|they|which) $", text[: match.start()]) is not None
        if not finite:
            if word == "be" and not negated:
                return ""
            return ("not " if negated else "") + lexicon.present_participle(word)
        if negated:
            auxiliary = "do" if plural else "does"
            return (auxiliary + ("n't " if contractions else " not ")) + word
        if word == "be":
            return "are" if plural else "is"
        return word if plural else lexicon.third_person(word)

    return _VERB.sub(verb, text)


def normalize_spacing(text: str) -> str:
    """Single spaces, none before a comma."""
    return re.sub(r"\s+", " ", text).replace(" ,", ",").strip()


def join_list(parts: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    if len(parts) < 2:
        return "".join(parts)
    if any(", " in part for part in parts):
        return f"{', '.join(parts[:-1])}, and {parts[-1]}"
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
