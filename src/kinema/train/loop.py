"""The training loop, the same for autoencoder and transformer: it yields, its caller observes.

A `Task` says what a step's loss is and how good the module is; the loop owns optimisers, averaging,
checkpoints and stopping. Everything random is a function of the step (`kinema.train.chance`), so a run that
was killed and resumed computes what the uninterrupted run computes, bit for bit on one CPU process.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kinema import checkpoint
from kinema.errors import UserError
from kinema.train.optimizer import Ema, OptimizerConfig, Optimizers


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long to train, and how often to look and to save."""

    steps: int = 10_000
    accumulate: int = 1
    """Parts a step's batch is computed in; their gradients add up."""
    ema: float = 0.999
    validate_every: int = 1_000
    save_every: int = 1_000
    keep: int = 2
    """Checkpoints that stay on disk, newest first, beside the best."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True, kw_only=True, eq=False)
class Loss:
    """A part of a step: the value to descend, and what to log beside it."""

    value: Tensor
    logs: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Task(Protocol):
    """What is trained."""

    @property
    def module(self) -> nn.Module:
        """The module whose parameters are trained."""
        ...

    def matrices(self) -> Iterable[Tensor]:
        """Parameters that suit Muon: the weights of linear maps inside blocks."""
        ...

    def loss(self, step: int, part: int, parts: int) -> Loss:
        """Loss of part `part` of `parts` of a step, already divided by `parts`."""
        ...

    def validate(self) -> Mapping[str, float]:
        """Scores of the module as it is now; must not depend on, or change, anything else."""
        ...

    def better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Whether `scores` (of the averaged weights) beat the best so far."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """One step, as the observer sees it."""

    step: int
    """Steps done, from 1."""
    of: int
    loss: float
    norm: float
    """Gradient norm before clipping."""
    logs: Mapping[str, float]
    seconds: float
    """Time in training steps since this process began, validation left out."""
    steps_per_second: float
    scores: Mapping[str, float] | None = None
    """Of the averaged weights, prefixed `ema/`, and of the raw ones, prefixed `raw/`, when validated."""
    saved: Path | None = None


def train(
    task: Task,
    config: LoopConfig,
    run: Path,
    *,
    settings: Mapping[str, object],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Report]:
    """Train until `config.steps`, going on from the newest valid checkpoint in `run` if there is one.

    Args:
        task: what is trained; its module ends with the raw weights.
        config: the loop's settings.
        run: the run's folder.
        settings: the whole configuration as plain JSON; a run is resumed only under the settings it began
            with.
        stop: asked after every step; when true, the step is saved and the loop ends.

    Yields:
        A report after every step. A caller that stops listening stops the training.

    Raises:
        UserError: the folder holds a run with other settings, or the disk is full.
    """
    optimizers = Optimizers.of(task.module, config.optimizer, matrices=task.matrices())
    ema = Ema(task.module, config.ema)
    first, best, best_scores = 0, None, None
    if checkpoint.steps(run):
        saved = checkpoint.load(run)
        if saved.state["settings"] != dict(settings):
            different = sorted(_differences(saved.state["settings"], dict(settings)))
            raise UserError(
                f"{run} was trained with other settings ({', '.join(different)}); resume it as it was "
                "(`kinema train resume`), or choose another folder"
            )
        task.module.load_state_dict(dict(saved.parts["model"]))
        ema.tensors = dict(saved.parts["ema"])
        optimizers.load(dict(saved.parts["optimizer"]))
        first = saved.step
        best, best_scores = saved.state["best"], saved.state["best_scores"]
    task.module.train()
    seconds = 0.0
    for step in range(first, config.steps):
        began = time.perf_counter()
        total, logs = 0.0, {}
        for part in range(config.accumulate):
            loss = task.loss(step, part, config.accumulate)
            loss.value.backward()
            total += loss.value.item()
            for name, value in loss.logs.items():
                logs[name] = logs.get(name, 0.0) + value / config.accumulate
        norm = optimizers.step(step, config.steps)
        ema.update(task.module, step)
        seconds += time.perf_counter() - began
        done = step + 1
        stopping = stop()
        scores = None
        if done % config.validate_every == 0 or done == config.steps:
            scores = validated(task, ema)
            averaged = {k.removeprefix("ema/"): v for k, v in scores.items() if k.startswith("ema/")}
            if task.better(averaged, best_scores):
                best, best_scores = done, averaged
        saved_to = None
        if done % config.save_every == 0 or done == config.steps or stopping or best == done:
            saved_to = _save(task, optimizers, ema, run, done, config.keep, best, best_scores, settings)
        yield Report(
            step=done,
            of=config.steps,
            loss=total,
            norm=norm,
            logs=logs,
            seconds=seconds,
            steps_per_second=(done - first) / seconds,
            scores=scores,
            saved=saved_to,
        )
        if stopping:
            return


def validated(task: Task, ema: Ema) -> dict[str, float]:
    """Scores of the raw weights and of the averaged ones; the module keeps its raw weights."""
    raw = {name: value.detach().clone() for name, value in task.module.state_dict().items()}
    task.module.eval()
    with torch.no_grad():
        scores = {f"raw/{name}": value for name, value in task.validate().items()}
        task.module.load_state_dict(ema.tensors)
        scores |= {f"ema/{name}": value for name, value in task.validate().items()}
        task.module.load_state_dict(raw)
    task.module.train()
    return scores


def averaged_weights(run: Path, *, best: bool = True) -> dict[str, Tensor]:
    """The averaged weights of a run: those of its best checkpoint, or of the newest one."""
    newest = checkpoint.load(run)
    step = newest.state["best"] if best else None
    if isinstance(step, int) and step != newest.step:
        try:
            return dict(checkpoint.load(run, step=step).parts["ema"])
        except UserError as error:
            warnings.warn(f"{error}; taking step {newest.step} instead", stacklevel=2)
    return dict(newest.parts["ema"])


def _save(
    task: Task,
    optimizers: Optimizers,
    ema: Ema,
    run: Path,
    step: int,
    keep: int,
    best: int | None,
    best_scores: Mapping[str, float] | None,
    settings: Mapping[str, object],
) -> Path:
    return checkpoint.save(
        run,
        checkpoint.Checkpoint(
            step=step,
            parts={
                "model": task.module.state_dict(),
                "ema": ema.tensors,
                "optimizer": dict(optimizers.tensors()),
            },
            state={
                "best": best,
                "best_scores": None if best_scores is None else dict(best_scores),
                "settings": dict(settings),
            },
        ),
        keep=keep,
        best=best,
    )


def _differences(before: object, now: object, path: str = "") -> Iterator[str]:
    """The dotted names at which two JSON values differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before.keys() | now.keys():
            yield from _differences(before.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif before != now:
        yield path
