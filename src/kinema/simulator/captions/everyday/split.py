"""The split of sentence patterns and words into training and held-out ones, by a hash of their text.

The split does not depend on a seed, on the order of the lists or on their other entries.
"""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "held_out", "all"]

HELD_OUT_PATTERN_SHARE = 0.15
"""Share of the patterns that are held out."""
HELD_OUT_WORD_SHARE = 0.08
"""Share of the words that are held out, of those that are not the first of their sense."""
_NEVER_HELD_OUT = ("{S}",)
"""Patterns that add nothing to a sentence."""


def hash_fraction(text: str) -> float:
    """The first eight bytes of the SHA-256 of a text, as a number in 0..1."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def is_pattern_held_out(pattern: str) -> bool:
    """Whether the pattern is held out of training."""
    return pattern not in _NEVER_HELD_OUT and hash_fraction("pattern|" + pattern) < HELD_OUT_PATTERN_SHARE


def is_word_held_out(sense: str, word: str) -> bool:
    """Whether the word is held out of training for this sense. The first word of a sense never is; the caller
    excludes it."""
    return hash_fraction(f"word|{sense}|{word}") < HELD_OUT_WORD_SHARE


def patterns_in_split(patterns: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """Those of the patterns that are in the split, or all if none is."""
    if split == "all":
        return patterns
    selected = tuple(
        p for p in patterns if p in _NEVER_HELD_OUT or is_pattern_held_out(p) == (split == "held_out")
    )
    return selected or patterns


def words_in_split(sense: str, options: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """Those of the words of a sense that are in the split; all if the split `held_out` has none of them."""
    if split == "all":
        return options
    first, *rest = options
    if split == "train":
        return (first, *(word for word in rest if word == first or not is_word_held_out(sense, word)))
    held_out = tuple(word for word in rest if word != first and is_word_held_out(sense, word))
    return held_out or options
