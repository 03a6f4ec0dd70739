"""A transformer whose blocks stay in the CPU's memory and are copied to the device one block ahead.

Everything outside the blocks, which every token or every block depends on, stays on the device. The layers of
the cross-attention that read the prompt run once per prompt, before the blocks; they are a row of copies of
their own.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from kinema.models.copy_ahead import CopyAhead, to_home
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_block import CrossAttention, DitBlock

PROMPT_LAYERS = ("to_k", "to_v", "norm_k", "add_k_proj", "add_v_proj", "norm_added_k")
"""Of the cross-attention; they run once per prompt."""


class _Row:
    """Modules that run one after another, whose tensors are on the device only while they are needed."""

    def __init__(self, units: list[list[nn.Module]], device: torch.device) -> None:
        self._slots: list[list[tuple[nn.Module, str]]] = []
        self._homes: list[list[Tensor]] = []
        for modules in units:
            slots, homes = [], []
            for module in modules:
                for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
                    if tensor is None:
                        continue
                    tensor.data = to_home(tensor.data, device)
                    slots.append((module, name))
                    homes.append(tensor.data)
            self._slots.append(slots)
            self._homes.append(homes)
        self.copies = CopyAhead(self._homes, device)

    @property
    def num_units(self) -> int:
        """How many units there are."""
        return len(self._homes)

    def enter(self, index: int) -> None:
        """Put the tensors of a unit on the device, and start the copies of the next one."""
        # After the last unit comes the first of the next step.
        following = (index + 1) % len(self._homes) if len(self._homes) > 1 else None
        self._set(index, cast("list[Tensor]", self.copies.fetch(index, following)))

    def leave(self, index: int) -> None:
        """Put the tensors in the CPU's memory back."""
        self._set(index, self._homes[index])

    def _set(self, index: int, tensors: list[Tensor]) -> None:
        for (module, name), tensor in zip(self._slots[index], tensors, strict=True):
            getattr(module, name).data = tensor


class BlockOffload:
    """Copies the blocks of a transformer to the device one ahead; see `offload_blocks`."""

    def __init__(self, dit: Dit, device: torch.device) -> None:
        blocks = [*dit._blocks(), *dit._control_blocks()]
        # Blocks of the control branch run between those of the transformer.
        order: list[DitBlock] = []
        control = dict(zip(dit.config.control_layers, dit._control_blocks(), strict=True))
        for index, block in enumerate(dit._blocks()):
            order += [control[index], block] if index in control else [block]
        prompts = []
        if dit.config.text_conditioning == "cross":
            prompts = [[getattr(b.attn2, n) for n in PROMPT_LAYERS if hasattr(b.attn2, n)] for b in blocks]
        apart = {module for unit in prompts for module in unit}
        self._blocks = _Row([[m for m in block.modules() if m not in apart] for block in order], device)
        self._prompts = _Row(prompts, device) if prompts else None
        for name, child in dit.named_children():
            if name not in ("blocks", "vace_blocks"):
                child.to(device)
        for parameter in dit.parameters(recurse=False):
            parameter.data = parameter.data.to(device)
        for index, block in enumerate(order):
            block.register_forward_pre_hook(lambda *_, index=index: self._blocks.enter(index))
            block.register_forward_hook(lambda *_, index=index: self._blocks.leave(index))
        if self._prompts is not None:
            for index, block in enumerate(blocks):
                self._wrap(block.attn2, index)

    def _wrap(self, attention: CrossAttention, index: int) -> None:
        """Copies around the methods that project prompts, which are not modules."""
        prompts = self._prompts
        assert prompts is not None
        for name in ("project_text", "project_image"):
            method = getattr(attention, name)

            def project(states: Tensor, method: Any = method) -> Any:
                self._blocks.copies.drop()
                prompts.enter(index)
                try:
                    return method(states)
                finally:
                    prompts.leave(index)
                    if index == prompts.num_units - 1:
                        prompts.copies.drop()

            setattr(attention, name, project)

    @property
    def copied_bytes(self) -> int:
        """Bytes of the copies on the device now."""
        return sum(row.copies.copied_bytes for row in self._rows)

    @property
    def peak_bytes(self) -> int:
        """The largest `copied_bytes` so far."""
        return max(row.copies.peak_bytes for row in self._rows)

    @property
    def _rows(self) -> list[_Row]:
        return [self._blocks] if self._prompts is None else [self._blocks, self._prompts]


def offload_blocks(dit: Dit, device: torch.device) -> BlockOffload:
    """Keep the blocks in the CPU's memory; they are copied to `device` while the transformer runs.

    The result is the same, bit for bit. At most two blocks are on the device at a time, the one that runs and
    the next.

    Args:
        dit: in the CPU's memory; changed in place, and for inference only from now on.
        device: where it runs; everything but the blocks is moved there.
    """
    return BlockOffload(dit, device)
