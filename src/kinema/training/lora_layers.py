"""LoRA layers in a transformer (Hu et al., 2021): W x + alpha / r · B A x, with a frozen W.

The arithmetic and the initial values are those of peft. Its own layers do not fit: they are no `nn.Linear`,
which the transformer's functions take, and importing peft takes as long as a short training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.transformer.dit import Dit
from kinema.training.frozen_linear import FrozenLinear


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

    @property
    def scale(self) -> float:
        """alpha / r."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


class LoraLinear(nn.Linear):
    """A frozen linear layer and a trained change of low rank, whose factors are float32.

    Args:
        base_layer: the frozen layer.
        config: rank and scale.
        device: of the factors. Their values are drawn on the CPU.
    """

    def __init__(self, base_layer: FrozenLinear, config: LoraConfig, device: torch.device) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        self.base_layer, self.scale = base_layer, config.scale
        self.lora_A = nn.Linear(self.in_features, config.rank, bias=False, device="cpu")
        self.lora_B = nn.Linear(config.rank, self.out_features, bias=False, device="cpu")
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)
        for factor in (self.lora_A, self.lora_B):
            if device.type != "cpu":
                factor.to(device)

    @property
    def weight(self) -> Tensor:  # pyrefly: ignore[bad-override]  # the frozen weight, as stored
        """The frozen weight."""
        return self.base_layer.weight

    def forward(self, input: Float[Tensor, "*n c"]) -> Float[Tensor, "*n d"]:  # noqa: A002 - torch's name
        """The output, in the type of the frozen layer's output."""
        output = self.base_layer(input)
        change = self.lora_B(self.lora_A(input.to(self.lora_A.weight.dtype))) * self.scale
        return (output + change).to(output.dtype)


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
    for target in config.targets:
        if not any(f".{name}".endswith(f".{target}") for name in names):
            known = sorted({name.split(".", 2)[2] for name in names})
            raise UserError(f"the model has no layer {target!r} for a LoRA; possible: {', '.join(known)}")
    if not config.targets:
        return names
    return [name for name in names if any(f".{name}".endswith(f".{target}") for target in config.targets)]


def add_lora(dit: Dit, config: LoraConfig, *, seed: int, device: torch.device) -> None:
    """Add LoRA layers to a transformer with frozen weights, in place.

    Before the first step they change nothing: B is zero. A is drawn from `seed`.

    Args:
        dit: after `kinema.training.frozen_linear.freeze_base`.
        config: rank, scale and layers.
        seed: of the initial values.
        device: of the new layers.

    Raises:
        UserError: a target is no layer of the model.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name in list_targets(dit, config):
            parent, _, last = name.rpartition(".")
            layer = dit.get_submodule(name)
            assert isinstance(layer, FrozenLinear)
            setattr(dit.get_submodule(parent), last, LoraLinear(layer, config, device))


def lora_parameters(dit: Dit) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the LoRA factors by their names, which are those of a LoRA file."""
    return ((name, parameter) for name, parameter in dit.named_parameters() if ".lora_" in name)
