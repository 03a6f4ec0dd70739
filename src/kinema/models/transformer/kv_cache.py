"""The key-value cache of autoregressive streaming: finished latent frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.models.transformer.text_context import KeyValue


@dataclass(frozen=True, kw_only=True)
class KvCache:
    """Keys and values of finished latent frames for every block, in constant memory.

    The keys are stored without rotary positions, which are applied when the cache is read. Positions
    therefore count from the oldest frame in the cache and stay in the range of training. The first
    `sink_frames` frames of the video are always kept (attention sinks, arXiv 2309.17453), and the last
    `window_frames`.

    Attributes:
        blocks: keys and values of each block; empty before the first frame.
        tokens_per_frame: tokens of a latent frame.
        total_frames: latent frames of the video so far, with those that were dropped.
        sink_frames: how many of the first frames are kept.
        window_frames: how many of the last frames are kept; None keeps all.
    """

    blocks: tuple[KeyValue, ...] = ()
    tokens_per_frame: int = 0
    total_frames: int = 0
    sink_frames: int = 0
    window_frames: int | None = None

    def __post_init__(self) -> None:
        if self.sink_frames < 0 or (self.window_frames is not None and self.window_frames < 1):
            raise ValueError(
                f"window_frames is at least 1 and sink_frames at least 0, "
                f"not {self.window_frames} and {self.sink_frames}"
            )

    @property
    def num_frames(self) -> int:
        """Latent frames in the cache."""
        return self.blocks[0].keys.shape[2] // self.tokens_per_frame if self.blocks else 0

    @property
    def batch_size(self) -> int:
        """Videos in the batch, 0 before the first frame."""
        return self.blocks[0].keys.shape[0] if self.blocks else 0

    def append(self, new: tuple[KeyValue, ...], tokens_per_frame: int) -> KvCache:
        """The cache with the frames of `new` appended, and frames beyond the window dropped."""
        if self.blocks and tokens_per_frame != self.tokens_per_frame:
            raise ValueError(
                f"frames of {tokens_per_frame} tokens can't follow frames of {self.tokens_per_frame} tokens"
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
