"""What a film in the making remembers of its finished latent frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.models.transformer.text_context import KeyValue


@dataclass(frozen=True, kw_only=True)
class KvCache:
    """Keys and values of finished latent frames for every block, in constant memory.

    The keys are kept without their rotation: it is applied after reading, so positions count from the oldest
    frame that is kept and never grow beyond what the model has seen. The first `sink_frames` frames of the film are
    always kept (attention sinks, arXiv 2309.17453), then the last `window_frames`.

    Attributes:
        blocks: per block; empty before the first frame.
        tokens_per_frame: tokens of a latent frame.
        total_frames: latent frames of the film so far, those forgotten too.
        sink_frames: how many first frames stay.
        window_frames: how many last frames stay; None keeps all.
    """

    blocks: tuple[KeyValue, ...] = ()
    tokens_per_frame: int = 0
    total_frames: int = 0
    sink_frames: int = 0
    window_frames: int | None = None

    def __post_init__(self) -> None:
        if self.sink_frames < 0 or (self.window_frames is not None and self.window_frames < 1):
            raise ValueError(
                f"a window of {self.window_frames} and {self.sink_frames} sink frames keep nothing"
            )

    @property
    def num_frames(self) -> int:
        """Latent frames that are kept."""
        return self.blocks[0].keys.shape[2] // self.tokens_per_frame if self.blocks else 0

    @property
    def batch_size(self) -> int:
        """Films in the batch, 0 before the first frame."""
        return self.blocks[0].keys.shape[0] if self.blocks else 0

    def append(self, new: tuple[KeyValue, ...], tokens_per_frame: int) -> KvCache:
        """With the frames of `new` behind, and the oldest beyond the window forgotten."""
        if self.blocks and tokens_per_frame != self.tokens_per_frame:
            raise ValueError(
                f"frames of {tokens_per_frame} tokens can't follow frames of {self.tokens_per_frame}"
            )
        joined = new
        if self.blocks:
            joined = tuple(
                KeyValue(
                    keys=torch.cat([old.keys, add.keys], dim=2),
                    values=torch.cat([old.values, add.values], dim=2),
                )
                for old, add in zip(self.blocks, new, strict=True)
            )
        frames = joined[0].keys.shape[2] // tokens_per_frame
        if self.window_frames is not None and frames > self.sink_frames + self.window_frames:
            first, last = (
                self.sink_frames * tokens_per_frame,
                (frames - self.window_frames) * tokens_per_frame,
            )

            def trim(x: Tensor) -> Tensor:
                return torch.cat([x[:, :, :first], x[:, :, last:]], dim=2)

            joined = tuple(KeyValue(keys=trim(kept.keys), values=trim(kept.values)) for kept in joined)
        added = new[0].keys.shape[2] // tokens_per_frame
        return KvCache(
            blocks=joined,
            tokens_per_frame=tokens_per_frame,
            total_frames=self.total_frames + added,
            sink_frames=self.sink_frames,
            window_frames=self.window_frames,
        )
