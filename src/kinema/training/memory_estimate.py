"""Peak memory of training before it starts: a step on tensors without values, whose sizes are added up.

Transformer, loss and backward pass run once on fake tensors, which have shapes and no memory. Every
allocation and release is counted as it happens, so that recomputed activations and frozen 8-bit weights need
no formulas of their own.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kinema.errors import UserError
from kinema.models.formats.loader import ModelCheckpoint
from kinema.models.precision import autocast
from kinema.models.text_encoders.base import TextEmbeddings
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import DitConfig
from kinema.pipeline.device import free_memory
from kinema.shapes import LatentShape, VideoShape
from kinema.training.finetune_task import FinetuneConfig
from kinema.training.frozen_linear import BaseDtype, FrozenLinear, freeze_base
from kinema.training.lora_layers import LoraConfig, add_lora
from kinema.training.recipes.finetune import FinetuneRunConfig, resolve_base_dtype

TEXT_TOKENS = 64
"""Tokens of a caption."""
IMAGE_TOKENS = 257
"""States of the CLIP image encoder."""
_PROCESS_BYTES = {"cpu": 480 * 2**20, "cuda": 700 * 2**20}
"""The interpreter and its libraries on a CPU, the context and the libraries on a GPU."""


@dataclass(frozen=True, kw_only=True)
class TrainMemory:
    """Bytes of a training step.

    Attributes:
        weights: parameters and buffers on the device.
        host_weights: of swapped blocks, in the CPU's memory.
        optimizer: moments of the optimizer.
        average: averaged weights.
        step: largest sum of activations, gradients and temporary values within a step.
        process: of the process itself.
        num_trained: trained parameters.
    """

    weights: int
    host_weights: int
    optimizer: int
    average: int
    step: int
    process: int
    num_trained: int

    @property
    def peak(self) -> int:
        """All bytes on the device at the largest moment of a step."""
        return self.weights + self.optimizer + self.average + self.step + self.process


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of all live tensors that operations create."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.peak = 0, 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._count(value)
        return result

    def ignore(self, tensors: Mapping[str, Tensor]) -> None:
        """Leave out tensors that exist already."""
        for tensor in tensors.values():
            self._seen.add(tensor.untyped_storage()._cdata)

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()
        self._seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


def estimate_train_memory(
    model: ModelCheckpoint,
    video_shape: VideoShape,
    training: FinetuneConfig,
    *,
    lora: LoraConfig | None,
    base_dtype: BaseDtype,
    swapped_blocks: int,
    device: torch.device,
) -> TrainMemory:
    """Peak memory of fine-tuning, for one process.

    Args:
        model: its settings are read, no weights.
        video_shape: of the largest clips; it fits the model.
        training: batch size, precision, recomputation and optimizer.
        lora: None trains all weights.
        base_dtype: of frozen weights.
        swapped_blocks: blocks in the CPU's memory.
        device: of training.
    """
    config, cpu = model.dit, torch.device("cpu")
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cpu"):
        dit = Dit(config)
        if lora is not None:
            if base_dtype != "float32":
                dit.cast(torch.bfloat16)
            freeze_base(dit, base_dtype, cpu, swapped_blocks=swapped_blocks)
            add_lora(dit, lora, seed=0, device=cpu)
        dit.train()
        parameters = dict(dit.named_parameters())
        tensors = parameters | dict(dit.named_buffers())
        swapped = {
            name
            for part, layer in dit.named_modules()
            if isinstance(layer, FrozenLinear) and layer.swap is not None
            for name in (f"{part}.weight", f"{part}.scale")
        }
        on_host = swapped if device.type == "cuda" else set()
        counter = _LiveBytes()
        counter.ignore(tensors)
        with counter:
            loss = _fake_loss(dit, config, model, video_shape, training, device)
            loss.backward()
    trained = [parameter for parameter in parameters.values() if parameter.requires_grad]
    count = sum(parameter.numel() for parameter in trained)
    moments = 2 if training.loop.optimizer.adamw == "adamw8bit" else 8
    copies = 0
    if on_host:
        sizes = [
            sum(_bytes(t) for n, t in tensors.items() if n in swapped and f"blocks.{i}." in n)
            for i in range(config.layers)
        ]
        copies = 2 * max(sizes)
    return TrainMemory(
        weights=sum(_bytes(tensor) for name, tensor in tensors.items() if name not in on_host) + copies,
        host_weights=sum(_bytes(tensors[name]) for name in on_host if name in tensors),
        optimizer=moments * count,
        average=4 * count,
        step=counter.peak,
        process=_PROCESS_BYTES[device.type],
        num_trained=count,
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _fake_loss(
    dit: Dit,
    config: DitConfig,
    model: ModelCheckpoint,
    video_shape: VideoShape,
    training: FinetuneConfig,
    device: torch.device,
) -> Tensor:
    """The loss of `FinetuneTask` on tensors without values."""
    shape = LatentShape.of(video_shape, model.vae.stride)
    size = (training.batch_size, config.in_channels, shape.frames, shape.height, shape.width)
    noisy = torch.randn(size)
    target = torch.randn(size[0], config.out_channels, *size[2:])
    text = TextEmbeddings(
        hidden_states=torch.randn(size[0], TEXT_TOKENS, config.text_width),
        # On the meta device, so that nothing is decided by values.
        lengths=torch.full((size[0],), TEXT_TOKENS, device="meta"),
    )
    image = None
    if config.image_width is not None:
        image = torch.randn(size[0], IMAGE_TOKENS, config.image_width)
    # Different noise levels in a batch have rows of modulation of their own.
    per_frame = training.sigma_sampling.prefix_p or training.sigma_sampling.diffusion_forcing_p
    rows = torch.rand(size[0], shape.frames if per_frame else 1, device="meta")
    sigma = rows.expand(-1, shape.frames)
    precision = training.precision
    if precision == "auto" and device.type == "cuda":
        precision = "bfloat16"
    with autocast(precision, torch.device("cpu")):
        velocity = dit(
            noisy.to(dit.dtype),
            sigma,
            dit.context(text, image),
            recompute=training.activation_checkpointing,
        )
    return (velocity.float() - target).square().mean()


def estimate_run_memory(
    config: FinetuneRunConfig, model: ModelCheckpoint, video_shape: VideoShape, device: torch.device
) -> TrainMemory:
    """Peak memory of a fine-tuning run, for one process; see `estimate_train_memory`."""
    return estimate_train_memory(
        model,
        video_shape,
        config.training,
        lora=config.lora,
        base_dtype=resolve_base_dtype(config, model, device),
        swapped_blocks=config.swapped_blocks,
        device=device,
    )


def check_train_memory(memory: TrainMemory, config: FinetuneRunConfig, device: torch.device) -> None:
    """Refuse a run that does not fit into memory.

    Raises:
        UserError: it does not fit; the message says what needs less.
    """
    available = free_memory(device) + (memory.process if device.type == "cpu" else 0)
    if memory.peak <= available:
        return
    options, training = [], config.training
    if training.batch_size > 1:
        options.append("a smaller --batch-size")
    if not training.activation_checkpointing:
        options.append("--checkpointing True")
    if config.lora is None:
        options.append("a LoRA (kinema train lora)")
    elif config.base_dtype not in ("int8", "fp8"):
        options.append("--base-dtype int8")
    if config.lora is not None and device.type == "cuda":
        options.append("--swapped-blocks")
    if training.loop.optimizer.adamw == "adamw":
        options.append("--optimizer adamw8bit")
    options.append("a set of smaller or shorter clips")
    raise UserError(
        f"this training needs {memory.peak / 2**30:.1f} GiB and {available / 2**30:.1f} GiB are free; "
        f"use {', '.join(options)}"
    )
