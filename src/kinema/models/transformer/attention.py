"""Multi-head attention, and the key ranges of block-causal masks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def multi_head_attention(
    query: Float[Tensor, "b heads q k"],
    key: Float[Tensor, "b heads n k"],
    value: Float[Tensor, "b heads n k"],
    *,
    bias: Float[Tensor, "#b #heads #q n"] | None = None,
    key_ranges: tuple[tuple[int, int, int], ...] = (),
) -> Float[Tensor, "b q heads_k"]:
    """softmax(q·k / √k + bias)·v, with the heads concatenated.

    Args:
        query: queries.
        key: keys.
        value: values.
        bias: added to the logits; cast to the type of the query.
        key_ranges: triples (start, stop, keys): queries from start to stop attend to the first `keys` keys
            only. A block-causal mask is a few such ranges, which need no mask in memory and compute no
            masked products. Empty: every query attends to every key.
    """
    if bias is not None:
        bias = bias.to(query.dtype)
    if not key_ranges:
        return _sdpa(query, key, value, bias).transpose(1, 2).flatten(2)
    parts = [
        _sdpa(
            query[:, :, start:stop],
            key[:, :, :keys],
            value[:, :, :keys],
            None if bias is None else (bias if bias.shape[2] == 1 else bias[:, :, start:stop])[..., :keys],
        )
        for start, stop, keys in key_ranges
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).flatten(2)


_MAX_UNFUSED_LOGITS = 2**26
"""With more logits, the fused kernel is used."""


def _sdpa(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """torch's fused attention; for training in bfloat16 on a CPU, unfused products.

    There the fused kernel's gradient took a third of a training step of 112 tokens, the products a tenth.
    """
    logits = query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]
    unfused = query.device.type == "cpu" and query.dtype is torch.bfloat16 and torch.is_grad_enabled()
    if not unfused or logits > _MAX_UNFUSED_LOGITS:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return torch.softmax(scores.float(), dim=-1).to(value.dtype) @ value


def block_causal_ranges(
    block_frames: tuple[int, ...], tokens_per_frame: int, num_prefix_keys: int = 0
) -> tuple[tuple[int, int, int], ...]:
    """Key ranges of a block-causal mask: each block attends to itself, earlier blocks and the prefix keys.

    Args:
        block_frames: latent frames of each block, in order.
        tokens_per_frame: tokens of a latent frame.
        num_prefix_keys: keys before the first frame, which all blocks attend to (text, cached frames).
    """
    ranges, start = [], 0
    for frames in block_frames:
        stop = start + frames * tokens_per_frame
        ranges.append((start, stop, num_prefix_keys + stop))
        start = stop
    return tuple(ranges)
