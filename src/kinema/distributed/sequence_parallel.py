"""One video on several processes: its tokens are divided, and attention exchanges what it needs.

Every process has a part of each latent frame's tokens; only self-attention reads tokens of others. Two ways
are combined. Ulysses (arXiv 2309.14509) exchanges tokens for heads, so that each process of a group has all
the group's tokens of some heads. Ring attention (arXiv 2310.01889) passes keys and values from group to group
and merges the results. A process sends 4 tensors of its own tokens for each Ulysses attention (without what
stays), and 2 of its group's keys for each step of a ring.

Frames whose tokens can't be divided evenly are padded. Attention does not see the padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kinema.distributed.group import Group
from kinema.errors import UserError
from kinema.models.transformer.attention import (
    AttentionBackend,
    attention_with_lse,
    merge_attention,
    multi_head_attention,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class SequenceGroups:
    """The processes that share a sequence: `ulysses` within, `ring` between the Ulysses groups.

    Attributes:
        ulysses: processes with the same tokens in attention and other heads.
        ring: processes with the same heads and other tokens.
        whole: all of them, ring by ring.
    """

    ulysses: Group
    ring: Group
    whole: Group

    def __call__(self, frames: int, tokens: int) -> TokenShards:
        """The division of `frames` latent frames of `tokens` tokens each.

        Raises:
            UserError: there are fewer tokens than processes.
        """
        shards = TokenShards(groups=self, frames=frames, total=tokens)
        if self.whole.size > 1 and (self.ring.size - 1) * shards.part >= tokens:
            raise UserError(
                f"a latent frame of {tokens} tokens can't be divided among {self.whole.size} processes; "
                "start fewer processes or give a larger size"
            )
        return shards


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenShards:
    """The tokens of this process; see `kinema.models.transformer.attention.ShardedTokens`.

    Attributes:
        groups: the processes.
        frames: latent frames.
        total: tokens of each.
    """

    groups: SequenceGroups
    frames: int
    total: int

    @property
    def tokens(self) -> int:
        """Tokens of a latent frame in this process, with padding."""
        return -(-self.total // self.groups.whole.size)

    @property
    def part(self) -> int:
        """Tokens of a latent frame in a Ulysses group, with padding."""
        return self.tokens * self.groups.ulysses.size

    def _num_valid(self, ring_index: int) -> int:
        return min(self.part, self.total - ring_index * self.part)

    @property
    def attention_tokens(self) -> int:
        """Tokens of a latent frame that this process has in self-attention, without padding."""
        return self._num_valid(self.groups.ring.index)

    @property
    def has_all_tokens(self) -> bool:
        """Whether there is no ring."""
        return self.groups.ring.size == 1

    def shard(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n2 d"]:
        """This process's tokens of a sequence that all processes have."""
        whole = self.groups.whole
        by_frame = x.unflatten(1, (self.frames, self.total))
        padded = functional.pad(by_frame, (0, 0, 0, self.tokens * whole.size - self.total))
        start = whole.index * self.tokens
        return padded[:, :, start : start + self.tokens].flatten(1, 2)

    def gather(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n2 d"]:
        """The whole sequence from the parts of all processes."""
        parts = [part.unflatten(1, (self.frames, -1)) for part in self.groups.whole.all_gather(x)]
        return torch.cat(parts, dim=2)[:, :, : self.total].flatten(1, 2)

    def attention_rows(self, table: Tensor) -> Tensor:
        """The rows of a table of all tokens, with any number of latent frames, that attention has here."""
        start = self.groups.ring.index * self.part
        by_frame = table.unflatten(0, (-1, self.total))
        return by_frame[:, start : start + self.attention_tokens].flatten(0, 1)

    def to_heads(self, x: Float[Tensor, "m b n heads k"]) -> Float[Tensor, "m b n2 heads2 k"]:
        """From some tokens of all heads to the attention's tokens of some heads."""
        group = self.groups.ulysses
        rows = x.unflatten(3, (group.size, -1)).movedim(3, 0)  # process m b n heads2 k
        received = group.all_to_all(rows).unflatten(3, (self.frames, self.tokens))
        # process m b f t heads2 k -> m b f (process t) heads2 k
        joined = received.movedim(0, 3).flatten(3, 4)
        return joined[:, :, :, : self.attention_tokens].flatten(2, 3)

    def to_tokens(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n2 d2"]:
        """The reverse of `to_heads`, with the heads concatenated."""
        group = self.groups.ulysses
        by_frame = x.unflatten(1, (self.frames, -1))
        padded = functional.pad(by_frame, (0, 0, 0, self.part - self.attention_tokens))
        rows = padded.unflatten(2, (group.size, self.tokens)).movedim(2, 0)  # process b f t d
        received = group.all_to_all(rows.flatten(2, 3))  # process b n d
        return received.movedim(0, 2).flatten(2, 3)

    def own_heads(self, x: Float[Tensor, "b heads n k"]) -> Float[Tensor, "b heads2 n k"]:
        """This process's heads of keys or values that all processes have."""
        return x.chunk(self.groups.ulysses.size, dim=1)[self.groups.ulysses.index]

    def attend(
        self,
        query: Float[Tensor, "b heads q k"],
        key: Float[Tensor, "b heads n k"],
        value: Float[Tensor, "b heads n k"],
        prefix: tuple[Tensor, Tensor] | None,
        *,
        bias: Tensor | None,
        key_ranges: tuple[tuple[int, int, int], ...],
        backend: AttentionBackend,
    ) -> Float[Tensor, "b q heads_k"]:
        """Attention to the keys of all processes, and to a prefix that each of them has."""
        if self.groups.ring.size > 1:
            return self._attend_ring(query, key, value, prefix, bias)
        if prefix is not None:
            key, value = torch.cat([prefix[0], key], dim=2), torch.cat([prefix[1], value], dim=2)
        return multi_head_attention(query, key, value, bias=bias, key_ranges=key_ranges, backend=backend)

    def _attend_ring(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        prefix: tuple[Tensor, Tensor] | None,
        bias: Tensor | None,
    ) -> Tensor:
        """Keys and values go around; while those of the next process come, the present ones are read."""
        ring = self.groups.ring
        frames = key.shape[2] // self.attention_tokens
        result = None
        if prefix is not None:
            prefix_bias = None if bias is None else bias[..., : prefix[0].shape[2]]
            result = attention_with_lse(query, *prefix, prefix_bias)
        present = torch.stack([key, value])
        for step in range(ring.size):
            following, transfer = None, None
            if step + 1 < ring.size:
                tokens = frames * self._num_valid((ring.index + step + 1) % ring.size)
                following = present.new_empty((*present.shape[:3], tokens, present.shape[4]))
                before, after = (ring.index - 1) % ring.size, (ring.index + 1) % ring.size
                transfer = ring.exchange([(before, present)], [(after, following)])
            one = attention_with_lse(query, present[0], present[1])
            result = one if result is None else merge_attention(result, one)
            if transfer is not None and following is not None:
                transfer.wait()
                present = following
        assert result is not None
        return result[0].to(query.dtype).transpose(1, 2).flatten(2)
