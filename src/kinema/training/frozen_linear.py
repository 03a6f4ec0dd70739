"""Frozen linear layers in 32, 16 or 8 bits, on the device or in the CPU's memory: the base under a LoRA.

A frozen weight needs no gradient, so that it can be stored in few bytes and expanded where a product needs
it. Autograd would keep the expanded copy of every layer until the backward pass; here it is expanded a second
time instead. torchao's weight-only types are not used, because their products keep that copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinema.models.copy_ahead import CopyAhead, to_home
from kinema.models.transformer.dit import Dit

BaseDtype = Literal["float32", "bfloat16", "fp8", "int8"]
"""How frozen weights are stored. `fp8` is float8_e4m3fn, and both 8-bit types have a scale for each row."""

_INT8_MAX = 127.0
_FP8_MAX = torch.finfo(torch.float8_e4m3fn).max
_KEPT_ON_DEVICE = ("attn2.to_k", "attn2.to_v", "attn2.add_k_proj", "attn2.add_v_proj")
"""Layers that read the prompts. They run before the blocks, so that swapping them would copy each block
twice."""

Fetch = Callable[[], tuple[Tensor, Tensor | None]]
"""Returns a layer's stored weight and scale, on the device of the product."""


def stored_bytes(base_dtype: BaseDtype) -> int:
    """Bytes of a stored weight."""
    return {"float32": 4, "bfloat16": 2, "fp8": 1, "int8": 1}[base_dtype]


def _quantize(weight: Float[Tensor, "d c"], base_dtype: BaseDtype) -> tuple[Tensor, Tensor | None]:
    if base_dtype == "float32":
        return weight.float(), None
    if base_dtype == "bfloat16":
        return weight.bfloat16(), None
    largest = _INT8_MAX if base_dtype == "int8" else _FP8_MAX
    rows = weight.float()
    # A row of zeros can have any scale.
    scale = rows.abs().amax(dim=1).clamp_(min=1e-12) / largest
    scaled = rows / scale[:, None]
    values = scaled.round_().to(torch.int8) if base_dtype == "int8" else scaled.to(torch.float8_e4m3fn)
    return values, scale


