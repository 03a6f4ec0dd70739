"""What the transformer keeps of the prompts: made once per prompt, read at every step."""

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
class KeysValues:
    """Keys and values of one attention."""

    keys: Float[Tensor, "b heads n k"]
    values: Float[Tensor, "b heads n k"]


@dataclass(frozen=True, kw_only=True)
class TextContext:
    """Keys and values of the text (and of image states) for every block.

    Attributes:
        text: per block.
        image: per block, or empty.
        bias: added to the attention logits of the text keys, one row for all latent frames or one for each
            (then each frame can listen to its own prompt); None where it would be zero.
        pooled: mean text state, projected, which joins the time embedding; rows as in `bias`; or None.
    """

    text: tuple[KeysValues, ...]
    image: tuple[KeysValues, ...] = ()
    bias: Float[Tensor, "b q n"] | None = None
    pooled: Float[Tensor, "b q d"] | None = None

    @property
    def batch(self) -> int:
        """How many prompts."""
        return self.text[0].keys.shape[0]

    @property
    def length(self) -> int:
        """Keys of text per prompt."""
        return self.text[0].keys.shape[2]

    @property
    def frames(self) -> int:
        """Latent frames with rows of their own, 1 where all listen to the same."""
        return max(1 if rows is None else rows.shape[1] for rows in (self.bias, self.pooled))

    def repeat(self, times: int) -> TextContext:
        """The whole batch `times` times over."""
        return batched([self] * times)


def pad_bias(
    lengths: Int[Tensor, " b"], keys: int, total: int | None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "b 1 n"] | None:
    """Logit biases for `keys` keys of which `lengths` are real, or None where all are real and count once.

    With `total`, the keys behind the last real one stand for all the zero rows that pad the text to `total`:
    equal keys add up to one key with the logarithm of their number. In half precision that logarithm would
    be off by 1.5%, so a second key makes up for what rounding took from the first. All other keys are masked.
    """
    place = torch.arange(keys, device=lengths.device)
    rest = lengths[:, None]
    bias = torch.zeros(len(lengths), keys, device=lengths.device).masked_fill(place >= rest, -math.inf)
    if total is None:
        if lengths.device.type == "cpu" and not torch.compiler.is_compiling() and not bias.any():
            return None
        return bias[:, None]
    count = (total - rest).double()
    if dtype is torch.float32:
        return torch.where(place == rest, count.log().float(), bias)[:, None]
    first = (0.98 * count).log().to(dtype)
    second = (count - first.double().exp()).log().to(dtype)
    bias = torch.where(place == rest, first.float(), bias)
    return torch.where(place == rest + 1, second.float(), bias)[:, None]


def batched(contexts: Sequence[TextContext]) -> TextContext:
    """Several contexts as one batch, in order: prompt and negative prompt for guidance, say."""
    if len(contexts) == 1:
        return contexts[0]
    length = max(context.length for context in contexts)
    frames = max(context.frames for context in contexts)
    level = all(context.length == length for context in contexts)
    biases = None
    if not level or any(context.bias is not None for context in contexts):
        biases = torch.cat([_full_bias(context, length, frames) for context in contexts])
    pooled = [context.pooled.expand(-1, frames, -1) for context in contexts if context.pooled is not None]
    return TextContext(
        text=_join([context.text for context in contexts], length),
        image=_join([context.image for context in contexts], None),
        bias=biases,
        pooled=torch.cat(pooled) if pooled else None,
    )


def storyboard(contexts: Sequence[TextContext], speaks: Sequence[int]) -> TextContext:
    """One context in which latent frame i listens to prompt `speaks[i]` of `contexts` alone.

    The image states are those of the first.
    """
    first = contexts[0]
    listens = torch.tensor(list(speaks), device=first.text[0].keys.device)
    rows = []
    for index, context in enumerate(contexts):
        bias = _full_bias(context, context.length, len(speaks))
        rows.append(bias.masked_fill((listens != index)[None, :, None], -math.inf))
    pooled = None
    if first.pooled is not None:
        each = torch.cat([context.pooled for context in contexts if context.pooled is not None], dim=1)
        pooled = each[:, listens]
    text = tuple(
        KeysValues(
            keys=torch.cat([part.keys for part in parts], dim=2),
            values=torch.cat([part.values for part in parts], 2),
        )
        for parts in zip(*(context.text for context in contexts), strict=True)
    )
    return dataclasses.replace(first, text=text, bias=torch.cat(rows, dim=2), pooled=pooled)


def frame_bias(
    context: TextContext, frames: int, tokens: int, behind: int
) -> Float[Tensor, "b 1 q n"] | None:
    """The bias for `frames` latent frames of `tokens` tokens, followed by zeros for `behind` keys."""
    bias = context.bias
    if bias is None:
        return None
    if bias.shape[1] not in (1, frames):
        raise ValueError(f"the prompts speak to {bias.shape[1]} latent frames, but there are {frames}")
    if behind:
        bias = functional.pad(bias, (0, behind))
    if bias.shape[1] > 1:
        bias = bias.repeat_interleave(tokens, dim=1)
    return rearrange(bias, "b q n -> b 1 q n")


def _full_bias(context: TextContext, length: int, frames: int) -> Float[Tensor, "b q n"]:
    keys = context.text[0].keys
    bias = context.bias
    if bias is None:
        bias = torch.zeros(context.batch, 1, context.length, device=keys.device)
    return functional.pad(bias, (0, length - context.length), value=-math.inf).expand(-1, frames, -1)


def _join(parts: Sequence[tuple[KeysValues, ...]], length: int | None) -> tuple[KeysValues, ...]:
    def row(tensors: Sequence[Tensor]) -> Tensor:
        size = length or tensors[0].shape[2]
        return torch.cat([functional.pad(tensor, (0, 0, 0, size - tensor.shape[2])) for tensor in tensors])

    return tuple(
        KeysValues(keys=row([part.keys for part in block]), values=row([part.values for part in block]))
        for block in zip(*parts, strict=True)
    )
