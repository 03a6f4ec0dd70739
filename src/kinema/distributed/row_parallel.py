"""Decoding one video on several processes: each has some rows of every frame.

A 3x3 convolution reads one row of each neighbour, which is sent before it. Attention within a frame reads the
keys of all rows. The frames are those of one process, up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from kinema.distributed.group import Group


@dataclass(frozen=True, kw_only=True, eq=False)
class RowShards:
    """The rows of this process; see `kinema.models.vae.layers.RowSharding`.

    Attributes:
        group: the processes, from the top of the frame down.
        sizes: latent rows of each; at least one.
    """

    group: Group
    sizes: tuple[int, ...]

    @classmethod
    def divide(cls, group: Group, rows: int) -> RowShards | None:
        """As even a division as possible; None where there are fewer rows than processes."""
        if group.size == 1 or rows < group.size:
            return None
        each, more = divmod(rows, group.size)
        return cls(group=group, sizes=tuple(each + (index < more) for index in range(group.size)))

    @property
    def own(self) -> slice:
        """The latent rows of this process."""
        start = sum(self.sizes[: self.group.index])
        return slice(start, start + self.sizes[self.group.index])

    @property
    def _has_above(self) -> bool:
        return self.group.index > 0

    @property
    def _has_below(self) -> bool:
        return self.group.index < self.group.size - 1

    def extend(self, x: Float[Tensor, "b f h w c"]) -> Float[Tensor, "b f h2 w c"]:
        """With a row of each neighbour."""
        above, below = self.group.index - 1, self.group.index + 1
        sent, received = [], []
        if self._has_above:
            sent.append((above, x[:, :, :1]))
            received.append((above, torch.empty_like(x[:, :, :1], memory_format=torch.contiguous_format)))
        if self._has_below:
            sent.append((below, x[:, :, -1:]))
            received.append((below, torch.empty_like(x[:, :, :1], memory_format=torch.contiguous_format)))
        self.group.exchange(sent, received).wait()
        rows = [tensor for _, tensor in received]
        parts = [rows[0], x] if self._has_above else [x]
        return torch.cat([*parts, rows[-1]] if self._has_below else parts, dim=2)

    def crop(self, x: Float[Tensor, "b f h w c"], scale: int = 1) -> Float[Tensor, "b f h2 w c"]:
        """Without what came of the neighbours' rows, each of which became `scale` rows."""
        own = x[:, :, scale if self._has_above else 0 : -scale if self._has_below else None]
        return own.contiguous()

    def gather(self, x: Tensor) -> Tensor:
        """The rows of all processes, on the third of five axes."""
        scale = x.shape[2] // self.sizes[self.group.index]
        padded = functional.pad(x, (0, 0, 0, 0, 0, max(self.sizes) * scale - x.shape[2]))
        parts = self.group.all_gather(padded)
        return torch.cat([part[:, :, : n * scale] for part, n in zip(parts, self.sizes, strict=True)], dim=2)

    def gather_frames(self, frames: UInt8[Tensor, "f h w c"]) -> UInt8[Tensor, "f h2 w c"]:
        """The whole frames."""
        return self.gather(frames[None])[0]
