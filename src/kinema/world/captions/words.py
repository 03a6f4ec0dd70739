"""Every word the film set's captions can use, worked out from the grammar itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass

from kinema.world.captions import lexicon, manners, phrases, places

WORD = re.compile(r"[a-z]+(?:[-'][a-z]+)*")
_VERB = re.compile(r"\[!?([a-z]+)\]")
_FIELD = re.compile(r"\{[a-z]+\}")

# The words with which `nouns`, `realise` and `__init__` tie the pieces together.
TIES = "a an the and but then until which it they them of to another other one only just as not the scene"
AUXILIARIES = "do does don't doesn't is are being not"


def words_in(text: str) -> set[str]:
    """The different words of a text, in small letters; 'left-hand' is one word."""
    return set(WORD.findall(text.lower()))


def _texts(value: object) -> Iterator[str]:
    """Every string within a table."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _texts(getattr(value, field.name))
    elif isinstance(value, Iterable):
        for part in value:
            yield from _texts(part)


def _tables(module: object) -> Iterator[str]:
    """Every string in the tables of a module, which are its names in capitals."""
    for name, value in vars(module).items():
        if name.isupper():
            yield from _texts(value)


def _forms(verb: str) -> set[str]:
    return {verb, lexicon.third_person(verb), lexicon.present_participle(verb)}


def known_words() -> frozenset[str]:
    """Every word that some caption can use, in small letters.

    A prompt with other words says something that no caption ever said. Numbers in digits, and names of
    things that are never worded, are not among them.
    """
    words = words_in(TIES) | words_in(AUXILIARIES)
    for text in (t for module in (lexicon, manners, phrases, places) for t in _tables(module)):
        for verb in _VERB.findall(text):
            words |= _forms(verb)
        words |= words_in(_FIELD.sub(" ", _VERB.sub(" ", text)))
    for nouns in lexicon.SHAPES.values():
        for noun in nouns:
            words |= words_in(lexicon.plural(noun))
    words |= words_in(lexicon.plural("object"))
    for manner in manners.MANNERS.values():
        for verb in _texts(manner):
            words |= _forms(verb)
    return frozenset(words)


def unknown_words(text: str, known: frozenset[str] | None = None) -> list[str]:
    """The words of a prompt that no caption can use, in their order, each once."""
    known = known_words() if known is None else known
    return list(dict.fromkeys(word for word in WORD.findall(text.lower()) if word not in known))
