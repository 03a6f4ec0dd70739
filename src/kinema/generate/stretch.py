"""A transformer under the prompts that speak in a stretch of a film."""

from __future__ import annotations

import torch
from torch import Tensor

from kinema import flow
from kinema.generate.network import Spoken
from kinema.models.dit import Dit
from kinema.models.dit_cache import DitCache
from kinema.models.dit_context import TextContext
from kinema.models.text import TextStates


class Stretches:
    """Velocities of parts of one film; the keys and values of a prompt are made when it begins to speak.

    Only the last stretch's are kept, so a storyboard of any length takes the memory of one part.
    """

    def __init__(self, dit: Dit, spoken: Spoken, *, guidance: float) -> None:
        self._dit, self._spoken, self._guidance = dit, spoken, guidance
        self._said: tuple[tuple[int, ...], TextContext] | None = None

    def context(self, frames: range) -> TextContext:
        """What is said in these latent frames, and with guidance the negative prompt behind it."""
        speaks = self._spoken.speaks[frames.start : frames.stop]
        if len(set(speaks)) == 1:
            speaks = speaks[:1]
        if self._said is None or self._said[0] != speaks:
            with torch.no_grad():
                told = _told(self._spoken, speaks).context(self._dit, negative=self._guidance != 1)
            self._said = (speaks, told)
        return self._said[1]

    def velocity(self, frames: range, cache: DitCache | None = None) -> flow.Velocity:
        """Of these latent frames, behind what the cache remembers.

        Without a cache they see themselves alone, in their place in the film.
        """
        behind = DitCache(seen=frames.start) if cache is None else cache
        network = _Network(self._dit, self.context(frames), behind)
        return flow.guided(network, flow.Guidance(scale=self._guidance))


class _Network:
    """A transformer under its prompts, behind its cache."""

    def __init__(self, dit: Dit, context: TextContext, cache: DitCache) -> None:
        self._dit, self._context, self._cache = dit, context, cache

    def __call__(self, latents: Tensor, time: Tensor, *, both: bool) -> Tensor:  # noqa: ARG002 - as Prompted
        with torch.no_grad():
            return self._dit(latents, time, self._context, cache=self._cache)


def _told(spoken: Spoken, speaks: tuple[int, ...]) -> Spoken:
    """The lines of `speaks` alone, with the negative prompt behind them."""
    used = sorted(set(speaks))
    rows = torch.tensor([*used, len(spoken.states.lengths) - 1])
    states = spoken.states.states
    return Spoken(
        states=TextStates(states=states[rows.to(states.device)], lengths=spoken.states.lengths[rows]),
        image=spoken.image,
        speaks=tuple(used.index(line) for line in speaks),
    )
