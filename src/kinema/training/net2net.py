"""Expand a trained transformer to a larger width or depth without changing its output.

Channels are copied, and the weights that read them are divided among the copies (Net2Net, arXiv 1511.05641;
for transformers bert2BERT, arXiv 2110.07143). The division is random, with noise that sums to zero: copies
with equal weights would get equal gradients and never diverge. New blocks are initialised as the identity.
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
"""Settings in which the two models may differ."""
_MODULATION_PREFIX = "condition_embedder.time_proj."
"""The outputs of this layer are six vectors of the model's width, concatenated."""


def net2net_expand(
    weights: Mapping[str, Tensor], source: DitConfig, target: DitConfig, *, seed: int = 0
) -> dict[str, Tensor]:
    """Return weights for `target` that compute the same function as `weights` do for `source`.

    Args:
        weights: every parameter and buffer of the trained model.
        source: configuration of the trained model.
        target: configuration of the larger model. Its width is a multiple of the source's, with heads of
            the same width; it has at least as many layers.
        seed: of the random division and of new blocks.

    Raises:
        UserError: the source can't be expanded to `target`.
    """
    _check_expandable(source, target)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wider = dataclasses.replace(target, layers=source.layers)
        shapes = {name: value.shape for name, value in Dit(wider).state_dict().items()}
        expanded = Dit(target).state_dict()
        for name, shape in shapes.items():
            expanded[name] = _widen(name, weights[name], shape)
    return expanded


def _check_expandable(source: DitConfig, target: DitConfig) -> None:
    same = dataclasses.replace(target, **{name: getattr(source, name) for name in EXPANDABLE_FIELDS})
    fixed = [f.name for f in dataclasses.fields(source) if getattr(source, f.name) != getattr(same, f.name)]
    if fixed:
        raise UserError(
            f"a model can't be expanded to one that differs in {', '.join(fixed)}; only "
            f"{', '.join(EXPANDABLE_FIELDS)} can change"
        )
    if target.layers < source.layers or target.width % source.width or target.mlp_width % source.mlp_width:
        raise UserError(
            f"a model of width {source.width}, mlp_width {source.mlp_width} and {source.layers} layers can "
            "be expanded by whole factors and to no fewer layers, not to "
            f"{target.width}, {target.mlp_width} and {target.layers}"
        )
    if target.head_width != source.head_width:
        raise UserError(
            f"attention heads must stay {source.head_width} wide; set heads to "
            f"{target.width // source.head_width}, not {target.heads}"
        )


def _widen(name: str, weight: Tensor, shape: torch.Size) -> Tensor:
    """Expand a weight: copy its outputs and divide its inputs among the copies."""
    if weight.ndim == 2 and name.endswith(".weight") and weight.shape[1] != shape[1]:
        copies = shape[1] // weight.shape[1]
        noise = torch.randn(weight.shape[0], copies, weight.shape[1]) * weight.std()
        # The noise is as strong as the weight itself and sums to zero over the copies.
        parts = (noise - noise.mean(1, keepdim=True) + weight[:, None]) / copies
        weight = parts.flatten(1)
    if name.startswith(_MODULATION_PREFIX):
        return _repeat(weight.unflatten(0, (6, -1)), (6, shape[0] // 6, *shape[1:])).flatten(0, 1)
    return _repeat(weight, tuple(shape))


def _repeat(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    return weight.repeat(*(new // old for new, old in zip(shape, weight.shape, strict=True)))
