"""The fixed prompt sets: generated, not stored, and pinned by a digest.

`smoke`, `dev` and `test` have lab prompts in the wording of the simulator's captions; `everyday` has prompts
in everyday English, and `whole` captions of scenes of the whole simulator, both with their meaning as data.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kinema.errors import UserError
from kinema.evaluation.prompt_parser import CAMERA_PHRASES, DIRECTION_PHRASES, SHAPES, Direction
from kinema.evaluation.whole import SceneMeaning
from kinema.evaluation.whole_prompts import load_whole_prompts
from kinema.simulator.annotations import Colour
from kinema.simulator.attributes import LAB_COLOURS
from kinema.simulator.captions.everyday.evaluation_list import evaluation_prompts
from kinema.simulator.captions.everyday.meaning import Meaning
from kinema.simulator.captions.lexicon import NUMBERS, add_article, pluralize
from kinema.simulator.lab_split import Combination, is_held_out

LabPromptSetName = Literal["smoke", "dev", "test"]
PromptSetName = Literal["smoke", "dev", "test", "everyday", "whole"]
PROMPT_SETS: tuple[PromptSetName, ...] = get_args(PromptSetName)
LabPromptKind = Literal["roll", "still", "count", "collide", "occlude", "drop", "camera"]
PromptKind = LabPromptKind | Literal["everyday", "whole"]
ColourShape = tuple[Colour, str]

_PROMPTS_PER_SHARE: dict[LabPromptSetName, int] = {"smoke": 1, "dev": 5, "test": 100}
"""In the test set at least 1,000 prompts apply to every measure."""
_KIND_SHARES: dict[LabPromptKind, int] = {
    "roll": 8, "still": 10, "count": 2, "collide": 8, "occlude": 4, "drop": 4, "camera": 4,
}  # fmt: skip
"""Shares of each kind, 40 in all."""
_TEST_KIND_SHARES: dict[LabPromptKind, int] = {
    "roll": 6, "still": 10, "count": 2, "collide": 10, "occlude": 2, "drop": 5, "camera": 10,
}  # fmt: skip
"""The same for the test set, 45 in all."""
_OBJECT_SHAPES = tuple(shape for shape in SHAPES if shape != "screen")
_SIDEWAYS: tuple[Direction, ...] = ("left", "right")
_COLLISION_ENDINGS = {
    "pushed": " and hits {other}",
    "misses": " and misses {other}",
    "short of": ", but stops before reaching {other}",
    "tips over": " and hits {other}, which tips over",
}
_OCCLUSION_ENDINGS = {
    "re-emerges": ", disappears behind {other} and reappears on the {direction}",
    "stays hidden": ", disappears behind {other} and stays hidden",
}
_DROP_ENDINGS = {
    "bounces high": "bounces high",
    "bounces a little": "bounces a little",
    "no bounce": "lands without bouncing",
}

DIGESTS: dict[PromptSetName, str] = {
    "smoke": "ddcb96685d9c542f8816b1cb9200f2418a913c075dd00b3a49c9762122ca7ef4",
    "dev": "19916500539d49205d1d1a03a558746e1d6b26adaefef8e67351537fdc013e73",
    "test": "c2e6ffcf78735608c8bd0a18e5e03d28188ba63bd3b5f3d7660db85560c87b24",
    "everyday": "f5f2c19b6042b6cf5ad1bca807b005daa88e19323d54aaca7a6940350a5aefd0",
    "whole": "e91036f5f6ff39889a70c1568c9fd92b6824628a28897880901d8c22644f1c24",
}
"""The value of `prompt_set_digest` for each set. It must never change."""


@dataclass(frozen=True, kw_only=True)
class PromptItem:
    """One prompt of a set."""

    index: int
    kind: PromptKind
    outcome: str
    prompt: str
    swapped_prompt: str = ""
    """Left/right only: the same prompt with the colours exchanged, generated with the same seed."""
    seed: int
    """Seed of the video's noise, for both prompts."""
    meaning: Meaning | SceneMeaning | None = None
    """Of a prompt in everyday English or of the whole simulator; None for lab prompts, which are parsed."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A prompt that a kind can ask for, and the combination that decides whether it is held out."""

    outcome: str
    prompt: str
    combination: Combination
    swapped_prompt: str = ""


def _colour_shape_pairs() -> Iterator[ColourShape]:
    return itertools.product(LAB_COLOURS, _OBJECT_SHAPES)


def _noun_phrase(colour_shape: ColourShape) -> str:
    return add_article(f"{colour_shape[0]} {colour_shape[1]}")


def _candidate(
    kind: LabPromptKind, outcome: str, prompt: str, relation: str, *objects: ColourShape, swapped: str = ""
) -> _Candidate:
    combination = Combination(event=kind, relation=relation, objects=objects)
    return _Candidate(outcome=outcome, prompt=prompt, combination=combination, swapped_prompt=swapped)


