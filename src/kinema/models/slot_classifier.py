"""A classifier of slots: reads token states of a prompt and predicts one value for each slot.

Learned queries, one for each slot, attend to the token states of a frozen text encoder (as the object queries
of DETR do, arXiv 2005.12872). The slots are those of `kinema.simulator.captions.everyday.slots`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def convert_slots(
    weights: Mapping[str, Tensor], old_slots: Sequence[Slot], slots: Sequence[Slot]
) -> dict[str, Tensor]:
    """The weights of a classifier for other slots, to train further.

    Slots and values of the same name keep their weights. A new value has those of the old slot's last value,
    and a new slot those of the last old slot whose name differs in its number alone.

    Args:
        weights: of a classifier of `old_slots`.
        old_slots: its slots.
        slots: the new ones.

    Raises:
        ValueError: a new slot has no old one to start from.
    """
    places = {slot.name: index for index, slot in enumerate(old_slots)}
    sources = []
    for slot in slots:
        name = slot.name
        alike = [one for one in places if one.rstrip("0123456789") == name.rstrip("0123456789")]
        if name not in places and not (alike and name[-1].isdigit()):
            raise ValueError(f"the weights have no slot like {name!r}, only {', '.join(places)}")
        sources.append(places[name] if name in places else places[alike[-1]])
    converted = {name: tensor for name, tensor in weights.items() if not name.startswith("heads.")}
    converted["queries"] = weights["queries"][sources]
    for index, (slot, source) in enumerate(zip(slots, sources, strict=True)):
        old_values = old_slots[source].values
        rows = [
            old_values.index(value) if value in old_values else len(old_values) - 1 for value in slot.values
        ]
        for part in ("weight", "bias"):
            converted[f"heads.{index}.{part}"] = weights[f"heads.{source}.{part}"][rows]
    return converted
