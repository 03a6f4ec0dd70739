"""The vocabulary of the captions, derived from the grammar's tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass

from kinema.simulator.captions import adverbials, clause_templates, environment_phrases, lexicon

WORD_PATTERN = re.compile(r"[a-z]+(?:[-'][a-z]+)*")
_VERB = re.compile(r"\[!?([a-z]+)\]")
_FIELD = re.compile(r"\{[a-z]+\}")

# Words that the code of this package writes without a table.
FUNCTION_WORDS = (
    "a an the and but then until while after that which it they them its of to another other one only just "
    "as not scene object objects"
)
AUXILIARIES = "do does don't doesn't is are being not"


def unique_words(text: str) -> set[str]:
    """The distinct words of a text in lower case; 'left-hand' is one word."""
    return set(WORD_PATTERN.findall(text.lower()))


def _iter_strings(value: object) -> Iterator[str]:
    """Iterate over every string within a table."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _iter_strings(part)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _iter_strings(getattr(value, field.name))
    elif isinstance(value, Iterable):
        for part in value:
            yield from _iter_strings(part)


def _iter_table_strings(module: object) -> Iterator[str]:
    """Iterate over the strings of a module's tables. Tables are the module's names in capitals."""
    for name, value in vars(module).items():
        if name.isupper():
            yield from _iter_strings(value)


def _verb_forms(verb: str) -> set[str]:
    return {verb, lexicon.third_person(verb), lexicon.present_participle(verb)}


def known_words() -> frozenset[str]:
    """Every word that a caption can use, in lower case.

    A model trained on captions alone has never seen any other word. Numbers as digits are not included.
    """
    words = unique_words(FUNCTION_WORDS) | unique_words(AUXILIARIES)
    for text in (
        t
        for module in (lexicon, adverbials, clause_templates, environment_phrases)
        for t in _iter_table_strings(module)
    ):
        for verb in _VERB.findall(text):
            words |= _verb_forms(verb)
        words |= unique_words(_FIELD.sub(" ", _VERB.sub(" ", text)))
    for nouns in lexicon.SHAPES.values():
        for noun in nouns:
            words |= unique_words(lexicon.pluralize(noun))
    words |= unique_words(lexicon.pluralize("object"))
    for manner in adverbials.MOTION_VERBS.values():
        for verb in _iter_strings(manner):
            words |= _verb_forms(verb)
    return frozenset(words)


def unknown_words(text: str, known: frozenset[str] | None = None) -> list[str]:
    """The words of a prompt that no caption can use, without duplicates, in the prompt's order."""
    known = known_words() if known is None else known
    return list(dict.fromkeys(word for word in WORD_PATTERN.findall(text.lower()) if word not in known))
