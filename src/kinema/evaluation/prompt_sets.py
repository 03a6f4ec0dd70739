"""The three fixed lists of prompts: derived, not stored, and pinned by a digest."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kinema.errors import UserError
from kinema.evaluation.prompt_parser import SHAPES
from kinema.simulator.annotations import Colour
from kinema.simulator.appearance.lab import LAB_COLOURS
from kinema.simulator.captions.lexicon import NUMBERS, add_article, pluralize
from kinema.simulator.lab_split import Combination, is_held_out

PromptSetName = Literal["smoke", "dev", "test"]
PROMPT_SETS: tuple[PromptSetName, ...] = get_args(PromptSetName)
PromptKind = Literal["roll", "still", "count", "collide", "occlude", "drop", "camera"]
_SET_SIZES: dict[PromptSetName, int] = {"smoke": 40, "dev": 200, "test": 4000}
"""In the long list every measure is asked for at least 1,000 times; see `kinds_of`."""
_KIND_SHARES: dict[PromptKind, int] = {
    "roll": 8, "still": 10, "count": 2, "collide": 8, "occlude": 4, "drop": 4, "camera": 4,
}  # fmt: skip
"""Out of 40."""
_TEST_KIND_SHARES: dict[PromptKind, int] = {
    "roll": 6, "still": 10, "count": 2, "collide": 10, "occlude": 2, "drop": 5, "camera": 10,
}  # fmt: skip
"""Out of 45 thousandths of the long list; 1,000 prompts at least for every measure."""
_OBJECT_SHAPES = tuple(shape for shape in SHAPES if shape != "screen")
_CAMERA_PHRASES = (
    ("pan left", "pans left"), ("pan right", "pans right"), ("tilt up", "tilts up"),
    ("tilt down", "tilts down"), ("zoom in", "zooms in"), ("zoom out", "zooms out"),
    ("orbit left", "circles to the left"), ("orbit right", "circles to the right"),
    ("static", "stays still"),
)  # fmt: skip

ColourShape = tuple[Colour, str]
DIGESTS: dict[PromptSetName, str] = {
    "smoke": "ddcb96685d9c542f8816b1cb9200f2418a913c075dd00b3a49c9762122ca7ef4",
    "dev": "19916500539d49205d1d1a03a558746e1d6b26adaefef8e67351537fdc013e73",
    "test": "c2e6ffcf78735608c8bd0a18e5e03d28188ba63bd3b5f3d7660db85560c87b24",
}
"""What `prompt_set_digest` gave when the lists were fixed."""


@dataclass(frozen=True, kw_only=True)
class PromptItem:
    """One prompt of a list."""

    index: int
    kind: PromptKind
    outcome: str
    prompt: str
    swapped_prompt: str = ""
    """Left/right only: the same with the colours exchanged, to be filmed with the same seed."""
    seed: int
    """Of the film's noise; the swapped prompt has the same."""


def _colour_shape_pairs() -> Iterator[ColourShape]:
    return itertools.product(LAB_COLOURS, _OBJECT_SHAPES)


def _noun_phrase(colour_shape: ColourShape) -> str:
    return add_article(f"{colour_shape[0]} {colour_shape[1]}")


