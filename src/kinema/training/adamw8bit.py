"""AdamW with its two moments in 8 bits: 2 bytes a parameter instead of 8.

Blocks of 256 values share a scale, the value of largest magnitude. The 256 codes are spaced by powers of ten
with linear steps in between, so that values of very different sizes keep a few percent of relative precision
(Dettmers et al., 2021, "8-bit optimizers via block-wise quantization"). torchao has such an optimizer, but it
needs a C++ compiler on the CPU, and the package prints messages into every program that imports diffusers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.distributed.sharding import distribute_like, local_shard

BLOCK_SIZE = 256
"""Values that share a scale."""
MIN_SIZE = 4096
"""Smaller parameters keep float32 moments: they need little memory, and every value counts."""
_DECADES = 7


def build_codes(*, signed: bool) -> Float[Tensor, "256"]:
    """The values of the 256 codes, in ascending order: 0, 1, and ranges between powers of ten.

    A larger range has twice as many values as the next smaller one.

    Args:
        signed: whether half of the values are negative.
    """
    values = [0.0, 1.0]
    for decade in range(_DECADES):
        count = 2 ** (decade + (0 if signed else 1))
        edges = torch.linspace(0.1, 1.0, count + 1, dtype=torch.float64)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (decade - _DECADES + 1)
        values += middles.tolist()
        if signed:
            values += (-middles).tolist()
    return torch.tensor(sorted(values), dtype=torch.float64).float()


class _Codec:
    """Quantises blocks of values to one of the two code tables."""

    def __init__(self, *, signed: bool) -> None:
        self._codes = build_codes(signed=signed)
        self._borders = (self._codes[:-1] + self._codes[1:]) / 2

    def encode(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (uint8, one for each value) and the scale of each block."""
        padded = torch.nn.functional.pad(values.flatten(), (0, -values.numel() % BLOCK_SIZE))
        blocks = padded.view(-1, BLOCK_SIZE)
        # With its sign: the largest value then has the code 1, and quantising again changes nothing.
        scale = blocks.gather(1, blocks.abs().argmax(dim=1, keepdim=True))
        normed = (blocks / scale).nan_to_num_(0.0)
        codes = torch.bucketize(normed, self._borders.to(values.device))
        return codes.to(torch.uint8), scale[:, 0]

    def decode(self, codes: Tensor, scale: Tensor, like: Tensor) -> Tensor:
        """The values, in the shape of `like`."""
        blocks = self._codes.to(like.device)[codes.int()] * scale[:, None]
        return blocks.flatten()[: like.numel()].view(like.shape)


_SIGNED, _UNSIGNED = _Codec(signed=True), _Codec(signed=False)
_CODECS = {"exp_avg": _SIGNED, "exp_avg_sq": _UNSIGNED}


class AdamW8bit(torch.optim.Optimizer):
    """AdamW whose moments are stored in 8 bits. The arithmetic of a step is float32.

    `moments` and `load_moments` give and take the moments as float32 tensors of the parameters' shapes, which
    is what a checkpoint has: quantising them again gives the same codes.

    Args:
        parameters: to train.
        lr: learning rate.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient; return the closure's value, if there is one."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state, own = self.state[parameter], local_shard(parameter)
                gradient = local_shard(parameter.grad).float()
                count = int(state.get("step", 0)) + 1
                mean = self._read(parameter, "exp_avg").lerp_(gradient, 1 - first)
                square = self._read(parameter, "exp_avg_sq")
                square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
                own.mul_(1 - group["lr"] * group["weight_decay"])
                root = (square / (1 - second**count)).sqrt_().add_(group["eps"])
                own.addcdiv_(mean, root, value=-group["lr"] / (1 - first**count))
                state["step"] = count
                self._write(parameter, "exp_avg", mean)
                self._write(parameter, "exp_avg_sq", square)
        return value

    def _read(self, parameter: Tensor, name: str) -> Tensor:
        state, own = self.state[parameter], local_shard(parameter)
        if name in state:
            return state[name].clone()
        if f"{name}_codes" in state:
            return _CODECS[name].decode(state[f"{name}_codes"], state[f"{name}_scale"], own)
        return torch.zeros_like(own, dtype=torch.float32)

    def _write(self, parameter: Tensor, name: str, values: Tensor) -> None:
        state = self.state[parameter]
        if values.numel() < MIN_SIZE:
            state[name] = values
        else:
            state[f"{name}_codes"], state[f"{name}_scale"] = _CODECS[name].encode(values)

    def moments(self, parameter: Tensor) -> dict[str, Tensor]:
        """The step count and the moments of a parameter, sharded like it; empty before its first step."""
        state = self.state.get(parameter, {})
        if "step" not in state:
            return {}
        moments = {"step": torch.tensor(float(state["step"]))}
        for name in _CODECS:
            moments[name] = _shard_of(self._read(parameter, name), parameter)
        return moments

    @torch.no_grad()
    def load_moments(self, parameter: Tensor, moments: dict[str, Tensor]) -> None:
        """Load what `moments` gave, as full tensors."""
        self.state[parameter]["step"] = int(moments["step"])
        for name in _CODECS:
            self._write(
                parameter, name, local_shard(distribute_like(moments[name].float(), parameter)).clone()
            )


def _shard_of(values: Tensor, like: Tensor) -> Tensor:
    """A local tensor as this process's shard of one like `like`."""
    from torch.distributed.tensor import DTensor

    if not isinstance(like, DTensor):
        return values
    return DTensor.from_local(
        values, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    )
