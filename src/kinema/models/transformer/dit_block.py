"""One block of the transformer: self-attention, attention to the text, feed-forward.

Parameters are named as in diffusers' `WanTransformer3DModel`, so published weights load one to one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinema.models.transformer.attention import AttentionBackend, ShardedTokens, multi_head_attention
from kinema.models.transformer.dit_config import DitConfig
from kinema.models.transformer.ops import gated_add, layer_norm, linear, modulated_norm
from kinema.models.transformer.rope import RopeTable, apply_rope, rms_norm_rope
from kinema.models.transformer.text_context import KeyValue

_MLP_CHUNK_TOKENS = 1280
"""Tokens per chunk of the feed-forward layers on a CPU."""


@dataclass(frozen=True, kw_only=True)
class AttentionLayout:
    """Positions and masks of a sequence, the same for every block.

    Attributes:
        rope: rotations of the cached frames, then of the sequence; None for text.
        bias: logit bias of the self-attention's keys: joint text, cached frames, the sequence.
        text_bias: logit bias of the cross-attention's keys.
        key_ranges: see `multi_head_attention`.
        backend: what computes attention.
        sharded: the tokens of this process, where several processes share the sequence.
    """

    rope: RopeTable | None
    bias: Float[Tensor, "b 1 q n"] | None = None
    text_bias: Float[Tensor, "b 1 q n"] | None = None
    key_ranges: tuple[tuple[int, int, int], ...] = ()
    backend: AttentionBackend = "sdpa"
    sharded: ShardedTokens | None = None


class SelfAttention(nn.Module):
    """Attention of the tokens to each other, to joint text and to cached frames."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.eps, self.norm_across_heads = config.heads, config.eps, config.qk_norm == "across"
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        normed = width if self.norm_across_heads else config.head_width
        self.norm_q = nn.RMSNorm(normed, eps=config.eps)
        self.norm_k = nn.RMSNorm(normed, eps=config.eps)

    @property
    def output_proj(self) -> nn.Linear:
        """The output projection."""
        return cast("nn.Linear", self.to_out[0])

    def _norm_heads(self, x: Float[Tensor, "b n d"], norm: nn.RMSNorm) -> Float[Tensor, "b n heads k"]:
        # Under autocast the weight is float32 and `x` is not; the fused kernel needs one type.
        weight = norm.weight.to(x.dtype)
        if self.norm_across_heads:
            return functional.rms_norm(x, norm.normalized_shape, weight, norm.eps).unflatten(
                -1, (self.heads, -1)
            )
        split = x.unflatten(-1, (self.heads, -1))
        return functional.rms_norm(split, norm.normalized_shape, weight, norm.eps)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        layout: AttentionLayout,
        text_kv: KeyValue | None,
        past_kv: KeyValue | None,
        return_kv: bool,
    ) -> tuple[Float[Tensor, "b n d"], KeyValue | None]:
        """The update of `x`, and with `return_kv` its keys without rotary positions and its values."""
        query, key = linear(x, self.to_q), linear(x, self.to_k)
        value = linear(x, self.to_v).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if layout.sharded is not None:
            return self._forward_sharded(query, key, value, layout, text_kv, past_kv, return_kv)
        new = None
        rope = layout.rope
        if self.norm_across_heads and rope is not None and past_kv is None and not return_kv:
            queries = rms_norm_rope(query, self.norm_q.weight, self.eps, self.heads, rope)
            keys = rms_norm_rope(key, self.norm_k.weight, self.eps, self.heads, rope)
            # Each block of queries reads all values, which is faster when each head is contiguous.
            value = value.contiguous()
        else:
            normed = self._norm_heads(key, self.norm_k)
            if return_kv:
                new = KeyValue(keys=normed.transpose(1, 2), values=value)
            if past_kv is not None:
                normed = torch.cat([past_kv.keys.transpose(1, 2), normed], dim=1)
                value = torch.cat([past_kv.values, value], dim=2)
            normed_query = self._norm_heads(query, self.norm_q)
            if rope is not None:
                normed = apply_rope(normed, rope)
                normed_query = apply_rope(normed_query, rope.last(x.shape[1]))
            queries, keys = normed_query.transpose(1, 2), normed.transpose(1, 2)
        if text_kv is not None:
            keys, value = torch.cat([text_kv.keys, keys], dim=2), torch.cat([text_kv.values, value], dim=2)
        out = multi_head_attention(
            queries,
            keys,
            value,
            bias=layout.bias,
            key_ranges=layout.key_ranges,
            backend=layout.backend,
        )
        return linear(out, self.output_proj), new

    def _forward_sharded(
        self,
        query: Float[Tensor, "b n d"],
        key: Float[Tensor, "b n d"],
        value: Float[Tensor, "b heads n k"],
        layout: AttentionLayout,
        text_kv: KeyValue | None,
        past_kv: KeyValue | None,
        return_kv: bool,
    ) -> tuple[Float[Tensor, "b n d"], KeyValue | None]:
        """The same where several processes share the sequence. The norm needs all heads, positions do not."""
        sharded, rope = layout.sharded, layout.rope
        assert sharded is not None
        local = torch.stack(
            [
                self._norm_heads(query, self.norm_q),
                self._norm_heads(key, self.norm_k),
                value.transpose(1, 2),
            ]
        )
        queries, keys, values = sharded.to_heads(local)
        new = None
        if return_kv:
            new = KeyValue(keys=keys.transpose(1, 2), values=values.transpose(1, 2))
        if past_kv is not None:
            keys = torch.cat([past_kv.keys.transpose(1, 2), keys], dim=1)
            values = torch.cat([past_kv.values.transpose(1, 2), values], dim=1)
        if rope is not None:
            keys, queries = apply_rope(keys, rope), apply_rope(queries, rope.last(queries.shape[1]))
        prefix = None
        if text_kv is not None:
            prefix = sharded.own_heads(text_kv.keys), sharded.own_heads(text_kv.values)
        out = sharded.attend(
            queries.transpose(1, 2),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            prefix,
            bias=layout.bias,
            key_ranges=layout.key_ranges,
            backend=layout.backend,
        )
        return linear(sharded.to_tokens(out), self.output_proj), new