class _FrozenProduct(torch.autograd.Function):
    """x W^T + b, with a gradient for x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, fetch: Fetch) -> Tensor:
        ctx.fetch = fetch
        return functional.linear(x, _expand(fetch, x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return gradient @ _expand(ctx.fetch, gradient.dtype), None, None


def _expand(fetch: Fetch, dtype: torch.dtype) -> Tensor:
    weight, scale = fetch()
    return weight.to(dtype) if scale is None else weight.to(dtype) * scale.to(dtype)[:, None]


class FrozenLinear(nn.Linear):
    """A linear layer whose weight is stored in `base_dtype` and is never trained.

    Args:
        layer: its weight is copied where the type changes, and shared otherwise.
        base_dtype: see `BaseDtype`.
    """

    scale: nn.Parameter | None

    def __init__(self, layer: nn.Linear, base_dtype: BaseDtype) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        values, scale = _quantize(layer.weight.detach(), base_dtype)
        # Parameters and not buffers, so that FSDP shards them.
        self.weight = nn.Parameter(values, requires_grad=False)
        self.scale = None if scale is None else nn.Parameter(scale, requires_grad=False)
        self.bias = layer.bias
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.swap: BlockSwap | None = None

    def forward(self, input: Float[Tensor, "*n c"]) -> Float[Tensor, "*n d"]:  # noqa: A002 - torch's name
        """The output, in the type of `input` or of autocast."""
        device = input.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else input.dtype
        return _FrozenProduct.apply(input.to(dtype), self.bias, self._fetch)

    def _fetch(self) -> tuple[Tensor, Tensor | None]:
        return (self.weight, self.scale) if self.swap is None else self.swap.fetch(self)


class BlockSwap:
    """Keeps the frozen weights of the last blocks in the CPU's memory and copies them when they are needed.

    While a block runs, the weights of the next one, or in the backward pass of the one before, are copied on
    a second stream. At most two blocks of copies exist.

    Args:
        blocks: the blocks whose frozen weights are swapped, in the order in which they run.
        device: where they run.
    """

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device) -> None:
        self._block_of: dict[FrozenLinear, int] = {}
        self._layers: list[list[FrozenLinear]] = []
        for index, block in enumerate(blocks):
            layers = [
                layer
                for name, layer in block.named_modules()
                if isinstance(layer, FrozenLinear) and not any(part in name for part in _KEPT_ON_DEVICE)
            ]
            for layer in layers:
                layer.weight.data = to_home(layer.weight.data, device)
                if layer.scale is not None:
                    layer.scale.data = to_home(layer.scale.data, device)
                layer.swap = self
                self._block_of[layer] = index
            self._layers.append(layers)
        homes = [
            [tensor for layer in layers for tensor in (layer.weight, layer.scale)] for layers in self._layers
        ]
        self._copies = CopyAhead(
            [[None if tensor is None else tensor.data for tensor in tensors] for tensors in homes],
            device,
            always_copy=False,
        )

    @property
    def num_copied_blocks(self) -> int:
        """How many blocks have copies on the device now."""
        return self._copies.num_copied_blocks

    def fetch(self, layer: FrozenLinear) -> tuple[Tensor, Tensor | None]:
        """The weight and the scale of a layer on the device; starts the copies of the next block."""
        index = self._block_of[layer]
        backward = torch._C._current_graph_task_id() != -1
        copies = self._copies.fetch(index, index - 1 if backward else index + 1)
        first = 2 * self._layers[index].index(layer)
        weight = copies[first]
        assert weight is not None
        return weight, copies[first + 1]


def freeze_base(
    dit: Dit, base_dtype: BaseDtype, device: torch.device, *, swapped_blocks: int = 0
) -> BlockSwap | None:
    """Freeze all weights of a transformer and store those of its blocks in `base_dtype`.

    Weights are converted one after another, so that the peak is one layer above the result.

    Args:
        dit: changed in place and moved to `device`.
        base_dtype: of the linear layers in the blocks; everything else is small and keeps its type.
        device: where it runs.
        swapped_blocks: that many of the last blocks stay in the CPU's memory.

    Returns:
        What copies the swapped blocks; None without any.
    """
    dit.requires_grad_(False)
    for block in dit.blocks:
        for name, layer in list(block.named_modules()):
            if isinstance(layer, nn.Linear):
                parent, _, last = name.rpartition(".")
                setattr(block.get_submodule(parent), last, FrozenLinear(layer, base_dtype))
    first_swapped = len(dit.blocks) - swapped_blocks
    for index, block in enumerate(dit.blocks):
        if index < first_swapped:
            _move_tensors(block, device)
    swap = None
    if swapped_blocks:
        swap = BlockSwap(list(dit.blocks[first_swapped:]), device)
        for block in dit.blocks[first_swapped:]:
            for layer in block.modules():
                if not (isinstance(layer, FrozenLinear) and layer.swap is not None):
                    _move_own_tensors(layer, device)
                elif layer.bias is not None:
                    layer.bias.data = layer.bias.data.to(device)
    for name, child in dit.named_children():
        if name != "blocks":
            _move_tensors(child, device)
    _move_own_tensors(dit, device)
    return swap


def _move_tensors(module: nn.Module, device: torch.device) -> None:
    # Not `Module.to`, which does not work on the fake tensors of a memory estimate.
    for part in module.modules():
        _move_own_tensors(part, device)


def _move_own_tensors(module: nn.Module, device: torch.device) -> None:
    """Move the tensors of a module, not those of its submodules."""
    for parameter in module.parameters(recurse=False):
        if parameter.device != device:
            parameter.data = parameter.data.to(device)
    for name, buffer in module.named_buffers(recurse=False):
        if buffer.device != device:
            setattr(module, name, buffer.to(device))
