"""How a model wants to be run: what its weights were trained for, apart from their shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Solver = Literal["euler", "heun", "unipc"]
Pictures = Literal["none", "channels", "frames"]
LongFilms = Literal["windows", "cache"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings that a film is made with unless the person asks for others.

    Attributes:
        steps: of the solver.
        guidance: scale of classifier-free guidance, 1 is off; one for each expert, high noise first.
        shift: of the noise schedule towards noise.
        solver: see `kinema.sampling.solve`.
        eta: how much noise is drawn anew at every step of a film that is made, not changed
            (`kinema.sampling.AncestralNoise`); of the solver `euler` alone.
        schedule: `wan` has whole thousandths of time, as its networks were trained; `linear` has even steps.
        boundary: with two experts, the second speaks where t is below this.
        pictures: how a given picture enters. `none`: not at all. `channels`: beside the noise, as mask and
            condition channels. `frames`: as clean latent frames, at time 0.
        size: width and height.
        frames: of a film.
        fps: frames per second.
        negative: what guidance steers away from.
        long_films: how a film longer than `frames` goes on from the finished ones. `windows`: given again in
            front of the new ones. `cache`: as keys and values, for transformers trained under block-causal
            masks; see `kinema.pipeline.streaming`.
        fast_steps: of a model distilled to few steps, without guidance; None: it is not.
    """

    steps: int = 50
    guidance: tuple[float, ...] = (5.0,)
    shift: float = 3.0
    solver: Solver = "unipc"
    eta: float = 0.0
    schedule: Literal["wan", "linear"] = "wan"
    boundary: float | None = None
    pictures: Pictures = "none"
    size: tuple[int, int] = (832, 480)
    frames: int = 81
    fps: float = 16.0
    negative: str = ""
    long_films: LongFilms = "windows"
    fast_steps: int | None = None

    def __post_init__(self) -> None:
        if self.fast_steps is not None and self.fast_steps < 1:
            raise ValueError(f"a film takes at least one step, not {self.fast_steps}")
        if self.steps < 1 or self.frames < 1 or self.fps <= 0 or self.shift <= 0:
            raise ValueError(f"steps, frames, fps and shift are positive, not {self}")
        if not 0 <= self.eta <= 1 or (self.eta and self.solver != "euler"):
            raise ValueError(f"eta lies between 0 and 1, and above 0 with euler alone, not {self.eta}")
        if len(self.guidance) != (1 if self.boundary is None else 2):
            raise ValueError(f"one guidance scale for each expert, not {len(self.guidance)}")

    @property
    def experts(self) -> int:
        """How many transformers share the noise levels."""
        return len(self.guidance)
