"""What a film in the making remembers of its finished latent frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.models.dit_context import KeysValues


@dataclass(frozen=True, kw_only=True)
class DitCache:
    """Keys and values of finished latent frames for every block, in constant memory.

    The keys are kept without their rotation: it is applied after reading, so positions count from the oldest
    frame that is kept and never grow beyond what the model has seen. The first `sink` frames of the film are
    always kept (attention sinks, arXiv 2309.17453), then the last `window`.

    Attributes:
        blocks: per block; empty before the first frame.
        tokens: tokens of a latent frame.
        seen: latent frames of the film so far, those forgotten too.
        sink: how many first frames stay.
        window: how many last frames stay; None keeps all.
    """

    blocks: tuple[KeysValues, ...] = ()
    tokens: int = 0
    seen: int = 0
    sink: int = 0
    window: int | None = None

    def __post_init__(self) -> None:
        if self.sink < 0 or (self.window is not None and self.window < 1):
            raise ValueError(f"a window of {self.window} and {self.sink} sink frames keep nothing")

    @property
    def frames(self) -> int:
        """Latent frames that are kept."""
        return self.blocks[0].keys.shape[2] // self.tokens if self.blocks else 0

    @property
    def batch(self) -> int:
        """Films in the batch, 0 before the first frame."""
        return self.blocks[0].keys.shape[0] if self.blocks else 0

    def extended(self, new: tuple[KeysValues, ...], tokens: int) -> DitCache:
        """With the frames of `new` behind, and the oldest beyond the window forgotten."""
        if self.blocks and tokens != self.tokens:
            raise ValueError(f"frames of {tokens} tokens can't follow frames of {self.tokens}")
        joined = new
        if self.blocks:
            joined = tuple(
                KeysValues(
                    keys=torch.cat([old.keys, add.keys], dim=2),
                    values=torch.cat([old.values, add.values], dim=2),
                )
                for old, add in zip(self.blocks, new, strict=True)
            )
        frames = joined[0].keys.shape[2] // tokens
        if self.window is not None and frames > self.sink + self.window:
            first, last = self.sink * tokens, (frames - self.window) * tokens

            def trim(x: Tensor) -> Tensor:
                return torch.cat([x[:, :, :first], x[:, :, last:]], dim=2)

            joined = tuple(KeysValues(keys=trim(kept.keys), values=trim(kept.values)) for kept in joined)
        added = new[0].keys.shape[2] // tokens
        return DitCache(
            blocks=joined, tokens=tokens, seen=self.seen + added, sink=self.sink, window=self.window
        )
