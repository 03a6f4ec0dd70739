"""Quick verdicts for choosing checkpoints while a model is trained: on one film, and on a dozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from kinema.evaluation.binding import check_left_right, measure_binding
from kinema.evaluation.causality import measure_collision
from kinema.evaluation.direction import check_direction, is_frozen
from kinema.evaluation.matching import match_objects
from kinema.evaluation.permanence import measure_permanence
from kinema.evaluation.prompt_parser import parse_prompt
from kinema.evaluation.prompt_sets import PromptItem, PromptKind, build_prompt_set
from kinema.evaluation.tracking import track_objects


@dataclass(frozen=True, kw_only=True)
class QuickScores:
    """What is right and wrong about a film. None where the prompt does not ask for it."""

    has_objects: bool
    """False: nothing was found that could be judged; everything asked for then counts as wrong."""
    colour: bool
    shape: bool
    binding: bool
    """Colours, shapes and number together."""
    direction: bool | None
    left_right: bool | None
    collision: bool | None
    """What is to hit does, what is to miss does, and nothing moves too early."""
    frozen: bool | None
    """What is to move stands still: a fault."""
    births: int
    """Things out of nowhere."""
    deaths: int
    """Things gone into nothing."""

    @property
    def is_correct(self) -> bool:
        """Everything that the prompt asks for is there, and nothing went wrong."""
        asked = (
            self.direction,
            self.left_right,
            self.collision,
            None if self.frozen is None else not self.frozen,
        )
        return self.binding and all(a for a in asked if a is not None) and not self.births and not self.deaths


def quick_score(prompt: str, frames: UInt8[np.ndarray, "f h w 3"], fps: float) -> QuickScores:
    """Judge a film of the lab against the plain prompt it was made from.

    Args:
        prompt: a 'core' caption, such as 'a red ball rolls to the left and hits a blue cube'.
        frames: at least 48 pixels high, made for the lab's own camera.
        fps: frames per second.

    Raises:
        UserError: the prompt is none of the lab's.
    """
    film = track_objects(frames, fps)
    scene = match_objects(parse_prompt(prompt), film)
    bound = measure_binding(scene)
    lasting = measure_permanence(film)
    met = measure_collision(scene)
    return QuickScores(
        has_objects=bool(film.tracks),
        colour=bound.passes(bound.colour),
        shape=bound.passes(bound.shape),
        binding=bound.passes(bound.pairs),
        direction=check_direction(scene),
        left_right=check_left_right(scene),
        collision=None if met is None else met.is_correct(),
        frozen=is_frozen(scene),
        births=len(lasting.births),
        deaths=len(lasting.deaths),
    )


_KIND_CYCLE: tuple[PromptKind, ...] = (
    "roll", "still", "collide", "roll", "still", "drop", "roll", "still", "collide", "roll", "still",
    "occlude",
)  # fmt: skip
"""What the first twelve prompts ask for; the next twelve ask for the same of other things."""


@dataclass(frozen=True, kw_only=True)
class QuickSummary:
    """What a model gets right of a handful of prompts: shares of the films that each is asked of.

    NaN where none of the films is asked.
    """

    num_videos: int
    colour: float
    shape: float
    binding: float
    direction: float
    left_right: float
    collision: float
    moving: float
    """What is to move does not stand still."""
    births: float
    """Things out of nowhere, per film."""
    deaths: float
    """Things gone into nothing, per film."""
    permanence: float
    """Films in which something was found, and nothing came out of nowhere or went there."""

    @property
    def score(self) -> float:
        """One figure to choose checkpoints by: the mean of colour, shape, binding, direction, left/right and
        lasting, of those that were asked. 1 is a model without a fault; a frozen film gets no direction."""
        parts = (self.colour, self.shape, self.binding, self.direction, self.left_right, self.permanence)
        asked = [part for part in parts if not math.isnan(part)]
        return math.fsum(asked) / len(asked)


def sample_prompts(num_prompts: int) -> tuple[PromptItem, ...]:
    """So many prompts of the smoke list, their kinds in turns; after the list's end it starts again."""
    queues: dict[PromptKind, list[PromptItem]] = {}
    for item in build_prompt_set("smoke"):
        queues.setdefault(item.kind, []).append(item)
    taken = dict.fromkeys(queues, 0)

    def turns() -> Iterator[PromptItem]:
        for k in range(num_prompts):
            kind = _KIND_CYCLE[k % len(_KIND_CYCLE)]
            yield queues[kind][taken[kind] % len(queues[kind])]
            taken[kind] += 1

    return tuple(turns())


def run_quick_eval(
    generate_video: Callable[[str, int], UInt8[np.ndarray, "f h w 3"]], fps: float, *, num_videos: int = 12
) -> QuickSummary:
    """Ask a model for a few films of held-out combinations, and count what is right.

    A film is judged in about 0.05 s of one core, so the time goes into making them. With a dozen films one
    more that is right moves `direction` or `left_right` by a quarter: ask for 48 where two checkpoints are
    close. The prompts and seeds are the same every time, so two checkpoints can be compared.

    Args:
        generate_video: the film of a prompt and a seed, of the lab's camera, at least 48 pixels high.
        fps: frames per second of the films.
        num_videos: how many to ask for.
    """
    seen = [
        quick_score(item.prompt, generate_video(item.prompt, item.seed), fps)
        for item in sample_prompts(num_videos)
    ]
    return QuickSummary(
        num_videos=len(seen),
        colour=_pass_rate(v.colour for v in seen),
        shape=_pass_rate(v.shape for v in seen),
        binding=_pass_rate(v.binding for v in seen),
        direction=_pass_rate(v.direction for v in seen),
        left_right=_pass_rate(v.left_right for v in seen),
        collision=_pass_rate(None if v.collision is None else v.collision and not v.frozen for v in seen),
        moving=_pass_rate(None if v.frozen is None else v.has_objects and not v.frozen for v in seen),
        births=sum(v.births for v in seen) / len(seen),
        deaths=sum(v.deaths for v in seen) / len(seen),
        permanence=_pass_rate(v.has_objects and not v.births and not v.deaths for v in seen),
    )


def _pass_rate(verdicts: Iterator[bool | None]) -> float:
    asked = [v for v in verdicts if v is not None]
    return sum(asked) / len(asked) if asked else math.nan