def _candidates(kind: LabPromptKind) -> Iterator[_Candidate]:
    """Everything that a kind can ask for. The order is part of the prompt sets' definition."""
    balls: list[ColourShape] = [(colour, "ball") for colour in LAB_COLOURS]
    match kind:
        case "roll":
            for one, direction in itertools.product(_colour_shape_pairs(), DIRECTION_PHRASES):
                verb = "rolls" if one[1] == "ball" else "slides"
                prompt = f"{_noun_phrase(one)} {verb} {DIRECTION_PHRASES[direction]}"
                yield _candidate(kind, "keeps going", prompt, direction, one)
                yield _candidate(kind, "stops", f"{prompt} and stops", direction, one)
        case "still":
            for one, two in _pairs_of_two_colours(_colour_shape_pairs()):
                swapped_one, swapped_two = (two[0], one[1]), (one[0], two[1])
                for side in _SIDEWAYS:
                    left, right = (one, two) if side == "left" else (two, one)
                    relation = f"stands to the {side} of"
                    yield _candidate(
                        kind,
                        "pair",
                        f"{_noun_phrase(one)} {relation} {_noun_phrase(two)}",
                        "left of",
                        left,
                        right,
                        swapped=f"{_noun_phrase(swapped_one)} {relation} {_noun_phrase(swapped_two)}",
                    )
        case "count":
            for one, number in itertools.product(_colour_shape_pairs(), range(2, 6)):
                prompt = f"{NUMBERS[number]} {one[0]} {pluralize(one[1])} are on the ground"
                yield _candidate(kind, "stand", prompt, str(number), one)
        case "collide":
            for one, two in _pairs_of_two_colours(balls):
                for direction, (outcome, ending) in itertools.product(_SIDEWAYS, _COLLISION_ENDINGS.items()):
                    if outcome == "tips over" and two[1] not in ("cylinder", "cone"):
                        continue
                    prompt = f"{_noun_phrase(one)} rolls {DIRECTION_PHRASES[direction]}"
                    prompt += ending.format(other=_noun_phrase(two))
                    yield _candidate(kind, outcome, prompt, outcome, one, two)
        case "occlude":
            for one, colour in itertools.product(balls, LAB_COLOURS):
                if one[0] == colour:
                    continue
                screen = (colour, "screen")
                for direction, (outcome, ending) in itertools.product(_SIDEWAYS, _OCCLUSION_ENDINGS.items()):
                    prompt = f"{_noun_phrase(one)} rolls {DIRECTION_PHRASES[direction]}"
                    prompt += ending.format(other=_noun_phrase(screen), direction=direction)
                    yield _candidate(kind, outcome, prompt, outcome, one, screen)
        case "drop":
            for one, (outcome, ending) in itertools.product(_colour_shape_pairs(), _DROP_ENDINGS.items()):
                if outcome == "no bounce" or one[1] == "ball":
                    yield _candidate(
                        kind, outcome, f"{_noun_phrase(one)} falls down and {ending}", outcome, one
                    )
        case "camera":
            for one, two in _pairs_of_two_colours(_colour_shape_pairs()):
                for move, phrase in CAMERA_PHRASES.items():
                    prompt = f"{_noun_phrase(one)} stands to the left of {_noun_phrase(two)}"
                    yield _candidate(kind, move, f"{prompt} as the camera {phrase}", move, one, two)


def _pairs_of_two_colours(first: Iterable[ColourShape]) -> Iterator[tuple[ColourShape, ColourShape]]:
    return ((one, two) for one, two in itertools.product(first, _colour_shape_pairs()) if one[0] != two[0])


def build_prompt_set(name: str) -> tuple[PromptItem, ...]:
    """The prompts of a set: held-out combinations, none twice until all have been used.

    Raises:
        UserError: there is no such set.
    """
    if name not in PROMPT_SETS:
        raise UserError(f"there is no prompt set {name!r}; the prompt sets are {', '.join(PROMPT_SETS)}")
    if name == "everyday":
        return tuple(
            PromptItem(
                index=item.index,
                kind="everyday",
                outcome=item.meaning.event,
                prompt=item.prompt,
                seed=item.seed,
                meaning=item.meaning,
            )
            for item in evaluation_prompts()
        )
    if name == "whole":
        return tuple(
            PromptItem(
                index=index,
                kind="whole",
                outcome=f"{item.event}: {item.outcome}",
                prompt=item.prompt,
                seed=item.scene_seed % (1 << 31),
                meaning=item.meaning,
            )
            for index, item in enumerate(load_whole_prompts())
        )
    shares = _TEST_KIND_SHARES if name == "test" else _KIND_SHARES
    items: list[PromptItem] = []
    for position, (kind, share) in enumerate(shares.items()):
        rng = np.random.default_rng([2026, PROMPT_SETS.index(name), position])
        candidates = [candidate for candidate in _candidates(kind) if is_held_out(candidate.combination)]
        order = _balanced_order(candidates, rng)
        for k in range(share * _PROMPTS_PER_SHARE[name]):
            candidate = candidates[order[k % len(order)]]
            items.append(
                PromptItem(
                    index=len(items),
                    kind=kind,
                    outcome=candidate.outcome,
                    prompt=candidate.prompt,
                    swapped_prompt=candidate.swapped_prompt,
                    seed=int(rng.integers(1 << 31)),
                )
            )
    return tuple(items)


def _balanced_order(candidates: list[_Candidate], rng: np.random.Generator) -> list[int]:
    """A random order in which outcomes and relations alternate."""
    groups: dict[tuple[str, str], list[int]] = {}
    for k in rng.permutation(len(candidates)):
        candidate = candidates[int(k)]
        side = "left" if "to the left" in candidate.prompt else "right"
        groups.setdefault((candidate.outcome, candidate.combination.relation + side), []).append(int(k))
    rows = [groups[key] for key in sorted(groups)]
    return [row[k] for k in range(max(map(len, rows))) for row in rows if k < len(row)]


def prompt_set_digest(name: str) -> str:
    """SHA-256 of the prompts and seeds of a set."""
    text = "\n".join(f"{i.prompt}|{i.swapped_prompt}|{i.seed}" for i in build_prompt_set(name))
    return hashlib.sha256(text.encode()).hexdigest()
