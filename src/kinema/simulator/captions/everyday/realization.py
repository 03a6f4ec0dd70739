"""Realizes captions: samples a situation, a pattern and words, and adds endings, frames, camera and place."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from kinema.simulator.annotations import ClipAnnotations
from kinema.simulator.captions.everyday import patterns, senses
from kinema.simulator.captions.everyday.grammar import format_sentences, normalize_spacing
from kinema.simulator.captions.everyday.lexicalization import (
    RealizationState,
    held_out_words,
    is_usable,
    realize_pattern,
)
from kinema.simulator.captions.everyday.situations import find_situations
from kinema.simulator.captions.everyday.split import Split, is_pattern_held_out, patterns_in_split
from kinema.simulator.captions.everyday.statements import EntityRef, Situation, Statement


@dataclass(frozen=True, kw_only=True)
class RealizedCaption:
    """A caption with its statements and the choices that led to it."""

    text: str
    statements: tuple[Statement, ...]
    """Everything that the text states."""
    mentions: tuple[EntityRef, ...]
    """Entities and groups in the order of their first mention."""
    key: str
    """The situation, a key of `patterns.MAINS`."""
    patterns: tuple[str, ...]
    """The main pattern, then endings, frame and tails."""
    words: tuple[tuple[str, str], ...]
    """(sense, word) of every word that was chosen for a sense."""

    @property
    def held_out(self) -> bool:
        """Whether a pattern or a word of the caption is held out of training."""
        return any(is_pattern_held_out(p) for p in self.patterns) or bool(held_out_words(self.words))


def generate_everyday_captions(
    annotations: ClipAnnotations, count: int, *, seed: int = 0, split: Split = "train"
) -> tuple[RealizedCaption, ...]:
    """Different captions of a clip.

    Args:
        annotations: of the clip.
        count: the largest number of captions; there are fewer if the clip does not have as many.
        seed: another seed gives other captions.
        split: which patterns and words to use.

    Returns:
        The captions; the same arguments always give the same ones.
    """
    rng = random.Random(f"everyday {annotations.seed} {annotations.event} {annotations.cause} {seed} {split}")
    found: dict[str, RealizedCaption] = {}
    for _ in range(3 * count):
        caption = realize_caption(annotations, rng, pattern_split=split, word_split=split)
        found.setdefault(caption.text, caption)
        if len(found) == count:
            break
    return tuple(found.values())


def realize_caption(
    annotations: ClipAnnotations,
    rng: random.Random,
    *,
    pattern_split: Split = "train",
    word_split: Split = "train",
    key: str | None = None,
) -> RealizedCaption:
    """Realize one caption.

    Args:
        annotations: of the clip.
        rng: source of all random choices.
        pattern_split: `held_out` chooses a main pattern that is held out, and the others from all.
        word_split: `held_out` chooses words held out wherever a sense has some.
        key: use only situations with this key.

    Raises:
        ValueError: the clip has no such situation.
    """
    choices = [s for s in find_situations(annotations) if key is None or s.key == key]
    if not choices:
        raise ValueError(
            f"the {annotations.event} clip {annotations.seed} has no situation {key or ''}".rstrip()
        )
    situation = rng.choices(choices, [s.weight for s in choices])[0]
    state = RealizationState(annotations=annotations, rng=rng, split=word_split)
    options = [p for p in patterns.parse_lines(patterns.MAINS[situation.key]) if is_usable(p, situation)]
    main = rng.choice(patterns_in_split(tuple(options), pattern_split))
    used = [main]
    text = realize_pattern(main, situation, state)
    kind = _kind(main)
    state.add_statements(situation.statements)
    text, has_ending = _add_endings(text, situation, state, pattern_split, used)
    other_split: Split = "all" if pattern_split == "held_out" else pattern_split
    if rng.random() < 0.45 and kind != "other":
        text = _add_frame(text, kind == "noun" and not has_ending, rng, other_split, used)
    plain = kind == "clause" and used[-1] in (main, "{S}")
    if rng.random() < 0.5:
        text = _add_camera(text, annotations, state, other_split, used, plain=plain)
        text = _add_place(text, annotations, state, other_split, used)
    else:
        text = _add_place(text, annotations, state, other_split, used)
        text = _add_camera(
            text, annotations, state, other_split, used, plain=plain and used[-1] in (main, "{S}")
        )
    text = normalize_spacing(text)
    style = rng.random()
    if style < 0.4:
        text = format_sentences(text)
    elif style < 0.5:
        text = text[0].upper() + text[1:]
    elif style < 0.55:
        text = text + "!"
    return RealizedCaption(
        text=text,
        statements=tuple(state.statements),
        mentions=tuple(state.mentions),
        key=situation.key,
        patterns=tuple(used),
        words=tuple(state.word_choices),
    )


_REQUESTS = (
    "watch", "see", "have", "make", "let", "could", "can", "would", "I", "I'd", "show", "put", "drop", "we",
    "here", "there goes", "push", "just", "look", "imagine", "hit", "get", "send", "follow", "place", "set",
    "give", "add", "draw", "hide", "where", "left", "mover", "no", "off", "with", "zoom", "tighten", "widen",
    "start", "dolly", "move", "bring", "take", "pull", "back", "orbit", "circle", "pan",
)  # fmt: skip
"""First words of patterns that can't follow 'a video where'."""
_OTHER = re.compile(rf"({'|'.join(_REQUESTS)}) |.*[:;?+>]|.*\. ")


