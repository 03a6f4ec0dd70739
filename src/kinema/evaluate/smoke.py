"""Quick verdicts for choosing checkpoints while a model is trained: on one film, and on a dozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from kinema.evaluate.binding import binding, on_right_side
from kinema.evaluate.cause import meeting
from kinema.evaluate.direction import direction, frozen
from kinema.evaluate.lists import Item, Kind, prompts
from kinema.evaluate.meaning import read
from kinema.evaluate.permanence import permanence
from kinema.evaluate.scene import scene_of
from kinema.evaluate.tracks import parse


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is right and wrong about a film. None where the prompt does not ask for it."""

    parsed: bool
    """False: nothing was found that could be judged; everything asked for then counts as wrong."""
    colour: bool
    shape: bool
    binding: bool
    """Colours, shapes and number together."""
    direction: bool | None
    left_right: bool | None
    hits: bool | None
    """What is to hit does, what is to miss does, and nothing moves too early."""
    frozen: bool | None
    """What is to move stands still: a fault."""
    births: int
    """Things out of nowhere."""
    deaths: int
    """Things gone into nothing."""

    @property
    def right(self) -> bool:
        """Everything that the prompt asks for is there, and nothing went wrong."""
        asked = (self.direction, self.left_right, self.hits, None if self.frozen is None else not self.frozen)
        return self.binding and all(a for a in asked if a is not None) and not self.births and not self.deaths


def judge(prompt: str, frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> Verdict:
    """Judge a film of the lab against the plain prompt it was made from.

    Args:
        prompt: a 'core' caption, such as 'a red ball rolls to the left and hits a blue cube'.
        frames: at least 48 pixels high, made for the lab's own camera.
        fps: frames per second.

    Raises:
        UserError: the prompt is none of the lab's.
    """
    film = parse(frames, fps)
    scene = scene_of(read(prompt), film)
    bound = binding(scene)
    lasting = permanence(film)
    met = meeting(scene)
    return Verdict(
        parsed=bool(film.tracks),
        colour=bound.right(bound.colour),
        shape=bound.right(bound.shape),
        binding=bound.right(bound.pairs),
        direction=direction(scene),
        left_right=on_right_side(scene),
        hits=None if met is None else met.right(),
        frozen=frozen(scene),
        births=len(lasting.births),
        deaths=len(lasting.deaths),
    )


_DOZEN: tuple[Kind, ...] = (
    "roll", "still", "collide", "roll", "still", "drop", "roll", "still", "collide", "roll", "still",
    "occlude",
)  # fmt: skip
"""What the first twelve prompts ask for; the next twelve ask for the same of other things."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a model gets right of a handful of prompts: shares of the films that each is asked of.

    NaN where none of the films is asked.
    """

    films: int
    colour: float
    shape: float
    binding: float
    direction: float
    left_right: float
    hits: float
    moving: float
    """What is to move does not stand still."""
    births: float
    """Things out of nowhere, per film."""
    deaths: float
    """Things gone into nothing, per film."""
    lasting: float
    """Films in which something was found, and nothing came out of nowhere or went there."""

    @property
    def score(self) -> float:
        """One figure to choose checkpoints by: the mean of colour, shape, binding, direction, left/right and
        lasting, of those that were asked. 1 is a model without a fault; a frozen film gets no direction."""
        parts = (self.colour, self.shape, self.binding, self.direction, self.left_right, self.lasting)
        asked = [part for part in parts if not math.isnan(part)]
        return math.fsum(asked) / len(asked)


def asked_of(films: int) -> tuple[Item, ...]:
    """So many prompts of the smoke list, their kinds in turns; after the list's end it starts again."""
    queues: dict[Kind, list[Item]] = {}
    for item in prompts("smoke"):
        queues.setdefault(item.kind, []).append(item)
    taken = dict.fromkeys(queues, 0)

    def turns() -> Iterator[Item]:
        for k in range(films):
            kind = _DOZEN[k % len(_DOZEN)]
            yield queues[kind][taken[kind] % len(queues[kind])]
            taken[kind] += 1

    return tuple(turns())


def facts(film: Callable[[str, int], UInt8[np.ndarray, "f h w 3"]], fps: float, *, films: int = 12) -> Facts:
    """Ask a model for a few films of held-out combinations, and count what is right.

    A film is judged in about 0.05 s of one core, so the time goes into making them. With a dozen films one
    more that is right moves `direction` or `left_right` by a quarter: ask for 48 where two checkpoints are
    close. The prompts and seeds are the same every time, so two checkpoints can be compared.

    Args:
        film: the film of a prompt and a seed, of the lab's camera, at least 48 pixels high.
        fps: frames per second of the films.
        films: how many to ask for.
    """
    seen = [judge(item.prompt, film(item.prompt, item.seed), fps) for item in asked_of(films)]
    return Facts(
        films=len(seen),
        colour=_share(v.colour for v in seen),
        shape=_share(v.shape for v in seen),
        binding=_share(v.binding for v in seen),
        direction=_share(v.direction for v in seen),
        left_right=_share(v.left_right for v in seen),
        hits=_share(None if v.hits is None else v.hits and not v.frozen for v in seen),
        moving=_share(None if v.frozen is None else v.parsed and not v.frozen for v in seen),
        births=sum(v.births for v in seen) / len(seen),
        deaths=sum(v.deaths for v in seen) / len(seen),
        lasting=_share(v.parsed and not v.births and not v.deaths for v in seen),
    )


def _share(verdicts: Iterator[bool | None]) -> float:
    asked = [v for v in verdicts if v is not None]
    return sum(asked) / len(asked) if asked else math.nan
