"""`kinema train finetune` and `kinema train lora`: a model on your own videos."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import UseAppendAction

from kinema.cli.options import MachineArgs
from kinema.errors import UserError

if TYPE_CHECKING:
    from kinema.training.lora_layers import LoraConfig
    from kinema.training.recipes.datasets import SetConfig
    from kinema.training.recipes.finetune import FinetuneRunConfig

EXPERTS = {"both": (0, 1), "high": (0,), "low": (1,)}
"""Experts of a model with two, by the option."""


@dataclass(frozen=True, kw_only=True)
class FinetuneArgs(MachineArgs):
    """Options of both commands. An option that is not given leaves the choice to the model."""

    data: UseAppendAction[tuple[str, ...]]
    """A set of `kinema data build`, with a weight after a colon: --data cats:2 --data dogs:1."""
    out: Path
    """Folder of the run; an interrupted run continues."""
    model: str = "world-teacher"
    """`world-teacher` (shipped, not distilled), a folder, or owner/name of a hub model."""
    experts: Literal["both", "high", "low"] = "both"
    """For Wan 2.2 A14B: which of the two transformers, for high and for low noise."""
    steps: int | None = None
    """Training steps of each transformer."""
    budget: str = ""
    """Time for the training in place of steps: 90s, 25m, 2h."""
    batch_size: int | None = None
    """Clips in a step."""
    learning_rate: float | None = None
    """Of AdamW, after the warm-up."""
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """adamw8bit stores its moments in 8 bits."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass: a third more time, far less memory."""
    trigger: str = ""
    """A word for what the clips show; it replaces [trigger] in captions, or is put in front."""
    prompt: UseAppendAction[tuple[str, ...]] = ()
    """A prompt to sample at every validation; without one, captions of held-out clips."""
    held_out_share: float | None = None
    """Share of the clips to validate on."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Change a setting, as name.of.setting=value: --set training.captions.dropout=0.2"""

    def to_config(self, lora: LoraConfig | None) -> FinetuneRunConfig:
        """The settings of the run.

        Raises:
            UserError: there is no such model, or an option is invalid.
        """
        from kinema.cli.train_run import parse_duration
        from kinema.models.formats.loader import open_model, refuse_distilled
        from kinema.training.recipes.finetune import default_config

        model = open_model(self.model)
        refuse_distilled(model)
        config = default_config(model, [parse_set(text) for text in self.data], lora=lora)
        training = config.training
        if self.steps is not None:
            if self.steps < 1:
                raise UserError(f"a run has 1 step or more, not {self.steps}")
            training = dataclasses.replace(training, loop=training.loop.with_steps(self.steps))
        optimizer = dataclasses.replace(training.loop.optimizer, adamw=self.optimizer)
        if self.learning_rate is not None:
            optimizer = dataclasses.replace(optimizer, learning_rate=self.learning_rate)
        optimizer = dataclasses.replace(
            optimizer, warmup_steps=min(optimizer.warmup_steps, max(1, training.loop.steps // 10))
        )
        training = dataclasses.replace(
            training,
            loop=dataclasses.replace(training.loop, optimizer=optimizer),
            captions=dataclasses.replace(training.captions, trigger=self.trigger),
        )
        if self.batch_size is not None:
            training = dataclasses.replace(training, batch_size=self.batch_size)
        if self.checkpointing is not None:
            training = dataclasses.replace(training, activation_checkpointing=self.checkpointing)
        experts = config.experts
        if len(experts) > 1:
            experts = EXPERTS[self.experts]
        elif self.experts != "both":
            raise UserError(f"{self.model} has one transformer; leave out --experts")
        return dataclasses.replace(
            config,
            training=training,
            experts=experts,
            samples=dataclasses.replace(config.samples, prompts=tuple(self.prompt)),
            held_out_share=config.held_out_share if self.held_out_share is None else self.held_out_share,
            budget=parse_duration(self.budget) if self.budget else None,
        )


@dataclass(frozen=True, kw_only=True)
class Finetune(FinetuneArgs):
    """Train all weights of a model further on your own videos."""

    def run(self) -> None:
        """Train it."""
        from kinema.cli.train_run import start_run

        start_run(self.to_config(None), self.set, self.out, "finetune", self)


@dataclass(frozen=True, kw_only=True)
class Lora(FinetuneArgs):
    """Train a LoRA on your own videos: a small file that changes a model."""

    rank: int = 32
    """Rank of the matrices: 8 to 64 are usual."""
    alpha: float | None = None
    """The change is scaled by alpha / rank; without it by 1."""
    format: Literal["original", "kohya", "diffusers"] = "original"
    """Form of the file: most programs read original, musubi-tuner reads kohya."""
    target: UseAppendAction[tuple[str, ...]] = ()
    """Layers to change, such as attn1.to_q; without it all linear layers of the blocks."""
    base_dtype: Literal["auto", "float32", "bfloat16", "fp8", "int8"] = "auto"
    """Type of the frozen weights; fp8 and int8 need half the memory of bfloat16."""
    swapped_blocks: int = 0
    """Keep the frozen weights of so many blocks in the CPU's memory."""

    def run(self) -> None:
        """Train it."""
        from kinema.cli.train_run import start_run
        from kinema.training.lora_layers import LoraConfig

        lora = LoraConfig(rank=self.rank, alpha=self.alpha, targets=tuple(self.target))
        config = dataclasses.replace(
            self.to_config(lora),
            lora_format=self.format,
            base_dtype=self.base_dtype,
            swapped_blocks=self.swapped_blocks,
        )
        start_run(config, self.set, self.out, "finetune", self)


def parse_set(text: str) -> SetConfig:
    """Parse `SET` or `SET:WEIGHT`.

    Raises:
        UserError: the folder does not exist, or the weight is not above 0.
    """
    from kinema.training.recipes.datasets import SetConfig

    folder, colon, number = text.rpartition(":")
    weight = 1.0
    if colon and not Path(text).is_dir():
        try:
            weight = float(number)
        except ValueError:
            raise UserError(f"{text!r} is not SET or SET:WEIGHT; write --data cats:2 --data dogs:1") from None
    else:
        folder = text
    if not Path(folder).is_dir():
        raise UserError(f"there is no set {folder!r}; build one: kinema data build VIDEOS --out {folder}")
    return SetConfig(folder=folder, weight=weight)