def _kind(pattern: str) -> str:
    """'noun': a noun phrase. 'clause': can follow 'a video where'. 'other': a request, or several clauses."""
    if pattern.startswith("*"):
        return "noun"
    return "other" if _OTHER.match(pattern) else "clause"


def _add_endings(
    text: str, situation: Situation, state: RealizationState, split: Split, used: list[str]
) -> tuple[str, bool]:
    has_ending, used_keys = False, set()
    for key, statements in situation.endings:
        if key in used_keys or state.rng.random() > 0.55:
            continue
        options = [p for p in patterns.parse_lines(patterns.ENDINGS[key]) if is_usable(p, situation)]
        options = [p for p in options if _antecedents_mentioned(p, situation, state)]
        chosen = patterns_in_split(tuple(options), "all" if split == "held_out" else split)
        if not chosen:
            continue
        ending = state.rng.choice(chosen)
        text = text.rstrip(".") + realize_pattern(ending, situation, state)
        state.add_statements(statements)
        used.append(ending)
        used_keys.add(key)
        has_ending = True
    return text, has_ending


def _antecedents_mentioned(ending: str, situation: Situation, state: RealizationState) -> bool:
    """Whether every entity that the ending refers to by a pronoun or a short name has been mentioned."""
    letters = re.findall(r"\{([ABC])\.(?:noun|it)", ending)
    return all(situation.roles.get(letter) in state.mentions for letter in letters)


def _add_frame(text: str, nominal: bool, rng: random.Random, split: Split, used: list[str]) -> str:
    options = patterns_in_split(patterns.parse_lines(patterns.FRAMES), split)
    fitting = [p for p in options if p == "{S}" or p.startswith("*") == nominal]
    frame = rng.choice(fitting)
    used.append(frame)
    return frame.removeprefix("*").replace("{S}", text).replace("{N}", text)


_JOINING_TAILS = ("{clause} as {S}", "while {clause}, {S}")
"""Tails that only a plain clause can follow."""


def _add_camera(
    text: str,
    annotations: ClipAnnotations,
    state: RealizationState,
    split: Split,
    used: list[str],
    *,
    plain: bool,
) -> str:
    rng = state.rng
    if any(statement.kind == "camera" for statement in state.statements):
        return text
    probability = 0.92 if annotations.event == "camera" else 0.12 if annotations.camera == "static" else 0.45
    if rng.random() > probability:
        return text
    labels, clauses = senses.CAMERAS[annotations.camera]
    options = patterns_in_split(patterns.parse_lines(patterns.CAMERA_TAILS), split)
    tail = rng.choice([p for p in options if plain or p not in _JOINING_TAILS])
    used.append(tail)
    if "{label}" in tail:
        if "with a" in tail or "amera: {" in tail:  # only nouns fit here
            labels = tuple(w for w in labels if "camera" not in w and not w.split()[0].endswith("ing"))
        tail = tail.replace("{label}", state.word(f"label {annotations.camera}", labels, plain=0.3))
    if "{clause}" in tail:
        tail = tail.replace("{clause}", state.word(f"clause {annotations.camera}", clauses, plain=0.3))
    state.add_statements([Statement(kind="camera", value=annotations.camera)])
    return tail.replace("{S}", text.rstrip(".") if tail[-3:] != "{S}" else text)


def _add_place(
    text: str, annotations: ClipAnnotations, state: RealizationState, split: Split, used: list[str]
) -> str:
    rng, environment = state.rng, annotations.environment
    if rng.random() > (0.08 if annotations.lab else 0.3):
        return text
    choices = [
        ("sky", "sky", environment.sky, senses.SKIES),
        ("floor", "floor", environment.floor, senses.FLOORS),
    ]
    if environment.background == "wall":
        choices.append(("wall", "backdrop", environment.wall, senses.WALLS))
    else:
        choices.append(("background", "decor", environment.background, senses.BACKGROUNDS))
    kind, sense, value, table = rng.choice([c for c in choices if c[2] in c[3]] or [("", "", "", {})])
    if not kind:
        return text
    tail = rng.choice(patterns_in_split(patterns.parse_lines(patterns.PLACE_TAILS), split))
    used.append(tail)
    place = state.word(f"{sense} {value}", table[value], plain=0.3)
    state.add_statements([Statement(kind=kind, value=value)])
    return tail.replace("{place}", place).replace(
        "{S}", text.rstrip(".") if not tail.endswith("{S}") else text
    )
