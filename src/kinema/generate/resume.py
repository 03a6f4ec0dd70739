"""What the solver is told of a take, and where a run that was stopped goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from kinema.errors import UserError
from kinema.generate.condition import Changed, Given
from kinema.generate.network import Spoken
from kinema.generate.progress import Saved, Step
from kinema.generate.takes import Take, takes_in
from kinema.shapes import LatentShape, Stride


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What the solver is told of a take.

    Attributes:
        spoken: the prompts.
        given: latent frames.
        channels: beside the noise, for models that read pictures there.
        changed: the film that is changed.
    """

    spoken: Spoken
    given: Given
    channels: Float[Tensor, "1 k f h w"] | None = None
    changed: Changed | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """The first step of a take that is to be done, and what the solver remembers of those before."""

    first: int = 0
    history: tuple[Float[Tensor, "1 c f h w"], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Resumed:
    """A saved state, taken apart.

    Attributes:
        steps: of each take.
        finished: takes that are finished.
        parts: latents of the finished takes, then of the one under way.
        under_way: where the take after the finished ones goes on.
    """

    steps: tuple[int, ...]
    finished: int = 0
    parts: tuple[Float[Tensor, "1 c _ h w"], ...] = ()
    under_way: Start = dataclasses.field(default_factory=Start)

    @classmethod
    def of(
        cls, saved: Saved | None, steps: Sequence[int], takes: tuple[Take, ...], stride: Stride
    ) -> Resumed:
        """A state of these takes, or a fresh start.

        Raises:
            UserError: the state is not of these takes.
        """
        if saved is None:
            return cls(steps=tuple(steps))
        number, index = 0, saved.index
        while number < len(steps) and index >= steps[number]:
            index -= steps[number]
            number += 1
        done = index + 1
        expected = 0
        shapes = [LatentShape.of(take.film, stride) for take in takes[: number + 1]]
        expected = sum(shape.frames for shape in shapes)
        size = (shapes[0].height, shapes[0].width)
        if saved.index < 0 or number == len(steps) or saved.latents.shape[2:] != (expected, *size):
            raise UserError(
                f"the saved state (step {saved.index}, latents {tuple(saved.latents.shape)}) is of another "
                "film than this one; start it anew"
            )
        parts = takes_in(saved.latents[:1], takes, stride)
        past = expected - parts[-1].shape[2]
        history = tuple(row[:, :, past:] for row in saved.latents[1:].split(1) if len(row))
        if done == steps[number]:
            return cls(steps=tuple(steps), finished=number + 1, parts=parts)
        start = Start(first=done, history=history)
        return cls(steps=tuple(steps), finished=number, parts=parts, under_way=start)

    def latents(self, number: int, noise: Float[Tensor, "1 c f h w"]) -> Float[Tensor, "1 c f h w"]:
        """Where the solver stands in a take: at its noise, if it has not begun."""
        return self.parts[number].to(noise.device) if number < len(self.parts) else noise

    def start(self, number: int) -> Start:
        """Where a take goes on."""
        return self.under_way if number == self.finished else Start()

    def counted(self, step: Step, number: int, finished: Sequence[Tensor]) -> Step:
        """A take's step, counted through all takes."""
        return dataclasses.replace(
            step,
            index=sum(self.steps[:number]) + step.index,
            of=sum(self.steps),
            finished=tuple(finished),
        )
