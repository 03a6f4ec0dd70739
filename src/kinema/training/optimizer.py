"""Optimizers: Muon for the matrices inside blocks, AdamW for everything else, one schedule for both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.distributed.sharding import distribute_like, full_tensor, local_shard
from kinema.models.precision import has_fast_bf16
from kinema.training.adamw8bit import AdamW8bit

# Quintic Newton-Schulz steps whose coefficients change from step to step (Amsel et al., "The Polar Express",
# 2025): five bring singular values from [1e-3, 1] close to 1.
NEWTON_SCHULZ_COEFFICIENTS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Settings of the optimizers and of their learning-rate schedule: linear warm-up, constant, linear decay.

    Attributes:
        adamw: `adamw` has float32 moments, `adamw8bit` has them in 8 bits.
        learning_rate: of AdamW.
        muon_learning_rate: of Muon; with 0 AdamW gets every parameter.
        betas: of AdamW.
        weight_decay: of both.
        warmup_steps: steps over which the learning rate rises from 0.
        decay_share: share of the run, at its end, over which the learning rate falls.
        min_lr_ratio: learning rate at the end, as a share of the full one.
        max_grad_norm: the gradient of all parameters together is clipped to this norm.
    """

    adamw: Literal["adamw", "adamw8bit"] = "adamw"
    learning_rate: float = 1e-3
    muon_learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_share: float = 0.4
    min_lr_ratio: float = 0.02
    max_grad_norm: float = 1.0

    def lr_scale(self, step: int, total_steps: int) -> float:
        """Return the factor on both learning rates at `step` of `total_steps`."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        decay = (total_steps - step) / max(1.0, self.decay_share * total_steps)
        return warmup * max(self.min_lr_ratio, min(1.0, decay))


class Muon(torch.optim.Optimizer):
    """Momentum SGD with an orthogonalised update (Jordan et al., 2024).

    torch.optim.Muon always casts to bfloat16, which is slow on CPUs without bfloat16 units; this class
    casts only where it is faster. The update is scaled by 0.2 * sqrt(max(rows, columns)), so that its root
    mean square equals AdamW's (Liu et al., 2025).

    Orthogonalisation needs the full matrix. With FSDP the momentum stays sharded, the direction is
    gathered, and every process orthogonalises it. For a 512 x 2048 matrix that takes about 20 GFLOP, a
    small part of a step.

    Args:
        parameters: matrices, or tensors that are flattened to matrices from their second dimension on.
        lr: learning rate.
        momentum: of the gradient's exponential mean.
        weight_decay: decoupled.
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient; return the closure's value, if there is one."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            directions = [self._nesterov_direction(parameter, group["momentum"]) for parameter in trained]
            for parameter, update in zip(trained, newton_schulz_batched(directions), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                scale = 0.2 * math.sqrt(max(update.shape))
                update = distribute_like(update.reshape(parameter.shape), parameter)
                parameter.add_(update, alpha=-group["lr"] * scale)
        return value

    def _nesterov_direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """Update the momentum and return Nesterov's direction, gathered, as a matrix."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        return full_tensor(gradient.lerp(state["momentum"], momentum)).flatten(1)


_MIN_ROWS_FOR_BF16 = 96
"""From this number of rows on a matrix is faster in bfloat16, casts included."""


def newton_schulz_batched(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Orthogonalise matrices with `newton_schulz`, those of one shape in one batch, in the fastest type."""
    results: list[Tensor] = list(matrices)
    by_shape: dict[tuple[int, int], list[int]] = {}
    for i, matrix in enumerate(matrices):
        rows, columns = matrix.shape
        by_shape.setdefault((min(rows, columns), max(rows, columns)), []).append(i)
    for (num_rows, _), indices in by_shape.items():
        wide = torch.stack([results[i] if results[i].shape[0] == num_rows else results[i].T for i in indices])
        use_bf16 = num_rows >= _MIN_ROWS_FOR_BF16 and has_fast_bf16(wide.device)
        orthogonal = newton_schulz(wide.bfloat16() if use_bf16 else wide).to(wide.dtype)
        for i, matrix in zip(indices, orthogonal, strict=True):
            results[i] = matrix if results[i].shape[0] == num_rows else matrix.T
    return results


def newton_schulz(matrix: Float[Tensor, "*b n m"]) -> Float[Tensor, "*b n m"]:
    """Approximate the nearest semi-orthogonal matrix: same singular vectors, singular values within 1% of 1.

    In bfloat16 the singular values end within about 10% of 1, which is enough for an update direction.
    """
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    for a, b, c in NEWTON_SCHULZ_COEFFICIENTS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


@dataclass(frozen=True, kw_only=True, eq=False)
class Optimizers:
    """The optimizers of a run, stepped together.

    Attributes:
        config: settings.
        optimizers: AdamW and Muon, those of them that have parameters.
        base_lrs: the learning rate of each before scheduling.
        parameters: all trained parameters.
    """

    config: OptimizerConfig
    optimizers: tuple[torch.optim.Optimizer, ...]
    base_lrs: tuple[float, ...]
    parameters: tuple[Tensor, ...]

    @classmethod
    def from_module(
        cls, module: nn.Module, config: OptimizerConfig, *, muon_parameters: Iterable[Tensor] = ()
    ) -> Optimizers:
        """Create optimizers for the trainable parameters of `module`.

        Args:
            module: to train.
            config: settings.
            muon_parameters: parameters for Muon; AdamW gets the others.
        """
        muon_ids = {id(p) for p in muon_parameters} if config.muon_learning_rate > 0 else set()
        trainable = [p for p in module.parameters() if p.requires_grad]
        for_muon = [p for p in trainable if id(p) in muon_ids]
        for_adamw = [p for p in trainable if id(p) not in muon_ids]
        optimizers: list[torch.optim.Optimizer] = []
        base_lrs = []
        if for_adamw:
            optimizers.append(_build_adamw(for_adamw, config))
            base_lrs.append(config.learning_rate)
        if for_muon:
            optimizers.append(Muon(for_muon, lr=config.muon_learning_rate, weight_decay=config.weight_decay))
            base_lrs.append(config.muon_learning_rate)
        return cls(
            config=config,
            optimizers=tuple(optimizers),
            base_lrs=tuple(base_lrs),
            parameters=tuple(trainable),
        )

    def step(self, step: int, total_steps: int) -> Tensor:
        """Clip the gradients, update, clear the gradients; return the gradient norm before clipping."""
        norm = full_tensor(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm))
        scale = self.config.lr_scale(step, total_steps)
        for optimizer, base_lr in zip(self.optimizers, self.base_lrs, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = base_lr * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norm

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the state of every optimizer under stable names, sharded as the parameters are."""
        for i, optimizer in enumerate(self.optimizers):
            for index, values in _optimizer_state(optimizer).items():
                for name, value in values.items():
                    yield f"{i}.{index}.{name}", value

    def parameter_of(self, name: str) -> Tensor | None:
        """The parameter that a name of `tensors` belongs to; None where its state is loaded unsharded."""
        owner, index, _ = name.split(".", 2)
        optimizer = self.optimizers[int(owner)]
        if isinstance(optimizer, AdamW8bit):
            return None
        return [p for group in optimizer.param_groups for p in group["params"]][int(index)]

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `tensors` yielded.

        Raises:
            KeyError: the module has other parameters.
        """
        for i, optimizer in enumerate(self.optimizers):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            if isinstance(optimizer, AdamW8bit):
                for index, parameter in enumerate(parameters):
                    prefix = f"{i}.{index}."
                    own = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
                    if own:
                        optimizer.load_moments(parameter, own)
                continue
            state_dict = optimizer.state_dict()
            state: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(parameters))}
            for name, value in tensors.items():
                owner, index, key = name.split(".", 2)
                if int(owner) == i:
                    like = parameters[int(index)]
                    state[int(index)][key] = (
                        distribute_like(value, like) if value.shape == like.shape else value
                    )
            state_dict["state"] = {index: values for index, values in state.items() if values}
            optimizer.load_state_dict(state_dict)


