"""Building modules without initial values, and the memory layout of convolution kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_INT_DTYPES = {2: torch.int16, 4: torch.int32}
"""Integer types by size in bytes, through which numpy copies floating-point tensors of that size."""


class _SkipInitMode(TorchFunctionMode):
    """Turns the functions of `torch.nn.init` into no-ops."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextlib.contextmanager
def skip_init() -> Iterator[None]:
    """A block in which modules are built on the meta device, without memory, for `load_into` to fill."""
    with torch.device("meta"), _SkipInitMode():
        yield


def repeat_module(build: Callable[[], ModuleT], count: int) -> list[ModuleT]:
    """Build equal modules; on the meta device the others are copies of the first, which takes a tenth.

    Args:
        build: builds one; all that it builds must be equal but for their values.
        count: how many.
    """
    modules = [build() for _ in range(min(count, 1))]
    is_meta = bool(modules) and all(parameter.is_meta for parameter in modules[0].parameters())
    while len(modules) < count:
        modules.append(_copy_without_values(modules[0]) if is_meta else build())
    return modules


def _copy_without_values(module: ModuleT) -> ModuleT:
    """A module with the same layers and settings, and with parameters and buffers of its own."""
    copied = module.__new__(type(module))
    for name, value in module.__dict__.items():
        # Hooks, parameters and submodules are in dictionaries of the module.
        copied.__dict__[name] = value.copy() if isinstance(value, (dict, set)) else value
    for name, parameter in module._parameters.items():
        if parameter is not None:
            copied._parameters[name] = nn.Parameter(parameter.detach(), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            copied._buffers[name] = buffer.detach()
    for name, part in module._modules.items():
        if part is not None:
            copied._modules[name] = _copy_without_values(part)
    return copied


def copy_channels_last(weight: Float[Tensor, "o i f h w"]) -> Float[Tensor, "o i f h w"]:
    """A copy in the memory format `channels_last_3d`."""
    # Always a copy: a 1x1x1 kernel has both formats at once.
    if weight.device.type != "cpu" or not weight.is_contiguous() or weight.itemsize not in _INT_DTYPES:
        return weight.clone(memory_format=torch.channels_last_3d)
    # numpy transposes twice as fast as torch. It has no bfloat16, so the bytes are read as integers.
    outputs, inputs, *taps = weight.shape
    flat = weight.view(_INT_DTYPES[weight.itemsize]).flatten(2).numpy()
    transposed = torch.from_numpy(np.array(flat.transpose(0, 2, 1), order="C", copy=True))
    return transposed.view(weight.dtype).view(outputs, *taps, inputs).permute(0, 4, 1, 2, 3)
