"""The one attention of every transformer here."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def attend(
    query: Float[Tensor, "b heads q k"],
    key: Float[Tensor, "b heads n k"],
    value: Float[Tensor, "b heads n k"],
    *,
    bias: Float[Tensor, "#b #heads #q n"] | None = None,
    spans: tuple[tuple[int, int, int], ...] = (),
) -> Float[Tensor, "b q heads_k"]:
    """softmax(q·k / √k + bias)·v, with the heads joined again.

    Args:
        query: what asks.
        key: what is asked.
        value: what answers.
        bias: added to the logits; it is cast to the type of the query.
        spans: triples (start, stop, keys): queries from start to stop see the first `keys` keys alone. A
            block-causal mask is a few such spans, and a span needs neither a mask in memory nor a product
            that is thrown away, which a masked kernel computes. Empty: every query sees every key.
    """
    if bias is not None:
        bias = bias.to(query.dtype)
    if not spans:
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return out.transpose(1, 2).flatten(2)
    parts = [
        functional.scaled_dot_product_attention(
            query[:, :, start:stop],
            key[:, :, :keys],
            value[:, :, :keys],
            attn_mask=None
            if bias is None
            else (bias if bias.shape[2] == 1 else bias[:, :, start:stop])[..., :keys],
        )
        for start, stop, keys in spans
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).flatten(2)


def block_causal(blocks: tuple[int, ...], tokens: int, prefix: int = 0) -> tuple[tuple[int, int, int], ...]:
    """Spans in which each block of frames sees itself, all blocks before it, and `prefix` keys in front.

    Args:
        blocks: how many latent frames each block has, in order.
        tokens: tokens in a latent frame.
        prefix: keys in front of the first frame that everything sees (text, cached frames).
    """
    spans, start = [], 0
    for frames in blocks:
        stop = start + frames * tokens
        spans.append((start, stop, prefix + stop))
        start = stop
    return tuple(spans)
