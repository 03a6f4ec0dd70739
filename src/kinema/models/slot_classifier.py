"""A classifier of slots: reads token states of a prompt and predicts one value for each slot.

Learned queries, one for each slot, attend to the token states of a frozen text encoder (as the object queries
of DETR do, arXiv 2005.12872). The slots are those of `kinema.simulator.captions.everyday.slots`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A slot and the values that it can have."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SlotClassifierConfig:
    """Size of the classifier.

    Attributes:
        slots: what is predicted.
        text_width: channels of the token states.
        text_layers: layers of the text encoder that the states have passed. Middle layers know more about
            words, the last ones more about the whole sentence.
        width: channels of queries and tokens.
        heads: of attention.
        encoder_layers: self-attention over the tokens.
        decoder_layers: self-attention over the queries, and cross-attention to the tokens.
        dropout: of attention and feed-forward layers, while it is trained.
    """

    slots: tuple[Slot, ...]
    text_width: int = 384
    text_layers: int = 3
    width: int = 256
    heads: int = 8
    encoder_layers: int = 1
    decoder_layers: int = 2
    dropout: float = 0.1


class SlotClassifier(nn.Module):
    """Token states to the logits of each slot."""

    def __init__(self, config: SlotClassifierConfig) -> None:
        super().__init__()
        self.config = config
        width, heads = config.width, config.heads
        self.project = nn.Sequential(nn.LayerNorm(config.text_width), nn.Linear(config.text_width, width))
        options = {
            "dim_feedforward": 4 * width,
            "dropout": config.dropout,
            "activation": "gelu",
            "norm_first": True,
        }
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, batch_first=True, **options)
            for _ in range(config.encoder_layers)
        )
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(width, heads, batch_first=True, **options)
            for _ in range(config.decoder_layers)
        )
        self.queries = nn.Parameter(torch.empty(len(config.slots), width))
        nn.init.normal_(self.queries, std=width**-0.5)
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(nn.Linear(width, len(slot.values)) for slot in config.slots)

    def forward(
        self, states: Float[Tensor, "b l d"], lengths: Int[Tensor, " b"]
    ) -> dict[str, Float[Tensor, "b _"]]:
        """The logits of each slot, by its name.

        Args:
            states: of the text encoder after `text_layers` layers.
            lengths: tokens of each prompt.
        """
        is_padding = None
        if int(lengths.min()) < states.shape[1]:
            # With a mask torch imports its symbolic shapes, which takes longer than all of this.
            position = torch.arange(states.shape[1], device=states.device)
            is_padding = position >= lengths[:, None].to(states.device)
        tokens = self.project(states)
        for layer in self.encoder:
            tokens = layer(tokens, src_key_padding_mask=is_padding)
        queries = self.queries.expand(len(states), -1, -1)
        for layer in self.decoder:
            queries = layer(queries, tokens, memory_key_padding_mask=is_padding)
        queries = self.norm(queries)
        return {
            slot.name: head(queries[:, index])
            for index, (slot, head) in enumerate(zip(self.config.slots, self.heads, strict=True))
        }