class CrossAttention(nn.Module):
    """Attention to text plus attention to image embeddings."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.norm_q = nn.RMSNorm(width, eps=config.eps)
        self.norm_k = nn.RMSNorm(width, eps=config.eps)
        if config.image_width is not None:
            self.add_k_proj = nn.Linear(width, width)
            self.add_v_proj = nn.Linear(width, width)
            self.norm_added_k = nn.RMSNorm(width, eps=config.eps)

    @property
    def output_proj(self) -> nn.Linear:
        """The output projection."""
        return cast("nn.Linear", self.to_out[0])

    def _split_heads(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b heads n k"]:
        # Computed once and read at every step, so making each head contiguous pays.
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).contiguous()

    def project_text(self, text: Float[Tensor, "b n d"]) -> KeyValue:
        """Keys and values of embedded text."""
        return KeyValue(
            keys=self._split_heads(self.norm_k(linear(text, self.to_k))),
            values=self._split_heads(linear(text, self.to_v)),
        )

    def project_image(self, image: Float[Tensor, "b n d"]) -> KeyValue:
        """Keys and values of embedded images."""
        return KeyValue(
            keys=self._split_heads(self.norm_added_k(linear(image, self.add_k_proj))),
            values=self._split_heads(linear(image, self.add_v_proj)),
        )

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        text_kv: KeyValue,
        image_kv: KeyValue | None,
        bias: Tensor | None,
        backend: AttentionBackend = "sdpa",
    ) -> Float[Tensor, "b n d"]:
        """The update of `x`."""
        query = self.norm_q(linear(x, self.to_q)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        out = multi_head_attention(query, text_kv.keys, text_kv.values, bias=bias, backend=backend)
        if image_kv is not None:
            out = out + multi_head_attention(query, image_kv.keys, image_kv.values, backend=backend)
        return linear(out, self.output_proj)


class Projection(nn.Module):
    """A linear layer under the name `proj`, where diffusers keeps an activation's layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, outputs)


