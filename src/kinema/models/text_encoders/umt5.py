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
    """UMT5 with one hidden state per token, a `TextEncoder`.

    Wan pads prompts to 512 tokens, masks the padding while encoding and sets it to zero afterwards. The mask
    makes the tokens of the prompt independent of the padding, so only these are encoded here: a prompt of 60
    tokens takes a seventh of the time. `Dit.context` represents the padding by one key.
    """

    def __init__(
        self, model: UMT5EncoderModel, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int = 512
    ) -> None:
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens

    @property
    def hidden_size(self) -> int:
        """Channels of a hidden state."""
        return self.model.config.d_model

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextEmbeddings:
        """Hidden states of the cleaned prompts, with the end token; prompts are cut at `max_tokens`."""
        rows = []
        for prompt in prompts:
            # One at a time: in a batch, prompts of different lengths would need padding.
            ids = self.tokenizer(clean_prompt(prompt), truncation=True, max_length=self.max_tokens).input_ids
            rows.append(encode_token_ids(self.model, ids))
        return TextEmbeddings.from_list(rows)


@torch.no_grad()
def encode_token_ids(model: UMT5EncoderModel, ids: Sequence[int]) -> Float[Tensor, "l d"]:
    """Hidden states of the tokens of one prompt, without padding."""
    return model(input_ids=torch.tensor([ids], device=model.device)).last_hidden_state[0]
