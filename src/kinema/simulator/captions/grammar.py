"""Verb agreement, spacing and lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from kinema.simulator.captions import lexicon

VerbForm = Literal["finite", "gerund"]

_VERB = re.compile(r"\[(!?)([a-z]+)\]")
SUBJECT_PRONOUN = re.compile(r"\bit (?=\[)")


def inflect(text: str, *, plural: bool, form: VerbForm = "finite", contractions: bool = False) -> str:
    """Inflect every `[verb]` of a clause.

    Args:
        text: the clause; `[!verb]` is negated.
        plural: whether the subject is plural.
        form: 'gerund' turns verbs into -ing forms, except in clauses with their own pronoun.
        contractions: write 'doesn't' instead of 'does not'.
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
    """Collapse spaces and remove those before commas."""
    return re.sub(r"\s+", " ", text).replace(" ,", ",").strip()


def join_list(parts: Sequence[str]) -> str:
    """Join parts as 'a', 'a and b' or 'a, b and c'."""
    if len(parts) < 2:
        return "".join(parts)
    if any(", " in part for part in parts):
        return f"{', '.join(parts[:-1])}, and {parts[-1]}"
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
