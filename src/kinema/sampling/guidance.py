"""Classifier-free guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from kinema.sampling.solver import Denoiser


@runtime_checkable
class CfgModel(Protocol):
    """A network that runs with the prompt alone, or with and without it in one batch."""

    def __call__(
        self, latents: Float[Tensor, "b c f h w"], sigma: Float[Tensor, "b f"], *, with_unconditional: bool
    ) -> Float[Tensor, "b2 c f h w"]:
        """The conditional velocities; `with_unconditional`: the unconditional ones follow in the batch."""
        ...


@dataclass(frozen=True, kw_only=True)
class CfgConfig:
    """Classifier-free guidance (arXiv 2207.12598).

    Attributes:
        scale: unconditional + scale * (conditional - unconditional); 1 is off and costs half.
    """

    scale: float = 1.0

    @property
    def is_active(self) -> bool:
        """Whether the unconditional velocity is needed."""
        return self.scale != 1

    def combine(
        self, conditional: Float[Tensor, "b c f h w"], unconditional: Float[Tensor, "b c f h w"]
    ) -> Float[Tensor, "b c f h w"]:
        """The guided velocity."""
        return unconditional + self.scale * (conditional - unconditional)


def apply_cfg(model: CfgModel, config: CfgConfig) -> Denoiser:
    """The network under guidance."""

    def velocity(latents: Tensor, sigma: Tensor) -> Tensor:
        if not config.is_active:
            return model(latents, sigma, with_unconditional=False)
        conditional, unconditional = model(latents, sigma, with_unconditional=True).chunk(2)
        return config.combine(conditional, unconditional)

    return velocity
