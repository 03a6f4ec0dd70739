"""From words to states: the interface that every text encoder has here."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TextEmbeddings:
    """One state per token, zero behind each prompt's last token.

    Attributes:
        hidden_states: the encoder's last hidden states.
        lengths: how many tokens of each prompt are real, 1 or more; on the CPU.
    """

    hidden_states: Float[Tensor, "b l d"]
    lengths: Int[Tensor, " b"]

    @classmethod
    def from_list(cls, prompts: Sequence[Float[Tensor, "_ d"]]) -> TextEmbeddings:
        """Prompts of different lengths as one batch."""
        return cls(
            hidden_states=torch.nn.utils.rnn.pad_sequence(list(prompts), batch_first=True),
            lengths=torch.tensor([len(states) for states in prompts]),
        )

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TextEmbeddings:
        """The same, its states elsewhere or in another type."""
        return TextEmbeddings(
            hidden_states=self.hidden_states.to(device=device, dtype=dtype), lengths=self.lengths
        )


@runtime_checkable
class TextEncoder(Protocol):
    """Whatever turns prompts into states."""

    @property
    def hidden_size(self) -> int:
        """Channels of a state."""
        ...

    def encode(self, prompts: Sequence[str]) -> TextEmbeddings:
        """States of the prompts; the empty prompt is one too, the unconditional."""
        ...


def clean_prompt(prompt: str) -> str:
    """A prompt as Wan was trained on it: mojibake repaired, HTML unescaped twice, whitespace collapsed."""
    import ftfy

    unescaped = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", unescaped).strip()