class FeedForward(nn.Module):
    """An MLP of two linear layers."""

    def __init__(
        self, width: int, hidden: int, outputs: int, activation: Literal["gelu", "gelu_erf", "relu2", "silu"]
    ) -> None:
        super().__init__()
        self.activation = activation
        self.net = nn.ModuleDict({"0": Projection(width, hidden), "2": nn.Linear(hidden, outputs)})

    @property
    def output_proj(self) -> nn.Linear:
        """The second linear layer."""
        return cast("nn.Linear", self.net["2"])

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n d"]:
        """Apply both layers; on a CPU without autograd, in chunks of tokens.

        The hidden activations are several times as wide as the tokens. A chunk stays in the CPU's cache,
        which makes a guidance step of 1,280 tokens 5% faster, and only one chunk needs memory.
        """
        rows = x.flatten(0, -2)
        if len(rows) <= _MLP_CHUNK_TOKENS or x.device.type != "cpu" or torch.is_grad_enabled():
            return self._mlp(x)
        num_chunks = -(-len(rows) // _MLP_CHUNK_TOKENS)
        out = x.new_empty(len(rows), self.output_proj.out_features)
        for source, target in zip(rows.chunk(num_chunks), out.chunk(num_chunks), strict=True):
            target.copy_(self._mlp(source))
        return out.view(*x.shape[:-1], -1)

    def _mlp(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n d"]:
        first = cast("Projection", self.net["0"]).proj
        if self.activation == "gelu":
            hidden = linear(x, first, gelu=True)
        elif self.activation == "relu2":
            hidden = functional.relu(linear(x, first)).square()
        elif self.activation == "silu":
            hidden = functional.silu(linear(x, first))
        else:
            hidden = functional.gelu(linear(x, first))
        return linear(hidden, self.output_proj)


class DitBlock(nn.Module):
    """Self-attention, cross-attention (not with joint text), feed-forward."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.width
        self.eps, self.joint = config.eps, config.text_conditioning == "joint"
        self.attn1 = SelfAttention(config)
        if not self.joint:
            self.attn2 = CrossAttention(config)
            self.norm2 = nn.LayerNorm(width, eps=config.eps)
        self.ffn = FeedForward(width, config.mlp_width, width, config.activation)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 6, width))

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        modulation: Float[Tensor, "b2 f 6 d"],
        layout: AttentionLayout,
        text_kv: KeyValue | None = None,
        image_kv: KeyValue | None = None,
        past_kv: KeyValue | None = None,
        *,
        num_branches: int = 1,
        return_kv: bool = False,
    ) -> tuple[Float[Tensor, "b3 n d"], KeyValue | None]:
        """The output tokens, and with `return_kv` the keys and values of the self-attention.

        Args:
            x: input tokens. Without autograd they may be overwritten.
            modulation: the projected sigma embedding, one row per sample and latent frame, or one for all.
            layout: positions and masks.
            text_kv: keys and values of the text.
            image_kv: keys and values of image embeddings.
            past_kv: keys and values of finished frames.
            num_branches: the batch is repeated this many times after the self-attention.
            return_kv: return the self-attention's keys and values.
        """
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (
            self.scale_shift_table + modulation.float()
        ).unbind(2)
        normed = modulated_norm(x, shift, scale, self.eps)
        update, new_kv = self.attn1(normed, layout, text_kv if self.joint else None, past_kv, return_kv)
        x = gated_add(x, update, gate)
        if num_branches > 1:
            x = x.repeat(num_branches, 1, 1)
            if len(modulation) > 1:
                mlp_shift, mlp_scale, mlp_gate = (
                    row.repeat(num_branches, 1, 1) for row in (mlp_shift, mlp_scale, mlp_gate)
                )
        if not self.joint and text_kv is not None:
            normed = layer_norm(x, self.norm2.weight, self.norm2.bias, self.eps)
            x = x + self.attn2(normed, text_kv, image_kv, layout.text_bias, layout.backend)
        update = self.ffn(modulated_norm(x, mlp_shift, mlp_scale, self.eps))
        return gated_add(x, update, mlp_gate), new_kv


class ControlBlock(DitBlock):
    """A block of the control branch: a block of the transformer with a projection out of the branch.

    The first one has a projection into it as well, whose output is added to the video's tokens.
    """

    def __init__(self, config: DitConfig, *, is_first: bool) -> None:
        super().__init__(config)
        self.proj_in = nn.Linear(config.width, config.width) if is_first else None
        self.proj_out = nn.Linear(config.width, config.width)