def _build_adamw(parameters: list[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    if config.adamw == "adamw8bit":
        return AdamW8bit(
            parameters, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )


def _optimizer_state(optimizer: torch.optim.Optimizer) -> Mapping[int, Mapping[str, Tensor]]:
    """The state of each parameter by its position, as tensors of the parameter's shape and numbers."""
    if not isinstance(optimizer, AdamW8bit):
        return optimizer.state_dict()["state"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    states = {index: optimizer.moments(parameter) for index, parameter in enumerate(parameters)}
    return {index: state for index, state in states.items() if state}


class Ema:
    """Exponential moving average of parameters: ema += (1 - decay) * (parameter - ema).

    In early steps the decay is (1 + step) / (10 + step), so that the average forgets the random initial
    weights.
    """

    def __init__(self, state: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in state.items()}

    @torch.no_grad()
    def update(self, current: Mapping[str, Tensor], step: int) -> None:
        """Update the average with the current parameters."""
        decay = min(self.decay, (1 + step) / (10 + step))
        floating = [name for name, value in self.tensors.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [local_shard(self.tensors[n]) for n in floating],
            [local_shard(current[n]) for n in floating],
            1 - decay,
        )
        for name in self.tensors.keys() - set(floating):
            self.tensors[name].copy_(current[name])

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Load averages, sharded or not."""
        self.tensors = {name: distribute_like(tensors[name], like) for name, like in self.tensors.items()}
