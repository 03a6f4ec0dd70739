"""The interface of the text encoders: prompts to hidden states."""

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
    """Hidden states of prompts, one per token; zeros after the last token of each prompt.

    Attributes:
        hidden_states: the last hidden states of the encoder.
        lengths: the number of tokens of each prompt, 1 or more; on the CPU.
    """

    hidden_states: Float[Tensor, "b l d"]
    lengths: Int[Tensor, " b"]

    @classmethod
    def from_list(cls, prompts: Sequence[Float[Tensor, "_ d"]]) -> TextEmbeddings:
        """A batch of prompts of different lengths."""
        return cls(
            hidden_states=torch.nn.utils.rnn.pad_sequence(list(prompts), batch_first=True),
            lengths=torch.tensor([len(states) for states in prompts]),
        )

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TextEmbeddings:
        """The same with hidden states on another device or in another type."""
        return TextEmbeddings(
            hidden_states=self.hidden_states.to(device=device, dtype=dtype), lengths=self.lengths
        )


@runtime_checkable
class TextEncoder(Protocol):
    """Encodes prompts."""

    @property
    def hidden_size(self) -> int:
        """Channels of a hidden state."""
        ...

    def encode(self, prompts: Sequence[str]) -> TextEmbeddings:
        """Hidden states of the prompts; the empty prompt is valid and serves as the unconditional one."""
        ...


def clean_prompt(prompt: str) -> str:
    """A prompt as in Wan's training: mojibake repaired, HTML unescaped twice, whitespace collapsed."""
    import ftfy

    unescaped = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", unescaped).strip()