def _candidate_prompts(kind: PromptKind) -> list[tuple[str, str, Combination, str]]:
    """(outcome, prompt, combination, swapped prompt) of everything that a kind can ask for."""
    found = []
    balls = [(colour, "ball") for colour in LAB_COLOURS]
    if kind == "roll":
        for one, (way, words) in itertools.product(_colour_shape_pairs(), _DIRECTION_PHRASES.items()):
            verb = "rolls" if one[1] == "ball" else "slides"
            combination = Combination(event="roll", relation=way, objects=(one,))
            found += [
                (outcome, f"{_noun_phrase(one)} {verb} {words}{end}", combination, "")
                for outcome, end in (("keeps going", ""), ("stops", " and stops"))
            ]
    elif kind == "still":
        for one, two in itertools.product(_colour_shape_pairs(), _colour_shape_pairs()):
            if one[0] == two[0]:
                continue
            for side in ("left", "right"):
                first, second = (one, two) if side == "left" else (two, one)
                combination = Combination(event="still", relation="left of", objects=(first, second))
                other = (two[0], one[1]), (one[0], two[1])
                found.append(
                    (
                        "pair",
                        f"{_noun_phrase(one)} stands to the {side} of {_noun_phrase(two)}",
                        combination,
                        f"{_noun_phrase(other[0])} stands to the {side} of {_noun_phrase(other[1])}",
                    )
                )
    elif kind == "count":
        for one, number in itertools.product(_colour_shape_pairs(), range(2, 6)):
            combination = Combination(event="count", relation=str(number), objects=(one,))
            name = f"{NUMBERS[number]} {one[0]} {pluralize(one[1])}"
            found.append(("stand", f"{name} are on the ground", combination, ""))
    elif kind == "collide":
        for one, two, (way, words) in itertools.product(
            balls, _colour_shape_pairs(), list(_DIRECTION_PHRASES.items())[:2]
        ):
            if one[0] == two[0]:
                continue
            for outcome, end in _COLLISION_PHRASES.items():
                if (outcome == "tips over" and two[1] not in ("cylinder", "cone")) or way == "":
                    continue
                combination = Combination(event="collide", relation=outcome, objects=(one, two))
                told = end.format(other=_noun_phrase(two))
                found.append((outcome, f"{_noun_phrase(one)} rolls {words}{told}", combination, ""))
    elif kind == "occlude":
        for one, colour, (way, words) in itertools.product(
            balls, LAB_COLOURS, list(_DIRECTION_PHRASES.items())[:2]
        ):
            if one[0] == colour:
                continue
            screen = (colour, "screen")
            for outcome, end in _OCCLUSION_PHRASES.items():
                combination = Combination(event="occlude", relation=outcome, objects=(one, screen))
                told = end.format(other=_noun_phrase(screen), way=way)
                found.append((outcome, f"{_noun_phrase(one)} rolls {words}{told}", combination, ""))
    elif kind == "drop":
        for one, (outcome, end) in itertools.product(_colour_shape_pairs(), _DROP_PHRASES.items()):
            if outcome != "no bounce" and one[1] != "ball":
                continue
            combination = Combination(event="drop", relation=outcome, objects=(one,))
            found.append((outcome, f"{_noun_phrase(one)} falls down and {end}", combination, ""))
    else:
        for one, two, (move, words) in itertools.product(
            _colour_shape_pairs(), _colour_shape_pairs(), _CAMERA_PHRASES
        ):
            if one[0] == two[0]:
                continue
            combination = Combination(event="camera", relation=move, objects=(one, two))
            prompt = f"{_noun_phrase(one)} stands to the left of {_noun_phrase(two)} as the camera {words}"
            found.append((move, prompt, combination, ""))
    return found


_DIRECTION_PHRASES = {
    "left": "to the left", "right": "to the right", "away": "away from the camera",
    "toward": "toward the camera",
}  # fmt: skip
_COLLISION_PHRASES = {
    "pushed": " and hits {other}",
    "misses": " and misses {other}",
    "short of": ", but stops before reaching {other}",
    "tips over": " and hits {other}, which tips over",
}
_OCCLUSION_PHRASES = {
    "re-emerges": ", disappears behind {other} and reappears on the {way}",
    "stays hidden": ", disappears behind {other} and stays hidden",
}
_DROP_PHRASES = {
    "bounces high": "bounces high",
    "bounces a little": "bounces a little",
    "no bounce": "lands without bouncing",
}


def build_prompt_set(name: str) -> tuple[PromptItem, ...]:
    """The prompts of a list: combinations that training never sees, none twice while they last.

    Raises:
        UserError: there is no such list.
    """
    if name not in PROMPT_SETS:
        raise UserError(f"there is no list {name!r}; lists are {', '.join(PROMPT_SETS)}")
    size = _SET_SIZES[name]
    shares = _TEST_KIND_SHARES if name == "test" else _KIND_SHARES
    items: list[PromptItem] = []
    for place, (kind, share) in enumerate(shares.items()):
        wanted = share * (100 if name == "test" else size // 40)
        rng = np.random.default_rng([2026, PROMPT_SETS.index(name), place])
        choices = [c for c in _candidate_prompts(kind) if is_held_out(c[2])]
        order = _balanced_order(choices, rng)
        for k in range(wanted):
            outcome, prompt, _, swapped = choices[order[k % len(order)]]
            item = PromptItem(
                index=len(items), kind=kind, outcome=outcome, prompt=prompt, swapped_prompt=swapped,
                seed=int(rng.integers(1 << 31)),
            )  # fmt: skip
            items.append(item)
    return tuple(items)


def _balanced_order(choices: list[tuple[str, str, Combination, str]], rng: np.random.Generator) -> list[int]:
    """A random order in which the outcomes and relations take turns."""
    groups: dict[tuple[str, str], list[int]] = {}
    for k in rng.permutation(len(choices)):
        outcome, prompt, combination, _ = choices[int(k)]
        side = "left" if "to the left" in prompt else "right"
        groups.setdefault((outcome, combination.relation + side), []).append(int(k))
    rows = [groups[key] for key in sorted(groups)]
    return [row[k] for k in range(max(map(len, rows))) for row in rows if k < len(row)]


def prompt_set_digest(name: str) -> str:
    """SHA-256 over the prompts and seeds of a list: it must never change again."""
    text = "\n".join(f"{i.prompt}|{i.swapped_prompt}|{i.seed}" for i in build_prompt_set(name))
    return hashlib.sha256(text.encode()).hexdigest()
