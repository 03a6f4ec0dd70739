"""How the loss falls with the operations spent, for transformers of several sizes on the same films.

Every size sees the same films, captions, levels and noise in the same order; only its width and depth
differ. Each is trained once, at a learning rate that stays constant behind the warm-up, and its average is
validated at budgets that double: so every point of a curve is a run of its own, stopped there, but for the
decay at the end that a real run would have.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from kinema.atomic_io import atomic_write, write_text
from kinema.data.latent_cache import LatentDataset
from kinema.models.formats.serialization import to_json
from kinema.models.transformer.dit_config import DitConfig
from kinema.training.dit_task import DitTask, DitTrainConfig
from kinema.training.loop import LoopConfig, train
from kinema.training.optimizer import OptimizerConfig
from kinema.training.overrides import to_plain


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """One transformer of the comparison."""

    width: int
    layers: int

    @property
    def name(self) -> str:
        """As it is called in the plot."""
        return f"{self.width} x {self.layers}"


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """What is compared."""

    sizes: tuple[ModelSize, ...] = (
        ModelSize(width=64, layers=3),
        ModelSize(width=128, layers=4),
        ModelSize(width=192, layers=6),
    )
    max_flops: float = 2e13
    """The largest budget of each size, in floating-point operations."""
    num_points: int = 6
    """Budgets, each twice the one before."""
    batch_size: int = 16
    num_held_out: int = 96
    training: DitTrainConfig = field(
        default_factory=lambda: DitTrainConfig(
            causal_p=0.0,
            loop=LoopConfig(
                optimizer=OptimizerConfig(
                    learning_rate=1e-3,
                    muon_learning_rate=2e-3,
                    decay_share=0.0,
                    min_lr_ratio=1.0,
                    warmup_steps=30,
                )
            ),
        )
    )

    def train_config(self, size: ModelSize, model: DitConfig) -> DitTrainConfig:
        """The training of one size; `model` gives all that is no size."""
        heads = max(1, size.width // 32)
        shape = dataclasses.replace(
            model, width=size.width, layers=size.layers, heads=heads, mlp_width=4 * size.width
        )
        return dataclasses.replace(self.training, batch_size=self.batch_size, model=shape)


@dataclass(frozen=True, kw_only=True)
class ScalingPoint:
    """A size, trained for a budget."""

    size: str
    parameters: int
    steps: int
    samples: int
    flops: float
    loss: float
    """On held-out films, mean over 8 levels."""
    caption_loss_ratio: float
    """Loss at the highest level under right captions, over that under wrong ones."""


def measure_scaling(
    config: ScalingConfig,
    model: DitConfig,
    dataset: LatentDataset,
    held_out: LatentDataset,
    run_dir: Path,
    device: torch.device,
) -> Iterator[ScalingPoint]:
    """Train every size; points are yielded as they are reached, and again after a stop."""
    for size in config.sizes:
        training = config.train_config(size, model)
        task = DitTask(training, [dataset], [held_out.subset(0, config.num_held_out)], device)
        work = task.step_cost(0)
        marks = sorted(
            {max(1, round(config.max_flops / work.flops / 2**i)) for i in range(config.num_points)}
        )
        parameters = sum(p.numel() for p in task.dit.parameters())
        folder = run_dir / f"{size.width}x{size.layers}"
        done = folder / "points.json"
        told = json.loads(done.read_text()) if done.is_file() else []
        for first, mark in enumerate(marks):
            if first < len(told):
                yield ScalingPoint(**told[first])
                continue
            # A stop at a mark is a run that ends there: the next leg goes on from its checkpoint.
            loop = dataclasses.replace(
                training.loop, steps=mark, validate_every=mark, save_every=mark, keep_last=1, ema_decay=0.99
            )
            leg = DitTask(training, [dataset], [held_out.subset(0, config.num_held_out)], device)
            settings = to_plain(dataclasses.replace(training, loop=training.loop))
            for report in train(leg, loop, folder, settings=settings):
                if report.step == mark and report.scores is not None:
                    point = ScalingPoint(
                        size=size.name,
                        parameters=parameters,
                        steps=mark,
                        samples=mark * work.samples,
                        flops=mark * work.flops,
                        loss=report.scores["ema/loss_right"],
                        caption_loss_ratio=report.scores["ema/right_over_wrong"],
                    )
                    told.append(dataclasses.asdict(point))
                    write_text(done, json.dumps(told, indent=1) + "\n")
                    yield point


def write_scaling(config: ScalingConfig, points: Sequence[ScalingPoint], folder: Path) -> None:
    """`scaling.json` and `scaling.png`."""
    values = {"config": json.loads(to_json(config)), "points": [dataclasses.asdict(p) for p in points]}
    write_text(folder / "scaling.json", json.dumps(values, indent=1) + "\n")
    with atomic_write(folder / "scaling.png") as beside:
        Image.fromarray(plot_scaling(points)).save(beside)


COLOURS = ((66, 135, 245), (230, 126, 34), (39, 174, 96), (192, 57, 43), (142, 68, 173))
INK_COLOUR, GRID_COLOUR = (40, 40, 44), (225, 225, 228)
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 900, 560, 90, 50, 30, 70


def plot_scaling(points: Sequence[ScalingPoint]) -> UInt8[np.ndarray, "H W 3"]:
    """Loss against operations, both on logarithmic scales, a line for each size."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    x_low, x_high = (f(math.log10(p.flops) for p in points) for f in (min, max))
    y_low, y_high = (f(math.log10(p.loss) for p in points) for f in (min, max))
    x_low, x_high, y_low, y_high = x_low - 0.05, x_high + 0.05, y_low - 0.02, y_high + 0.02

    def to_pixel(flops: float, loss: float) -> tuple[float, float]:
        across = (math.log10(flops) - x_low) / (x_high - x_low)
        up = (math.log10(loss) - y_low) / (y_high - y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    for value in _ticks(10**x_low, 10**x_high):
        x, _ = to_pixel(value, 10**y_low)
        pen.line((x, TOP, x, HEIGHT - BOTTOM), fill=GRID_COLOUR)
        pen.text((x, HEIGHT - BOTTOM + 8), f"{value:.0e}", font=font, fill=INK_COLOUR, anchor="ma")
    for step in range(6):
        value = 10 ** (y_low + (y_high - y_low) * step / 5)
        _, y = to_pixel(10**x_low, value)
        pen.line((LEFT, y, WIDTH - RIGHT, y), fill=GRID_COLOUR)
        pen.text((LEFT - 8, y), f"{value:.3f}", font=font, fill=INK_COLOUR, anchor="rm")
    for number, size in enumerate(dict.fromkeys(p.size for p in points)):
        colour = COLOURS[number % len(COLOURS)]
        own = sorted((p for p in points if p.size == size), key=lambda p: p.flops)
        line = [to_pixel(p.flops, p.loss) for p in own]
        pen.line(line, fill=colour, width=3)
        for x, y in line:
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
        label = f"{size}, {own[0].parameters / 1e6:.2f} M parameters"
        pen.text((WIDTH - RIGHT - 270, TOP + 10 + 24 * number), label, font=font, fill=colour)
    pen.text((LEFT, 16), "Validation loss against training operations (FLOP)", font=font, fill=INK_COLOUR)
    pen.text((WIDTH / 2, HEIGHT - 28), "operations", font=font, fill=INK_COLOUR, anchor="ma")
    return np.asarray(picture).copy()


def _ticks(low: float, high: float) -> list[float]:
    return [
        digit * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digit in (1, 2, 5)
        if low <= digit * 10.0**power <= high
    ]
