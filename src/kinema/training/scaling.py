"""Validation loss against training FLOPs for transformers of several sizes on the same data.

Every size sees the same videos, captions, sigmas and noise in the same order; only width and depth differ.
Each is trained once, with a constant learning rate after the warm-up, and its averaged weights are
validated at budgets that double. Every point is therefore the end of a run of its own, except for the
learning-rate decay of a real run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kinema.atomic_io import atomic_write, write_text
from kinema.data.latent_cache import LatentDataset
from kinema.errors import missing_extra
from kinema.models.formats.serialization import to_json
from kinema.models.transformer.dit_config import DitConfig
from kinema.training.dit_task import CAPTION_LOSS_RATIO, DitTask, DitTrainConfig
from kinema.training.loop import LoopConfig, train
from kinema.training.optimizer import OptimizerConfig
from kinema.training.overrides import to_plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Width and depth of a transformer."""

    width: int
    layers: int

    @property
    def name(self) -> str:
        """Label in the plot."""
        return f"{self.width} x {self.layers}"


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """Settings of the comparison.

    Attributes:
        sizes: of the transformers.
        max_flops: largest budget of each size, in floating-point operations.
        num_points: budgets of each size, each twice the one before.
        batch_size: videos in a step.
        num_held_out: held-out videos that are validated.
        training: further settings.
    """

    sizes: tuple[ModelSize, ...] = (
        ModelSize(width=64, layers=3),
        ModelSize(width=128, layers=4),
        ModelSize(width=192, layers=6),
    )
    max_flops: float = 2e13
    num_points: int = 6
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
        """Return the training settings of a size; everything else of the transformer is as in `model`."""
        heads = max(1, size.width // 32)
        sized_model = dataclasses.replace(
            model, width=size.width, layers=size.layers, heads=heads, mlp_width=4 * size.width
        )
        return dataclasses.replace(self.training, batch_size=self.batch_size, model=sized_model)


@dataclass(frozen=True, kw_only=True)
class ScalingPoint:
    """A size trained for a budget.

    Attributes:
        size: name of the size.
        parameters: of the transformer.
        steps: of the training.
        samples: seen in these steps.
        flops: of these steps.
        loss: on held-out videos with the right captions, mean over the validation sigmas.
        caption_loss_ratio: as in `kinema.training.dit_task`.
    """

    size: str
    parameters: int
    steps: int
    samples: int
    flops: float
    loss: float
    caption_loss_ratio: float


def measure_scaling(
    config: ScalingConfig,
    model: DitConfig,
    dataset: LatentDataset,
    held_out: LatentDataset,
    run_dir: Path,
    device: torch.device,
) -> Iterator[ScalingPoint]:
    """Train every size and yield its points; those of an interrupted run are yielded again.

    Args:
        config: settings.
        model: base configuration of the transformers.
        dataset: to train on.
        held_out: to validate on.
        run_dir: folder of the runs, one for each size.
        device: of training.
    """
    validation_videos = held_out.subset(0, config.num_held_out)
    for size in config.sizes:
        training = config.train_config(size, model)
        task = DitTask(training, [dataset], [validation_videos], device)
        cost = task.step_cost(0)
        budgets = sorted(
            {max(1, round(config.max_flops / cost.flops / 2**i)) for i in range(config.num_points)}
        )
        parameters = sum(p.numel() for p in task.dit.parameters())
        folder = run_dir / f"{size.width}x{size.layers}"
        points_file = folder / "points.json"
        stored = json.loads(points_file.read_text()) if points_file.is_file() else []
        for i, steps in enumerate(budgets):
            if i < len(stored):
                yield ScalingPoint(**stored[i])
                continue
            # Each budget resumes the run of the one before from its last checkpoint.
            loop = dataclasses.replace(
                training.loop,
                steps=steps,
                validate_every=steps,
                save_every=steps,
                keep_last=1,
                ema_decay=0.99,
            )
            task = DitTask(training, [dataset], [validation_videos], device)
            for report in train(task, loop, folder, settings=to_plain(training)):
                if report.step == steps and report.scores is not None:
                    point = ScalingPoint(
                        size=size.name,
                        parameters=parameters,
                        steps=steps,
                        samples=steps * cost.samples,
                        flops=steps * cost.flops,
                        loss=report.scores["ema/loss_right"],
                        caption_loss_ratio=report.scores[f"ema/{CAPTION_LOSS_RATIO}"],
                    )
                    stored.append(dataclasses.asdict(point))
                    write_text(points_file, json.dumps(stored, indent=1) + "\n")
                    yield point


def write_scaling(config: ScalingConfig, points: Sequence[ScalingPoint], folder: Path) -> None:
    """Write `scaling.json` and the plot `scaling.png`."""
    values = {"config": json.loads(to_json(config)), "points": [dataclasses.asdict(p) for p in points]}
    write_text(folder / "scaling.json", json.dumps(values, indent=1) + "\n")
    with atomic_write(folder / "scaling.png") as temporary:
        plot_scaling(points).savefig(temporary, dpi=100)


def plot_scaling(points: Sequence[ScalingPoint]) -> Figure:
    """Plot loss against FLOPs on logarithmic axes, one line for each size.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("the plot", "train") from None

    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    axes = figure.add_subplot()
    for name in dict.fromkeys(point.size for point in points):
        line = sorted((p for p in points if p.size == name), key=lambda p: p.flops)
        label = f"{name}, {line[0].parameters / 1e6:.2f} M parameters"
        axes.plot([p.flops for p in line], [p.loss for p in line], marker="o", label=label)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="training FLOPs",
        ylabel="validation loss",
        title="Validation loss against training FLOPs",
    )
    axes.grid(visible=True, which="both", color="0.9")
    axes.legend()
    return figure
