"""The three fixed lists of prompts: derived, not stored, and pinned by a digest."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kinema.errors import UserError
from kinema.evaluate.meaning import SHAPES
from kinema.world.captions.lexicon import NUMBERS, article, plural
from kinema.world.facts import Colour
from kinema.world.lab import Combination, held_out
from kinema.world.look.lab import LAB_COLOURS

ListName = Literal["smoke", "dev", "test"]
LISTS: tuple[ListName, ...] = get_args(ListName)
Kind = Literal["roll", "still", "count", "collide", "occlude", "drop", "camera"]
_SIZES: dict[ListName, int] = {"smoke": 40, "dev": 200, "test": 4000}
"""In the long list every measure is asked for at least 1,000 times; see `kinds_of`."""
_SHARES: dict[Kind, int] = {
    "roll": 8, "still": 10, "count": 2, "collide": 8, "occlude": 4, "drop": 4, "camera": 4,
}  # fmt: skip
"""Out of 40."""
_TEST_SHARES: dict[Kind, int] = {
    "roll": 6, "still": 10, "count": 2, "collide": 10, "occlude": 2, "drop": 5, "camera": 10,
}  # fmt: skip
"""Out of 45 thousandths of the long list; 1,000 prompts at least for every measure."""
_SOLIDS = tuple(shape for shape in SHAPES if shape != "screen")
_CAMERAS = (
    ("pan left", "pans left"), ("pan right", "pans right"), ("tilt up", "tilts up"),
    ("tilt down", "tilts down"), ("zoom in", "zooms in"), ("zoom out", "zooms out"),
    ("orbit left", "circles to the left"), ("orbit right", "circles to the right"),
    ("static", "stays still"),
)  # fmt: skip

Pair = tuple[Colour, str]
DIGESTS: dict[ListName, str] = {
    "smoke": "ddcb96685d9c542f8816b1cb9200f2418a913c075dd00b3a49c9762122ca7ef4",
    "dev": "19916500539d49205d1d1a03a558746e1d6b26adaefef8e67351537fdc013e73",
    "test": "c2e6ffcf78735608c8bd0a18e5e03d28188ba63bd3b5f3d7660db85560c87b24",
}
"""What `digest` gave when the lists were fixed."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One prompt of a list."""

    index: int
    kind: Kind
    outcome: str
    prompt: str
    swapped: str = ""
    """Left/right only: the same with the colours exchanged, to be filmed with the same seed."""
    seed: int
    """Of the film's noise; the swapped prompt has the same."""


def _pairs() -> Iterator[Pair]:
    return itertools.product(LAB_COLOURS, _SOLIDS)


def _name(thing: Pair) -> str:
    return article(f"{thing[0]} {thing[1]}")


