"""A model's transformers, with their prompts and guidance, as one velocity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinema import flow
from kinema.generate.condition import Picture
from kinema.generate.part import Part, release
from kinema.models.dit import Dit
from kinema.models.dit_context import TextContext, batched, storyboard
from kinema.models.source import ModelFolder
from kinema.models.text import TextStates
from kinema.models.wan import WanFolder


@dataclass(frozen=True, kw_only=True, eq=False)
class Spoken:
    """What the transformers are told.

    Attributes:
        states: of the lines of the condition in order, the negative prompt last.
        image: of an image encoder.
        speaks: for each latent frame the line that speaks.
    """

    states: TextStates
    image: Float[Tensor, "1 m c"] | None
    speaks: tuple[int, ...]

    def context(self, dit: Dit, *, negative: bool) -> TextContext:
        """Keys and values for a transformer: the lines', and with `negative` the negative prompt's behind."""
        return context([self], dit, negative=negative)

    def told(self, dit: Dit) -> TextContext:
        """The lines'."""
        contexts = [self._of(dit, index) for index in range(len(self.states.lengths) - 1)]
        return contexts[0] if len(contexts) == 1 else storyboard(contexts, self.speaks)

    def kept_out(self, dit: Dit) -> TextContext:
        """The negative prompt's."""
        return self._of(dit, -1)

    def _of(self, dit: Dit, index: int) -> TextContext:
        length = int(self.states.lengths[index])
        states = TextStates(
            states=self.states.states[index][None, :length], lengths=self.states.lengths[index].view(1)
        )
        return dit.context(states, self.image)


def context(films: Sequence[Spoken], dit: Dit, *, negative: bool) -> TextContext:
    """Of several films as one batch: what each is told, and with `negative` all negative prompts behind."""
    contexts = [film.told(dit) for film in films]
    return batched([*contexts, *(film.kept_out(dit) for film in films)] if negative else contexts)


def seen(
    model: ModelFolder, pictures: Sequence[Picture], *, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "1 m c"] | None:
    """What a CLIP sees of the pictures as they were before they were fitted; None where there is none."""
    if not isinstance(model, WanFolder) or not model.sees_pictures:
        return None
    shown = [picture.image if picture.original is None else picture.original for picture in pictures]
    part = Part(lambda: model.load_image(dtype=dtype, device=device), keep=False)
    with part.use() as clip:
        return clip.encode(shown).flatten(0, 1)[None]


class _Network:
    """One transformer under its prompts."""

    def __init__(
        self,
        dit: Dit,
        films: Sequence[Spoken],
        *,
        negative: bool,
        channels: Float[Tensor, "1 k f h w"] | None,
    ) -> None:
        self.dit, self.channels = dit, channels
        self.alone = context(films, dit, negative=False)
        self.both = context(films, dit, negative=True) if negative else None

    def __call__(self, latents: Tensor, time: Tensor, *, both: bool) -> Tensor:
        if self.channels is not None:
            latents = torch.cat([latents, self.channels], dim=1)
        told = self.both if both else self.alone
        assert told is not None
        return self.dit(latents, time, told)


class Experts:
    """The velocity of a model of one transformer, or of two that share the noise levels.

    An expert is loaded when its levels are reached. Where memory is short the other is dropped first.
    Films of one shape can be made in one batch: what is said in each stands in `films`.
    """

    def __init__(
        self,
        parts: Sequence[Part[Dit]],
        films: Sequence[Spoken],
        *,
        guidance: tuple[float, ...],
        boundary: float | None,
        channels: Float[Tensor, "1 k f h w"] | None,
        keep: bool,
    ) -> None:
        self._parts, self._films, self._channels = parts, films, channels
        self._guidance, self._boundary, self._keep = guidance, boundary, keep
        self._ready: dict[int, flow.Velocity] = {}

    def __call__(
        self, latents: Float[Tensor, "b c f h w"], time: Float[Tensor, "b f"]
    ) -> Float[Tensor, "b c f h w"]:
        """noise − data."""
        clean = self._boundary is not None and time.max().item() < self._boundary
        with torch.no_grad():
            return self._velocity(int(clean))(latents, time)

    def _velocity(self, expert: int) -> flow.Velocity:
        if expert not in self._ready:
            if not self._keep and self._ready:
                self._ready.clear()
                release()
            scale = self._guidance[expert]
            network = _Network(
                self._parts[expert].get(), self._films, negative=scale != 1, channels=self._channels
            )
            self._ready[expert] = flow.guided(network, flow.Guidance(scale=scale))
        return self._ready[expert]
