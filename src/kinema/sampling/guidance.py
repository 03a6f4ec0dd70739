"""Steering the velocity by the prompt, as values that compose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from kinema.sampling.solver import Denoiser


@runtime_checkable
class CfgModel(Protocol):
    """A network that can run with the prompt alone, or with and without it in one batch."""

    def __call__(
        self, latents: Float[Tensor, "b c f h w"], sigma: Float[Tensor, "b f"], *, with_unconditional: bool
    ) -> Float[Tensor, "b2 c f h w"]:
        """The conditional velocities, and with `with_unconditional` the unconditional ones behind them in the batch."""
        ...


@dataclass(frozen=True, kw_only=True)
class CfgConfig:
    """Classifier-free guidance (arXiv 2207.12598).

    Attributes:
        scale: unconditional + scale·(conditional − unconditional); 1 is off and costs half.
        interval: the times between which it applies, both included (arXiv 2404.07724).
        rescale: how far, 0 to 1, the deviation of the result is drawn back to the conditional one's, against
            pictures that burn out (arXiv 2305.08891).
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 <= low <= high <= 1 or not 0 <= self.rescale <= 1:
            raise ValueError(f"interval {self.interval} and rescale {self.rescale} lie within 0 and 1")

    def is_active(self, sigma: float) -> bool:
        """Whether the unconditional velocity is needed at this time."""
        return self.scale != 1 and self.interval[0] <= sigma <= self.interval[1]

    def combine(
        self, conditional: Float[Tensor, "b c f h w"], unconditional: Float[Tensor, "b c f h w"]
    ) -> Float[Tensor, "b c f h w"]:
        """The guided velocity."""
        guided = unconditional + self.scale * (conditional - unconditional)
        if not self.rescale:
            return guided
        axes = tuple(range(1, guided.ndim))
        ratio = conditional.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
        return guided * (1 + self.rescale * (ratio - 1))


def apply_cfg(model: CfgModel, config: CfgConfig) -> Denoiser:
    """The network under guidance. The time that counts is that of the noisiest latent frame."""

    def velocity(latents: Tensor, sigma: Tensor) -> Tensor:
        if not config.is_active(sigma.max().item()):
            return model(latents, sigma, with_unconditional=False)
        conditional, unconditional = model(latents, sigma, with_unconditional=True).chunk(2)
        return config.combine(conditional, unconditional)

    return velocity


def two_experts(high_noise: Denoiser, low_noise: Denoiser, boundary: float) -> Denoiser:
    """One network for times from `boundary` up, another below (Wan 2.2 A14B), each with its own guidance."""

    def velocity(latents: Tensor, sigma: Tensor) -> Tensor:
        expert = high_noise if sigma.max().item() >= boundary else low_noise
        return expert(latents, sigma)

    return velocity
