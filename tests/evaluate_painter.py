"""A model for the scorecard's tests that any process can make: it draws, by its seed, what may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.evaluate.makers import Format, Frames, Order
from kinema.evaluate.meaning import read
from tests.evaluate_films import Disc, film, line, still


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Draws the first two things of a prompt as discs that go or stand somewhere."""

    apart: bool
    batch: int = 1

    def generator(self) -> Drawing:
        return self

    def fingerprint(self) -> str:
        return "drawing"

    def films(self, orders: Sequence[Order], form: Format) -> list[Frames]:
        return [self._film(order.prompt, order.seed, form) for order in orders]

    def _film(self, prompt: str, seed: int, form: Format) -> Frames:
        rng = np.random.default_rng([seed, len(prompt)])
        discs = []
        for thing in read(prompt).things[:2]:
            x = line(*rng.uniform(10, form.width - 10, 2), form.frames)
            discs.append(
                Disc(colour=thing.colour, x=x, y=still(float(rng.uniform(20, 40)), form.frames), radius=6.0)
            )
        return film(*discs, frames=form.frames, size=form.width)
