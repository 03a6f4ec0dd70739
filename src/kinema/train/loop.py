"""The training loop, the same for autoencoder and transformer: it yields, its caller observes.

A `Task` says what a step's loss is and how good the module is; the loop owns optimisers, averaging,
checkpoints and stopping. Everything random is a function of the step (`kinema.train.chance`), so a run that
was killed and resumed computes what the uninterrupted run computes, bit for bit on one CPU process.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kinema import checkpoint
from kinema.distributed.crowd import ALONE, Crowd
from kinema.distributed.sharding import shard, split_like, whole
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
    logs: Mapping[str, Tensor] = field(default_factory=dict)
    """Shares of the step's numbers: over all parts they add up. Not read before the step is done, so that a
    GPU never waits."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a step takes."""

    samples: int
    operations: float
    """Floating-point operations, forward and backward."""


Look = Callable[[int], Mapping[str, float]]
"""Called with the step when a run is validated, while the module holds the averaged weights: it may write
sample sheets, and judge them. What it returns joins the scores."""


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

    def blocks(self) -> Iterable[nn.Module]:
        """Parts of the module that are gathered one by one where it is in shards."""
        ...

    def methods(self) -> Iterable[str]:
        """Methods of the module that run layers outside `forward`."""
        ...

    def work(self, step: int) -> Work:
        """What a step takes, all its parts together."""
        ...

    def loss(self, step: int, part: int, parts: int) -> Loss:
        """Loss of part `part` of `parts` of a step; over all parts it adds up to the step's."""
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
    samples_per_second: float
    operations_per_second: float
    """Floating-point operations, counted from the shapes."""
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
    look: Look | None = None,
    crowd: Crowd = ALONE,
) -> Iterator[Report]:
    """Train until `config.steps`, going on from the newest valid checkpoint in `run` if there is one.

    Args:
        task: what is trained; its module ends with the raw weights.
        config: the loop's settings.
        run: the run's folder.
        settings: the whole configuration as plain JSON; a run is resumed only under the settings it began
            with.
        stop: asked after every step; when true, the step is saved and the loop ends.
        look: looks at the averaged weights whenever they are validated.
        crowd: the processes that share every step; each computes parts of it, and the leader writes.

    Yields:
        A report after every step. A caller that stops listening stops the training.

    Raises:
        UserError: the folder holds a run with other settings, or the disk is full.
    """
    shard(task.module, crowd, blocks=task.blocks(), methods=task.methods())
    optimizers = Optimizers.of(task.module, config.optimizer, matrices=task.matrices())
    ema = Ema(task.module, config.ema)
    first, best, best_scores = 0, None, None
    if checkpoint.steps(run):
        saved = checkpoint.load(run)
        different = sorted(_differences(saved.state["settings"], dict(settings)))
        if different:
            raise UserError(
                f"{run} was trained with other settings ({', '.join(different)}); resume it as it was "
                "(`kinema train resume`), or choose another folder"
            )
        _fill(task.module, saved.parts["model"])
        ema.load(saved.parts["ema"])
        optimizers.load(dict(saved.parts["optimizer"]))
        first = saved.step
        best, best_scores = saved.state["best"], saved.state["best_scores"]
    parts = config.accumulate * crowd.size
    task.module.train()
    seconds, samples, operations = 0.0, 0, 0.0
    for step in range(first, config.steps):
        began = time.perf_counter()
        losses = [
            _backward(task.loss(step, part * crowd.size + crowd.rank, parts), crowd)
            for part in range(config.accumulate)
        ]
        norm = optimizers.step(step, config.steps).item()
        ema.update(task.module, step)
        total = crowd.total(sum(loss.value.item() for loss in losses))
        names = losses[0].logs
        logs = {name: crowd.total(sum(loss.logs[name].item() for loss in losses)) for name in names}
        seconds += time.perf_counter() - began
        work = task.work(step)
        samples, operations = samples + work.samples, operations + work.operations
        done = step + 1
        stopping = crowd.any(stop())
        scores = None
        if done % config.validate_every == 0 or done == config.steps:
            scores = validated(task, ema, None if look is None else functools.partial(look, done))
            # What decides must be the same everywhere, to the last bit.
            scores = {name: crowd.total(value if crowd.leads else 0.0) for name, value in scores.items()}
            averaged = {k.removeprefix("ema/"): v for k, v in scores.items() if k.startswith("ema/")}
            if task.better(averaged, best_scores):
                best, best_scores = done, averaged
        saved_to = None
        if done % config.save_every == 0 or done == config.steps or stopping or best == done:
            state = {"best": best, "best_scores": best_scores, "settings": dict(settings)}
            saved_to = _save(task, optimizers, ema, run, done, config.keep, state, crowd)
        yield Report(
            step=done,
            of=config.steps,
            loss=total,
            norm=norm,
            logs=logs,
            seconds=seconds,
            steps_per_second=(done - first) / seconds,
            samples_per_second=samples / seconds,
            operations_per_second=operations / seconds,
            scores=scores,
            saved=saved_to,
        )
        if stopping:
            return


def _backward(loss: Loss, crowd: Crowd) -> Loss:
    # Shards average their gradients over the processes; the parts of a step are meant to be added.
    (loss.value * crowd.size if crowd.size > 1 else loss.value).backward()
    return Loss(value=loss.value.detach(), logs=loss.logs)


def _fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Whole tensors into a module that may be in shards."""
    own = module.state_dict()
    if own.keys() != tensors.keys():
        raise UserError("the checkpoint is of another model; choose another folder")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(split_like(tensors[name], value))


def validated(
    task: Task, ema: Ema, look: Callable[[], Mapping[str, float]] | None = None
) -> dict[str, float]:
    """Scores of the raw weights and of the averaged ones; the module keeps its raw weights.

    Nothing is compiled for it: its shapes would all be programs of their own.
    """
    raw = {name: value.detach().clone() for name, value in task.module.state_dict().items()}
    task.module.eval()
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        scores = {f"raw/{name}": value for name, value in task.validate().items()}
        task.module.load_state_dict(ema.tensors)
        scores |= {f"ema/{name}": value for name, value in task.validate().items()}
        if look is not None:
            scores |= {f"ema/{name}": value for name, value in look().items()}
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
    state: Mapping[str, object],
    crowd: Crowd,
) -> Path:
    parts = {
        "model": {name: whole(value) for name, value in task.module.state_dict().items()},
        "ema": ema.whole(),
        "optimizer": dict(optimizers.tensors()),
    }
    if crowd.leads:
        best = state["best"]
        checkpoint.save(
            run,
            checkpoint.Checkpoint(step=step, parts=parts, state=state),
            keep=keep,
            best=best if isinstance(best, int) else None,
        )
    crowd.wait()
    return checkpoint.folder_of(run, step)


def _differences(before: object, now: object, path: str = "") -> Iterator[str]:
    """The dotted names at which two JSON values differ.

    A setting that the saved run does not know is newer than the run, which had what is now its default.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before.keys() | now.keys():
            if name in before:
                yield from _differences(before[name], now.get(name), f"{path}.{name}" if path else name)
    elif before != now:
        yield path
