"""Keys and values of the prompts: computed once per prompt, read at every sampling step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class KeyValue:
    """Keys and values of one attention layer."""

    keys: Float[Tensor, "b heads n k"]
    values: Float[Tensor, "b heads n k"]


@dataclass(frozen=True, kw_only=True)
class TextContext:
    """Keys and values of the text, and of image embeddings, for every block.

    Attributes:
        text: keys and values for each block, then for each block of the control branch.
        image: keys and values for each block, or empty.
        bias: added to the attention logits of the text keys, one row for all latent frames or one for each
            (so that each frame can attend to its own prompt); None where it would be zero.
        pooled: the projected mean text state, added to the sigma embedding; rows as in `bias`; or None.
        fps_modulation: added to the modulation of all blocks, for models with `fps_embedding`; or None.
    """

    text: tuple[KeyValue, ...]
    image: tuple[KeyValue, ...] = ()
    bias: Float[Tensor, "b q n"] | None = None
    pooled: Float[Tensor, "b q d"] | None = None
    fps_modulation: Float[Tensor, "1 1 6 d"] | None = None

    @property
    def batch_size(self) -> int:
        """Number of prompts."""
        return self.text[0].keys.shape[0]

    @property
    def num_keys(self) -> int:
        """Text keys per prompt."""
        return self.text[0].keys.shape[2]

    @property
    def num_frames(self) -> int:
        """Latent frames with rows of their own; 1 where all frames share one row."""
        return max(1 if rows is None else rows.shape[1] for rows in (self.bias, self.pooled))

    def repeat(self, times: int) -> TextContext:
        """The batch, `times` times."""
        return concat_contexts([self] * times)


def padding_bias(
    lengths: Int[Tensor, " b"], num_keys: int, padded_length: int | None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "b 1 n"] | None:
    """Logit biases that mask padding keys, or None where there is nothing to mask.

    With `padded_length`, the key after the last token represents all zero rows that would pad the text to
    that length, because n equal keys act like one key with a bias of log n. In half precision that logarithm
    would be off by 1.5%, so a second key has the remainder of the rounding. All other keys are masked.

    Args:
        lengths: tokens of each prompt.
        num_keys: keys per prompt, at least the longest prompt, and two more with `padded_length`.
        padded_length: the length that the model pads text to and attends to; None: padding is masked.
        dtype: type of the attention logits.
    """
    position = torch.arange(num_keys, device=lengths.device)
    end = lengths[:, None]
    bias = torch.zeros(len(lengths), num_keys, device=lengths.device).masked_fill(position >= end, -math.inf)
    if padded_length is None:
        if lengths.device.type == "cpu" and not torch.compiler.is_compiling() and not bias.any():
            return None
        return bias[:, None]
    count = (padded_length - end).double()
    if dtype is torch.float32:
        return torch.where(position == end, count.log().float(), bias)[:, None]
    first = (0.98 * count).log().to(dtype)
    second = (count - first.double().exp()).log().to(dtype)
    bias = torch.where(position == end, first.float(), bias)
    return torch.where(position == end + 1, second.float(), bias)[:, None]


def concat_contexts(contexts: Sequence[TextContext]) -> TextContext:
    """Several contexts as one batch, in order: for example prompt and negative prompt for guidance."""
    if len(contexts) == 1:
        return contexts[0]
    length = max(context.num_keys for context in contexts)
    frames = max(context.num_frames for context in contexts)
    same_length = all(context.num_keys == length for context in contexts)
    biases = None
    if not same_length or any(context.bias is not None for context in contexts):
        biases = torch.cat([_dense_bias(context, length, frames) for context in contexts])
    pooled = [context.pooled.expand(-1, frames, -1) for context in contexts if context.pooled is not None]
    return TextContext(
        text=_concat_key_values([context.text for context in contexts], length),
        image=_concat_key_values([context.image for context in contexts], None),
        bias=biases,
        pooled=torch.cat(pooled) if pooled else None,
        fps_modulation=contexts[0].fps_modulation,
    )


def per_frame_context(contexts: Sequence[TextContext], prompt_index: Sequence[int]) -> TextContext:
    """One context in which latent frame i attends only to prompt `prompt_index[i]` of `contexts`.

    The image embeddings are those of the first context.
    """
    first = contexts[0]
    index_of_frame = torch.tensor(list(prompt_index), device=first.text[0].keys.device)
    biases = []
    for index, context in enumerate(contexts):
        bias = _dense_bias(context, context.num_keys, len(prompt_index))
        biases.append(bias.masked_fill((index_of_frame != index)[None, :, None], -math.inf))
    pooled = None
    if first.pooled is not None:
        rows = [context.pooled for context in contexts if context.pooled is not None]
        pooled = torch.cat(rows, dim=1)[:, index_of_frame]
    text = tuple(
        KeyValue(
            keys=torch.cat([part.keys for part in parts], dim=2),
            values=torch.cat([part.values for part in parts], 2),
        )
        for parts in zip(*(context.text for context in contexts), strict=True)
    )
    return dataclasses.replace(first, text=text, bias=torch.cat(biases, dim=2), pooled=pooled)


def expand_frame_bias(
    context: TextContext, num_frames: int, tokens_per_frame: int, num_trailing_keys: int
) -> Float[Tensor, "b 1 q n"] | None:
    """The bias with one row per token, or one for all, and zeros for `num_trailing_keys` more keys."""
    bias = context.bias
    if bias is None:
        return None
    if bias.shape[1] not in (1, num_frames):
        raise ValueError(f"the context has prompts for {bias.shape[1]} latent frames, not {num_frames}")
    if num_trailing_keys:
        bias = functional.pad(bias, (0, num_trailing_keys))
    if bias.shape[1] > 1:
        bias = bias.repeat_interleave(tokens_per_frame, dim=1)
    return rearrange(bias, "b q n -> b 1 q n")


def _dense_bias(context: TextContext, num_keys: int, num_frames: int) -> Float[Tensor, "b q n"]:
    keys = context.text[0].keys
    bias = context.bias
    if bias is None:
        bias = torch.zeros(context.batch_size, 1, context.num_keys, device=keys.device)
    return functional.pad(bias, (0, num_keys - context.num_keys), value=-math.inf).expand(-1, num_frames, -1)


def _concat_key_values(parts: Sequence[tuple[KeyValue, ...]], num_keys: int | None) -> tuple[KeyValue, ...]:
    def row(tensors: Sequence[Tensor]) -> Tensor:
        size = num_keys or tensors[0].shape[2]
        return torch.cat([functional.pad(tensor, (0, 0, 0, size - tensor.shape[2])) for tensor in tensors])

    return tuple(
        KeyValue(keys=row([part.keys for part in block]), values=row([part.values for part in block]))
        for block in zip(*parts, strict=True)
    )
