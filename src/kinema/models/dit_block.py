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

from kinema.models.attention import attend
from kinema.models.dit_config import DitConfig
from kinema.models.dit_context import KeysValues
from kinema.models.dit_ops import gated_add, layer_norm, linear, modulated_norm
from kinema.models.rope import Rotation, normed_rotate, rotate

_ROWS_AT_ONCE = 1280
"""Tokens that a processor takes through the feed-forward layers at once."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the tokens of a sequence are and whom they see; the same for every block.

    Attributes:
        rotation: of the cached frames and then of the sequence's own; None leaves the text unrotated.
        bias: of the self-attention's keys: text in front (if it joins), cached frames, own frames.
        text_bias: of the cross-attention's keys.
        spans: see `attend`.
    """

    rotation: Rotation | None
    bias: Float[Tensor, "b 1 q n"] | None = None
    text_bias: Float[Tensor, "b 1 q n"] | None = None
    spans: tuple[tuple[int, int, int], ...] = ()


class SelfAttention(nn.Module):
    """Attention of the tokens to each other, to text in front of them and to cached frames."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.eps, self.across = config.heads, config.eps, config.qk_norm == "across"
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        normed = width if self.across else config.head_width
        self.norm_q = nn.RMSNorm(normed, eps=config.eps)
        self.norm_k = nn.RMSNorm(normed, eps=config.eps)

    @property
    def output(self) -> nn.Linear:
        """The layer behind the heads."""
        return cast("nn.Linear", self.to_out[0])

    def _norm(self, x: Float[Tensor, "b n d"], norm: nn.RMSNorm) -> Float[Tensor, "b n heads k"]:
        # Under autocast the weight is float32 and `x` is not; the fused kernel wants one type.
        weight = norm.weight.to(x.dtype)
        if self.across:
            return functional.rms_norm(x, norm.normalized_shape, weight, norm.eps).unflatten(
                -1, (self.heads, -1)
            )
        split = x.unflatten(-1, (self.heads, -1))
        return functional.rms_norm(split, norm.normalized_shape, weight, norm.eps)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        layout: Layout,
        text: KeysValues | None,
        past: KeysValues | None,
        keep: bool,
    ) -> tuple[Float[Tensor, "b n d"], KeysValues | None]:
        """The update of `x`, and with `keep` the new unrotated keys and the values."""
        query, key = linear(x, self.to_q), linear(x, self.to_k)
        value = linear(x, self.to_v).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        new = None
        turn = layout.rotation
        if self.across and turn is not None and past is None and not keep:
            queries = normed_rotate(query, self.norm_q.weight, self.eps, self.heads, turn)
            keys = normed_rotate(key, self.norm_k.weight, self.eps, self.heads, turn)
            # Every block of queries reads all values: head by head they are read faster.
            value = value.contiguous()
        else:
            normed = self._norm(key, self.norm_k)
            if keep:
                new = KeysValues(keys=normed.transpose(1, 2), values=value)
            if past is not None:
                normed = torch.cat([past.keys.transpose(1, 2), normed], dim=1)
                value = torch.cat([past.values, value], dim=2)
            asked = self._norm(query, self.norm_q)
            if turn is not None:
                normed = rotate(normed, turn)
                asked = rotate(asked, turn.last(x.shape[1]))
            queries, keys = asked.transpose(1, 2), normed.transpose(1, 2)
        if text is not None:
            keys, value = torch.cat([text.keys, keys], dim=2), torch.cat([text.values, value], dim=2)
        out = attend(queries, keys, value, bias=layout.bias, spans=layout.spans)
        return linear(out, self.output), new


class CrossAttention(nn.Module):
    """Attention to text, and beside it to image states, whose results add up."""

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
    def output(self) -> nn.Linear:
        """The layer behind the heads."""
        return cast("nn.Linear", self.to_out[0])

    def _split(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b heads n k"]:
        # Read at every step but made once, so laying it out for the attention pays.
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).contiguous()

    def text_keys(self, text: Float[Tensor, "b n d"]) -> KeysValues:
        """Keys and values of embedded text."""
        return KeysValues(
            keys=self._split(self.norm_k(linear(text, self.to_k))),
            values=self._split(linear(text, self.to_v)),
        )

    def image_keys(self, image: Float[Tensor, "b n d"]) -> KeysValues:
        """Keys and values of embedded image states."""
        return KeysValues(
            keys=self._split(self.norm_added_k(linear(image, self.add_k_proj))),
            values=self._split(linear(image, self.add_v_proj)),
        )

    def forward(
        self, x: Float[Tensor, "b n d"], text: KeysValues, image: KeysValues | None, bias: Tensor | None
    ) -> Float[Tensor, "b n d"]:
        """The update of `x`."""
        query = self.norm_q(linear(x, self.to_q)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        out = attend(query, text.keys, text.values, bias=bias)
        if image is not None:
            out = out + attend(query, image.keys, image.values)
        return linear(out, self.output)


class Projection(nn.Module):
    """A linear layer under the name `proj`, where diffusers keeps an activation's layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, outputs)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(
        self, width: int, hidden: int, outputs: int, activation: Literal["gelu", "gelu_erf", "relu2"]
    ) -> None:
        super().__init__()
        self.activation = activation
        self.net = nn.ModuleDict({"0": Projection(width, hidden), "2": nn.Linear(hidden, outputs)})

    @property
    def output(self) -> nn.Linear:
        """The second layer."""
        return cast("nn.Linear", self.net["2"])

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n d"]:
        """Through both layers; on a processor, without autograd, some tokens at a time.

        What is between the layers is several times as wide as the tokens. In pieces it stays in the cache,
        which makes a guidance step of 1,280 tokens a twentieth faster, and needs memory for one piece alone.
        """
        rows = x.flatten(0, -2)
        if len(rows) <= _ROWS_AT_ONCE or x.device.type != "cpu" or torch.is_grad_enabled():
            return self._both(x)
        pieces = -(-len(rows) // _ROWS_AT_ONCE)
        out = x.new_empty(len(rows), self.output.out_features)
        for source, target in zip(rows.chunk(pieces), out.chunk(pieces), strict=True):
            target.copy_(self._both(source))
        return out.view(*x.shape[:-1], -1)

    def _both(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n d"]:
        first = cast("Projection", self.net["0"]).proj
        if self.activation == "gelu":
            hidden = linear(x, first, gelu=True)
        elif self.activation == "relu2":
            hidden = functional.relu(linear(x, first)).square()
        else:
            hidden = functional.gelu(linear(x, first))
        return linear(hidden, self.output)


class Block(nn.Module):
    """Self-attention, cross-attention where text does not join the sequence, feed-forward."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.width
        self.eps, self.joint = config.eps, config.text == "joint"
        self.attn1 = SelfAttention(config)
        if not self.joint:
            self.attn2 = CrossAttention(config)
            self.norm2 = nn.LayerNorm(width, eps=config.eps)
        self.ffn = FeedForward(width, config.mlp_width, width, config.activation)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 6, width))

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        time: Float[Tensor, "b2 f 6 d"],
        layout: Layout,
        text: KeysValues | None = None,
        image: KeysValues | None = None,
        past: KeysValues | None = None,
        *,
        branches: int = 1,
        keep: bool = False,
    ) -> tuple[Float[Tensor, "b3 n d"], KeysValues | None]:
        """The tokens behind this block, and with `keep` the keys and values of its self-attention.

        Args:
            x: tokens. Without autograd they may be overwritten.
            time: the projected time embedding, one row per sample and latent frame or for all.
            layout: positions and masks.
            text: keys and values of the text.
            image: keys and values of image states.
            past: keys and values of finished frames.
            branches: the batch of `x` is used this many times over for the text, the self-attention once.
            keep: return the self-attention's keys and values.
        """
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (self.scale_shift_table + time.float()).unbind(2)
        normed = modulated_norm(x, shift, scale, self.eps)
        update, kept = self.attn1(normed, layout, text if self.joint else None, past, keep)
        x = gated_add(x, update, gate)
        if branches > 1:
            x = x.repeat(branches, 1, 1)
            if len(time) > 1:
                mlp_shift, mlp_scale, mlp_gate = (
                    row.repeat(branches, 1, 1) for row in (mlp_shift, mlp_scale, mlp_gate)
                )
        if not self.joint and text is not None:
            normed = layer_norm(x, self.norm2.weight, self.norm2.bias, self.eps)
            x = x + self.attn2(normed, text, image, layout.text_bias)
        update = self.ffn(modulated_norm(x, mlp_shift, mlp_scale, self.eps))
        return gated_add(x, update, mlp_gate), kept
