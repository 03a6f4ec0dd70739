"""Words of a prompt that a model was not trained on, and what to write in their place.

Only our own models have a vocabulary: they were trained on the captions of the simulator, and perhaps on a
person's own. A word outside of it is not an error, because the text encoder knows it, but the model has never
seen what it means. This module imports neither torch nor a model, so that the HTTP API can use it.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kinema.simulator.captions.everyday import senses
from kinema.simulator.captions.vocabulary import WORD_PATTERN

EXAMPLE_PROMPTS = (
    "a red ball rolls to the left and hits a blue cube",
    "a green cube stands to the left of a yellow cylinder",
    "an orange ball falls down and bounces high",
    "a purple ball rolls to the right, disappears behind a green screen and reappears on the right",
    "a pink cone stands to the left of a cyan cube as the camera circles to the left",
    "three blue cylinders are on the ground",
)
"""Prompts that the shipped model follows."""
MAX_WORDS = 20
"""Unknown words that are named. Looking for the nearest known one takes a millisecond, and a prompt may have
thousands of them."""
_MAX_WORD_CHARS = 40
_ENDINGS = ("", "s", "es", "ed", "d", "ing", "ly")
_LARGER_MODELS = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers or Wan-AI/Wan2.2-TI2V-5B-Diffusers"


@dataclass(frozen=True, kw_only=True)
class UnknownWords:
    """The words of a prompt that a model was not trained on.

    Attributes:
        words: in the order of the prompt, at most `MAX_WORDS`.
        nearest: the nearest word that the model knows, for those that have one.
    """

    words: tuple[str, ...] = ()
    nearest: dict[str, str]

    def message(self, model: str) -> str:
        """One line for a person; empty if there are none."""
        if not self.words:
            return ""
        named = [
            f"{word!r} (try {self.nearest[word]!r})" if word in self.nearest else repr(word[:_MAX_WORD_CHARS])
            for word in self.words
        ]
        return (
            f"{model} was not trained on {', '.join(named)}; it follows prompts such as "
            f"{EXAMPLE_PROMPTS[0]!r}. Models that know more: {_LARGER_MODELS}"
        )


def find_unknown_words(
    prompts: Iterable[str],
    vocabulary: Sequence[str] | frozenset[str],
    *,
    synonyms_are_known: bool = False,
) -> UnknownWords:
    """Find the words that a model was not trained on.

    Inflected forms of known words count as known.

    Args:
        prompts: of a request.
        vocabulary: the words of the model's training captions, in lower case; empty: every word is known.
        synonyms_are_known: whether a prompt rewriter reads a word as a known one of the same sense.
    """
    known = frozenset(vocabulary)
    if not known:
        return UnknownWords(nearest={})
    distinct = dict.fromkeys(word for prompt in prompts for word in WORD_PATTERN.findall(prompt.lower()))
    unknown = (
        word
        for word in distinct
        if not _is_known(word, known) and not (synonyms_are_known and known_synonym(word, known))
    )
    words = list(itertools.islice(unknown, MAX_WORDS))
    nearest = {word: found for word in words if (found := _nearest_word(word, known))}
    return UnknownWords(words=tuple(words), nearest=nearest)


def _is_known(word: str, known: frozenset[str]) -> bool:
    if word in known:
        return True
    stems = {word.removesuffix(ending) for ending in _ENDINGS}
    # 'stopped' -> 'stop', 'bouncing' -> 'bounce'
    stems |= {stem[:-1] for stem in stems if len(stem) > 3 and stem[-1] == stem[-2]}
    forms = {stem + ending for stem in stems if len(stem) > 2 for ending in ("", "e", "s", "es", "ing")}
    return not forms.isdisjoint(known)


def known_synonym(word: str, known: frozenset[str]) -> str:
    """A known word of the same sense, 'ball' for 'marble'; empty if there is none."""
    singular = word.removesuffix("s")
    for table in (senses.SHAPES, senses.COLOURS, senses.SIZES, _EVERYDAY_OBJECTS):
        for sense, alternatives in table.items():
            if sense in known and any(text in (word, singular) for text in alternatives):
                return sense
    return ""


def _nearest_word(word: str, known: frozenset[str]) -> str:
    """A known word of the same sense, or one that is spelled alike; empty if there is none."""
    if synonym := known_synonym(word, known):
        return synonym
    close = difflib.get_close_matches(word, known, 1, cutoff=0.8)
    return close[0] if close else ""


_EVERYDAY_OBJECTS = {
    "ball": ("marble", "football", "basketball", "bead", "apple", "orange", "planet", "bowling"),
    "cube": ("crate", "dice", "die", "parcel", "package", "box", "brick"),
    "cylinder": ("bottle", "cup", "mug", "pillar", "column", "candle", "pipe", "can", "barrel"),
    "cone": ("pyramid", "hat", "funnel"),
    "screen": ("wall", "fence", "door", "board", "barrier"),
}
"""Common objects and the shape of the lab that is most like them."""
