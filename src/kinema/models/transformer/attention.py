"""The one attention of every transformer here."""

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
    """softmax(q·k / √k + bias)·v, with the heads joined again.

    Args:
        query: what asks.
        key: what is asked.
        value: what answers.
        bias: added to the logits; it is cast to the type of the query.
        key_ranges: triples (start, stop, keys): queries from start to stop see the first `keys` keys alone. A
            block-causal mask is a few such spans, and a span needs neither a mask in memory nor a product
            that is thrown away, which a masked kernel computes. Empty: every query sees every key.
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
"""Above so many logits they are not written out."""


def _sdpa(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """torch's attention; on a processor, in training in bfloat16, its three products written out.

    The fused kernel's gradient there took a third of a training step of 112 tokens, the products a tenth.
    """
    logits = query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]
    plain = query.device.type == "cpu" and query.dtype is torch.bfloat16 and torch.is_grad_enabled()
    if not plain or logits > _MAX_UNFUSED_LOGITS:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return torch.softmax(scores.float(), dim=-1).to(value.dtype) @ value


def block_causal_ranges(
    block_frames: tuple[int, ...], tokens_per_frame: int, num_prefix_keys: int = 0
) -> tuple[tuple[int, int, int], ...]:
    """Spans in which each block of frames sees itself, all blocks before it, and `num_prefix_keys` keys in front.

    Args:
        block_frames: how many latent frames each block has, in order.
        tokens_per_frame: tokens in a latent frame.
        num_prefix_keys: keys in front of the first frame that everything sees (text, cached frames).
    """
    spans, start = [], 0
    for frames in block_frames:
        stop = start + frames * tokens_per_frame
        spans.append((start, stop, num_prefix_keys + stop))
        start = stop
    return tuple(spans)
