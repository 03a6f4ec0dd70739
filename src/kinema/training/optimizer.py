"""Optimisers: Muon for the matrices inside blocks, AdamW for everything else, one schedule for both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.distributed.sharding import distribute_like, full_tensor, local_shard
from kinema.models.precision import has_fast_bf16

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
    """Settings of the optimisers and of the schedule that scales both.

    The learning rate rises linearly over `warmup_steps` steps, stays, and falls linearly to `min_lr_ratio` of itself over
    the last `decay_share` share of the run.
    """

    learning_rate: float = 1e-3
    muon_learning_rate: float = 2e-3
    """0 leaves every parameter to AdamW."""
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_share: float = 0.4
    min_lr_ratio: float = 0.02
    max_grad_norm: float = 1.0
    """Largest norm of the whole gradient."""

    def lr_scale(self, step: int, total_steps: int) -> float:
        """The factor on both learning rates at `step` of `total_steps`."""
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (total_steps - step) / max(1.0, self.decay_share * total_steps)
        return rise * max(self.min_lr_ratio, min(1.0, left))


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised (Jordan et al., 2024).

    torch.optim.Muon always casts to bfloat16, which is slow on processors without units for it; here that is
    done only where there are such units. The update is scaled by 0.2·sqrt(max(rows, columns)), so that its
    root mean square equals AdamW's (Liu et al., 2025).

    A matrix has singular values only as a whole. Where it is in shards, the momentum stays so, the direction
    is gathered, and every process orthogonalises it for itself: of a matrix of 512 x 2048 that takes some
    20 GFLOP, and a step on a batch of hundreds of films takes thousands of times as much.
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every parameter from its gradient; returns what `closure` returned, if one was given."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            ahead = [self._nesterov_direction(parameter, group["momentum"]) for parameter in trained]
            for parameter, update in zip(trained, newton_schulz_batched(ahead), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                size = 0.2 * math.sqrt(max(update.shape))
                update = distribute_like(update.reshape(parameter.shape), parameter)
                parameter.add_(update, alpha=-group["lr"] * size)
        return value

    def _nesterov_direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """The direction of a parameter as one matrix: Nesterov's, the momentum a step on."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        return full_tensor(gradient.lerp(state["momentum"], momentum)).flatten(1)


_MIN_ROWS_FOR_BF16 = 96
"""Rows from which a matrix is faster in bfloat16, casts included."""


def newton_schulz_batched(matrices: Sequence[Tensor]) -> list[Tensor]:
    """`newton_schulz` of each, those of one shape in one batch, in the type that is fastest here."""
    made: list[Tensor] = list(matrices)
    shapes: dict[tuple[int, int], list[int]] = {}
    for place, matrix in enumerate(matrices):
        rows, columns = matrix.shape
        shapes.setdefault((min(rows, columns), max(rows, columns)), []).append(place)
    for (short, _), places in shapes.items():
        wide = torch.stack([made[i] if made[i].shape[0] == short else made[i].T for i in places])
        fast = short >= _MIN_ROWS_FOR_BF16 and has_fast_bf16(wide.device)
        turned = newton_schulz(wide.bfloat16() if fast else wide).to(wide.dtype)
        for place, one in zip(places, turned, strict=True):
            made[place] = one if made[place].shape[0] == short else one.T
    return made


def newton_schulz(matrix: Float[Tensor, "*b n m"]) -> Float[Tensor, "*b n m"]:
    """The nearest semi-orthogonal matrix of each: singular vectors kept, singular values within 1% of 1.

    In bfloat16 the singular values end within some 10% of 1, which serves a direction as well.
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
    """The optimisers of a run, stepped together."""

    config: OptimizerConfig
    optimizers: tuple[torch.optim.Optimizer, ...]
    base_lrs: tuple[float, ...]
    """The unscaled learning rate of each member."""
    parameters: tuple[Tensor, ...]

    @classmethod
    def from_module(
        cls, module: nn.Module, config: OptimizerConfig, *, muon_parameters: Iterable[Tensor] = ()
    ) -> Optimizers:
        """Optimisers for the trainable parameters of `module`; those in `muon_parameters` go to Muon."""
        wanted = {id(p) for p in muon_parameters} if config.muon_learning_rate > 0 else set()
        trainable = [p for p in module.parameters() if p.requires_grad]
        inner = [p for p in trainable if id(p) in wanted]
        outer = [p for p in trainable if id(p) not in wanted]
        members: list[torch.optim.Optimizer] = []
        rates = []
        if outer:
            members.append(
                torch.optim.AdamW(
                    outer,
                    lr=config.learning_rate,
                    betas=config.betas,
                    weight_decay=config.weight_decay,
                    fused=True,
                )
            )
            rates.append(config.learning_rate)
        if inner:
            members.append(Muon(inner, lr=config.muon_learning_rate, weight_decay=config.weight_decay))
            rates.append(config.muon_learning_rate)
        return cls(
            config=config, optimizers=tuple(members), base_lrs=tuple(rates), parameters=tuple(trainable)
        )

    def step(self, step: int, total_steps: int) -> Tensor:
        """Clip the gradients, update, clear the gradients; returns the gradient norm before clipping."""
        norm = full_tensor(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm))
        scale = self.config.lr_scale(step, total_steps)
        for member, rate in zip(self.optimizers, self.base_lrs, strict=True):
            for group in member.param_groups:
                group["lr"] = rate * scale
            member.step()
            member.zero_grad(set_to_none=True)
        return norm

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The state of every member, whole, by a stable name; every process has to ask for it."""
        for place, member in enumerate(self.optimizers):
            for index, values in member.state_dict()["state"].items():
                for name, value in values.items():
                    yield f"{place}.{index}.{name}", full_tensor(value)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave. Raises KeyError if the run's parameters have changed since."""
        for place, member in enumerate(self.optimizers):
            entire = member.state_dict()
            owned = [p for group in member.param_groups for p in group["params"]]
            state: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(owned))}
            for name, value in tensors.items():
                owner, index, key = name.split(".", 2)
                if int(owner) == place:
                    like = owned[int(index)]
                    state[int(index)][key] = (
                        distribute_like(value, like) if value.shape == like.shape else value
                    )
            entire["state"] = {index: values for index, values in state.items() if values}
            member.load_state_dict(entire)


class Ema:
    """A running mean of a module's parameters, float32: ema += (1 − decay)·(parameter − ema).

    Early on the decay is (1 + step) / (10 + step), so that the mean forgets the random start.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module's present parameters."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = module.state_dict()
        floating = [name for name, value in self.tensors.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [local_shard(self.tensors[n]) for n in floating],
            [local_shard(now[n]) for n in floating],
            1 - decay,
        )
        for name in self.tensors.keys() - set(floating):
            self.tensors[name].copy_(now[name])

    def full_tensors(self) -> dict[str, Tensor]:
        """The mean, gathered; every process has to ask for it."""
        return {name: full_tensor(value) for name, value in self.tensors.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `full_tensors` gave."""
        self.tensors = {name: distribute_like(tensors[name], like) for name, like in self.tensors.items()}