def _candidates(kind: Kind) -> list[tuple[str, str, Combination, str]]:
    """(outcome, prompt, combination, swapped prompt) of everything that a kind can ask for."""
    found = []
    balls = [(colour, "ball") for colour in LAB_COLOURS]
    if kind == "roll":
        for one, (way, words) in itertools.product(_pairs(), _WAYS.items()):
            verb = "rolls" if one[1] == "ball" else "slides"
            combination = Combination(event="roll", relation=way, things=(one,))
            found += [
                (outcome, f"{_name(one)} {verb} {words}{end}", combination, "")
                for outcome, end in (("keeps going", ""), ("stops", " and stops"))
            ]
    elif kind == "still":
        for one, two in itertools.product(_pairs(), _pairs()):
            if one[0] == two[0]:
                continue
            for side in ("left", "right"):
                first, second = (one, two) if side == "left" else (two, one)
                combination = Combination(event="still", relation="left of", things=(first, second))
                other = (two[0], one[1]), (one[0], two[1])
                found.append(
                    (
                        "pair",
                        f"{_name(one)} stands to the {side} of {_name(two)}",
                        combination,
                        f"{_name(other[0])} stands to the {side} of {_name(other[1])}",
                    )
                )
    elif kind == "count":
        for one, number in itertools.product(_pairs(), range(2, 6)):
            combination = Combination(event="count", relation=str(number), things=(one,))
            name = f"{NUMBERS[number]} {one[0]} {plural(one[1])}"
            found.append(("stand", f"{name} are on the ground", combination, ""))
    elif kind == "collide":
        for one, two, (way, words) in itertools.product(balls, _pairs(), list(_WAYS.items())[:2]):
            if one[0] == two[0]:
                continue
            for outcome, end in _MEETINGS.items():
                if (outcome == "tips over" and two[1] not in ("cylinder", "cone")) or way == "":
                    continue
                combination = Combination(event="collide", relation=outcome, things=(one, two))
                told = end.format(other=_name(two))
                found.append((outcome, f"{_name(one)} rolls {words}{told}", combination, ""))
    elif kind == "occlude":
        for one, colour, (way, words) in itertools.product(balls, LAB_COLOURS, list(_WAYS.items())[:2]):
            if one[0] == colour:
                continue
            screen = (colour, "screen")
            for outcome, end in _HIDINGS.items():
                combination = Combination(event="occlude", relation=outcome, things=(one, screen))
                told = end.format(other=_name(screen), way=way)
                found.append((outcome, f"{_name(one)} rolls {words}{told}", combination, ""))
    elif kind == "drop":
        for one, (outcome, end) in itertools.product(_pairs(), _FALLS.items()):
            if outcome != "no bounce" and one[1] != "ball":
                continue
            combination = Combination(event="drop", relation=outcome, things=(one,))
            found.append((outcome, f"{_name(one)} falls down and {end}", combination, ""))
    else:
        for one, two, (move, words) in itertools.product(_pairs(), _pairs(), _CAMERAS):
            if one[0] == two[0]:
                continue
            combination = Combination(event="camera", relation=move, things=(one, two))
            prompt = f"{_name(one)} stands to the left of {_name(two)} as the camera {words}"
            found.append((move, prompt, combination, ""))
    return found


_WAYS = {
    "left": "to the left", "right": "to the right", "away": "away from the camera",
    "toward": "toward the camera",
}  # fmt: skip
_MEETINGS = {
    "pushed": " and hits {other}",
    "misses": " and misses {other}",
    "short of": ", but stops before reaching {other}",
    "tips over": " and hits {other}, which tips over",
}
_HIDINGS = {
    "re-emerges": ", disappears behind {other} and reappears on the {way}",
    "stays hidden": ", disappears behind {other} and stays hidden",
}
_FALLS = {
    "bounces high": "bounces high",
    "bounces a little": "bounces a little",
    "no bounce": "lands without bouncing",
}


def prompts(name: str) -> tuple[Item, ...]:
    """The prompts of a list: combinations that training never sees, none twice while they last.

    Raises:
        UserError: there is no such list.
    """
    if name not in LISTS:
        raise UserError(f"there is no list {name!r}; lists are {', '.join(LISTS)}")
    size = _SIZES[name]
    shares = _TEST_SHARES if name == "test" else _SHARES
    items: list[Item] = []
    for place, (kind, share) in enumerate(shares.items()):
        wanted = share * (100 if name == "test" else size // 40)
        rng = np.random.default_rng([2026, LISTS.index(name), place])
        choices = [c for c in _candidates(kind) if held_out(c[2])]
        order = _balanced(choices, rng)
        for k in range(wanted):
            outcome, prompt, _, swapped = choices[order[k % len(order)]]
            item = Item(
                index=len(items), kind=kind, outcome=outcome, prompt=prompt, swapped=swapped,
                seed=int(rng.integers(1 << 31)),
            )  # fmt: skip
            items.append(item)
    return tuple(items)


def _balanced(choices: list[tuple[str, str, Combination, str]], rng: np.random.Generator) -> list[int]:
    """A random order in which the outcomes and relations take turns."""
    groups: dict[tuple[str, str], list[int]] = {}
    for k in rng.permutation(len(choices)):
        outcome, prompt, combination, _ = choices[int(k)]
        side = "left" if "to the left" in prompt else "right"
        groups.setdefault((outcome, combination.relation + side), []).append(int(k))
    rows = [groups[key] for key in sorted(groups)]
    return [row[k] for k in range(max(map(len, rows))) for row in rows if k < len(row)]


def digest(name: str) -> str:
    """SHA-256 over the prompts and seeds of a list: it must never change again."""
    text = "\n".join(f"{i.prompt}|{i.swapped}|{i.seed}" for i in prompts(name))
    return hashlib.sha256(text.encode()).hexdigest()
