"""`kinema estimate`: time and memory of a video, or the memory of training, on this machine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kinema.cli.generate import InputArgs
from kinema.cli.options import SamplingArgs
from kinema.cli.train_logging import format_memory

if TYPE_CHECKING:
    from kinema.pipeline.cost import CostEstimate
    from kinema.pipeline.pipeline import Pipeline
    from kinema.pipeline.resolved_request import ResolvedRequest


@dataclass(frozen=True, kw_only=True)
class Estimate(InputArgs, SamplingArgs):
    """Estimate time and memory of a video, or with --train the memory of training, on this machine."""

    train: Literal["lora", "finetune"] | None = None
    """Estimate a training on clips of --size and --num-frames instead: of a LoRA, or of all weights."""
    rank: int = 32
    """For --train lora: rank of the matrices."""
    batch_size: int | None = None
    """For --train: clips in a step."""
    base_dtype: Literal["auto", "float32", "bfloat16", "fp8", "int8"] = "auto"
    """For --train lora: type of the frozen weights."""
    swapped_blocks: int = 0
    """For --train lora: blocks whose frozen weights stay in the CPU's memory."""
    checkpointing: bool | None = None
    """For --train: recompute activations in the backward pass."""
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """For --train."""

    def run(self) -> None:
        """Print the estimate; fail if the video or the training does not fit into memory."""
        if self.train is not None:
            _print_train_estimate(self, is_lora=self.train == "lora")
            return
        pipe = self.load_pipeline()
        resolved = pipe.resolve(self.add_to(self.to_request("")))
        _print_estimate(pipe, resolved, pipe.estimate(resolved))
        pipe.require_memory(resolved)


def _print_estimate(pipe: Pipeline, resolved: ResolvedRequest, estimate: CostEstimate) -> None:
    from rich.console import Console
    from rich.table import Table

    (width, height), length = resolved.size, resolved.num_frames / resolved.fps
    eight = " and int8" if pipe.policy.int8 else " and fp8" if pipe.policy.fp8 else ""
    dtype = str(pipe.policy.dtype).removeprefix("torch.") + eight
    table = Table(
        title=f"{resolved.num_frames} frames at {width}x{height}, {length:.2f} s, "
        f"{estimate.num_inference_steps} steps, {dtype} on {pipe.device}",
        title_justify="left",
    )
    table.add_column("stage")
    for column in ("FLOPs", "time", "peak memory"):
        table.add_column(column, justify="right")
    for cost in estimate.costs:
        table.add_row(
            cost.name,
            f"{cost.flops:.2e}",
            _format_duration(cost.seconds),
            f"{cost.peak_bytes / 2**30:.2f} GiB",
        )
    table.add_row(
        "total",
        f"{sum(cost.flops for cost in estimate.costs):.2e}",
        _format_duration(estimate.seconds),
        f"{estimate.peak_bytes / 2**30:.2f} GiB",
    )
    console = Console()
    console.print(table)
    console.print(
        f"available: {estimate.available / 2**30:.2f} GiB. Times do not include loading the weights.",
        highlight=False,
    )


def _format_duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _print_train_estimate(options: Estimate, *, is_lora: bool) -> None:
    """Print the memory of training on clips of a size and length.

    Raises:
        UserError: there is no such model, an option is invalid, or the training does not fit into memory.
    """
    from kinema.models.formats.loader import open_model
    from kinema.pipeline.device import resolve_device
    from kinema.shapes import VideoShape, parse_size
    from kinema.training.lora_layers import LoraConfig
    from kinema.training.memory_estimate import check_train_memory, estimate_run_memory
    from kinema.training.recipes.datasets import SetConfig
    from kinema.training.recipes.finetune import check_config, default_config

    model, device = open_model(options.model), resolve_device(options.device)
    defaults = model.sampling_defaults
    width, height = parse_size(options.size) if options.size else defaults.size
    frames = options.num_frames or defaults.num_frames
    shape = VideoShape(frames=frames, height=height, width=width)
    shape = shape.rounded(model.vae.stride, model.dit.patch_size)
    lora = LoraConfig(rank=options.rank) if is_lora else None
    # The folder is not read: only the sizes matter.
    config = default_config(model, [SetConfig(folder="estimate")], lora=lora)
    training = config.training
    optimizer = dataclasses.replace(training.loop.optimizer, adamw=options.optimizer)
    training = dataclasses.replace(training, loop=dataclasses.replace(training.loop, optimizer=optimizer))
    if options.batch_size is not None:
        training = dataclasses.replace(training, batch_size=options.batch_size)
    if options.checkpointing is not None:
        training = dataclasses.replace(training, activation_checkpointing=options.checkpointing)
    config = dataclasses.replace(
        config, training=training, base_dtype=options.base_dtype, swapped_blocks=options.swapped_blocks
    )
    check_config(config, model)
    memory = estimate_run_memory(config, model, shape, device)
    print(
        f"{training.batch_size} clips of {shape.frames} frames at {shape.width}x{shape.height} on {device}:"
    )
    print(format_memory(memory))
    check_train_memory(memory, config, device)
