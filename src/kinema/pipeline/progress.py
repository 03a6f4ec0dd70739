"""What a film in the making says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.pipeline.latent_preview import LatentPreviewer


@dataclass(frozen=True, kw_only=True)
class StageProgress:
    """A stage other than the solver's steps has come so far."""

    name: Literal["text", "pictures", "decode"]
    done: int
    total: int


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplerState:
    """The state after a step, from which the rest gives the uninterrupted film, bit for bit.

    Attributes:
        index: of the step, from 0, as `Step.index`.
        latents: one tensor that holds all there is to keep: in row 0 the film's latents so far, those of
            finished takes in front of those under way; in further rows what a multi-step solver remembers.
    """

    index: int
    latents: Float[Tensor, "k c f h w"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplingStep:
    """A step of the solver is done.

    Attributes:
        index: from 0; where a film is made in several takes, it counts through all of them.
        total: how many there are.
        sigma: the noise level now reached.
        latents: of the take under way, at that level, normalised; the solver goes on from them, so they are
            not to be written into.
        clean: the network's guess at the finished latents.
        finished_latents: of the takes before.
        history: what a multi-step solver remembers.
    """

    index: int
    total: int
    sigma: float
    latents: Float[Tensor, "1 c f h w"]
    clean: Float[Tensor, "1 c f h w"]
    _previewer: LatentPreviewer
    finished_latents: tuple[Float[Tensor, "1 c _ h w"], ...] = ()
    history: tuple[Float[Tensor, "1 c f h w"], ...] = ()

    def preview(self) -> UInt8[np.ndarray, "f h w 3"]:
        """A rough picture of the guess: one frame for each latent frame, one pixel for each latent pixel."""
        return self._previewer.render(self.clean)

    def to_state(self) -> SamplerState:
        """The state, on the CPU; see `SamplerState`."""
        past = sum(part.shape[2] for part in self.finished_latents)
        rows = [torch.cat([*self.finished_latents, self.latents], dim=2)]
        for row in self.history:
            rows.append(torch.nn.functional.pad(row, (0, 0, 0, 0, past, 0)))
        return SamplerState(index=self.index, latents=torch.cat(rows).cpu())
