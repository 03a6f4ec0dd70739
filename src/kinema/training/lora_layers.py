"""LoRA layers in a transformer, through peft (Hu et al., 2021: W + alpha / r · B·A)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.transformer.dit import Dit

ADAPTER = "default"
"""peft's name of the adapter."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """A LoRA.

    Attributes:
        rank: r, of all layers.
        alpha: the change of a weight is alpha / r · B·A; None: r, so that it is B·A.
        targets: layers by the last parts of their names; empty: all linear layers of all blocks.
    """

    rank: int = 32
    alpha: float | None = None
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"a LoRA has a rank of 1 or more, not {self.rank}; 8 to 64 are usual")


def list_targets(dit: Dit, config: LoraConfig) -> list[str]:
    """The names of the linear layers that get a LoRA.

    Raises:
        UserError: a target is no layer of the model.
    """
    names = [
        f"blocks.{index}.{name}"
        for index, block in enumerate(dit.blocks)
        for name, layer in block.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    if not config.targets:
        return names
    for target in config.targets:
        if not any(f".{name}".endswith(f".{target}") for name in names):
            known = sorted({name.split(".", 2)[2] for name in names})
            raise UserError(f"the model has no layer {target!r} for a LoRA; possible: {', '.join(known)}")
    return [name for name in names if any(f".{name}".endswith(f".{target}") for target in config.targets)]


def add_lora(dit: Dit, config: LoraConfig, *, seed: int) -> None:
    """Add LoRA layers to a transformer in place. Before the first step they change nothing: B is zero.

    A is drawn from `seed`. The factors are float32, whatever the type of the transformer.

    Raises:
        UserError: peft is not installed, or a target is no layer of the model.
    """
    try:
        import peft
    except ImportError:
        raise UserError(
            "training a LoRA needs the package peft; install kinema[train]: pip install 'kinema[train]'"
        ) from None
    alpha = config.rank if config.alpha is None else config.alpha
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=alpha,  # pyrefly: ignore[bad-argument-type]  # peft accepts fractions
        target_modules=list_targets(dit, config),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(settings, dit, adapter_name=ADAPTER)
    for _, parameter in lora_parameters(dit):
        parameter.data = parameter.data.float()


def lora_parameters(dit: Dit) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the LoRA factors by their names in the transformer with LoRA layers."""
    return ((name, parameter) for name, parameter in dit.named_parameters() if "lora_" in name)


def to_file_name(name: str) -> str:
    """The name in a LoRA file: `blocks.0.attn1.to_q.lora_A.weight`."""
    return name.replace(f".{ADAPTER}", "")


def lora_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of LoRA factors under the names of a file."""
    return {to_file_name(name): value for name, value in state.items()}
