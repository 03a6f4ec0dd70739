"""UMT5, the text encoder of Wan (arXiv 2304.09151), through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.models.text_encoders.base import TextEmbeddings, clean_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel


class Umt5:
    """Token states of a UMT5 encoder, a `TextEncoder`.

    Wan pads prompts to 512 tokens, masks the pads while encoding and sets them to zero afterwards. The mask
    makes the real tokens independent of the pads, so only the real ones are encoded here: a prompt of 60
    tokens takes a seventh of the time. `Dit.context` puts the zeros back, as one key.
    """

    def __init__(
        self, model: UMT5EncoderModel, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int = 512
    ) -> None:
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens

    @property
    def hidden_size(self) -> int:
        """Channels of a state."""
        return self.model.config.d_model

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextEmbeddings:
        """States of the cleaned prompts, their end mark among them; what exceeds 512 tokens is cut off."""
        rows = []
        for prompt in prompts:
            # One at a time: prompts of unequal length would have to be padded against each other.
            ids = self.tokenizer(clean_prompt(prompt), truncation=True, max_length=self.max_tokens).input_ids
            rows.append(encode_token_ids(self.model, ids))
        return TextEmbeddings.from_list(rows)


@torch.no_grad()
def encode_token_ids(model: UMT5EncoderModel, ids: Sequence[int]) -> Float[Tensor, "l d"]:
    """States of the tokens of one prompt, and of nothing else."""
    return model(input_ids=torch.tensor([ids], device=model.device)).last_hidden_state[0]
