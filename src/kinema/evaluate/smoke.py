"""A quick verdict on one film, for choosing checkpoints while a model is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from kinema.evaluate.binding import binding, on_right_side
from kinema.evaluate.cause import meeting
from kinema.evaluate.direction import direction, frozen
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
