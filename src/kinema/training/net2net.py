"""A trained transformer made wider or deeper without a change in what it computes.

Channels are copied and what reads them is shared out among the copies (Net2Net, arXiv 1511.05641; of
transformers, bert2BERT, arXiv 2110.07143). The shares differ at random, in sums that cancel: copies that were
read alike would get the same gradients for ever. New blocks begin as the identity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig

EXPANDABLE_FIELDS = ("width", "heads", "mlp_width", "layers")
"""The settings in which the two models may differ."""
_MODULATION_PREFIX = "condition_embedder.time_proj."
"""Its outputs are six rows of the width, one behind the other, not one."""


def net2net_expand(
    weights: Mapping[str, Tensor], source: DitConfig, target: DitConfig, *, seed: int = 0
) -> dict[str, Tensor]:
    """Weights of a transformer `target` that computes what one of `source` with `weights` does.

    Args:
        weights: of every parameter and buffer.
        source: their configuration.
        target: as wide, or a whole number of times wider, in heads of the same width; as deep or deeper.
        seed: of the shares and of what is new.

    Raises:
        UserError: `target` is not such a configuration.
    """
    _check_expandable(source, target)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wider = dataclasses.replace(target, layers=source.layers)
        shapes = {name: value.shape for name, value in Dit(wider).state_dict().items()}
        made = Dit(target).state_dict()
        for name, shape in shapes.items():
            made[name] = _widen(name, weights[name], shape)
    return made


def _check_expandable(source: DitConfig, target: DitConfig) -> None:
    same = dataclasses.replace(target, **{name: getattr(source, name) for name in EXPANDABLE_FIELDS})
    unlike = [f.name for f in dataclasses.fields(source) if getattr(source, f.name) != getattr(same, f.name)]
    if unlike:
        raise UserError(
            f"a model can't grow into one that differs in {', '.join(unlike)}; what may grow is "
            f"{', '.join(EXPANDABLE_FIELDS)}"
        )
    if target.layers < source.layers or target.width % source.width or target.mlp_width % source.mlp_width:
        raise UserError(
            f"a model of width {source.width}, mlp_width {source.mlp_width} and {source.layers} layers grows by whole "
            f"factors and into no fewer layers, not into {target.width}, {target.mlp_width} and {target.layers}"
        )
    if target.head_width != source.head_width:
        raise UserError(
            f"heads stay {source.head_width} wide: set heads to {target.width // source.head_width}, not {target.heads}"
        )


def _widen(name: str, weight: Tensor, shape: torch.Size) -> Tensor:
    """`weight` in a larger shape: outputs copied, inputs shared out."""
    if weight.ndim == 2 and name.endswith(".weight") and weight.shape[1] != shape[1]:
        copies = shape[1] // weight.shape[1]
        shares = torch.randn(weight.shape[0], copies, weight.shape[1]) * weight.std()
        # Each way of reading the copies apart is as strong as reading them together.
        shares = (shares - shares.mean(1, keepdim=True) + weight[:, None]) / copies
        weight = shares.flatten(1)
    if name.startswith(_MODULATION_PREFIX):
        return _repeat(weight.unflatten(0, (6, -1)), (6, shape[0] // 6, *shape[1:])).flatten(0, 1)
    return _repeat(weight, tuple(shape))


def _repeat(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    return weight.repeat(*(new // old for new, old in zip(shape, weight.shape, strict=True)))
