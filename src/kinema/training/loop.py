"""The training loop, the same for autoencoder and transformer: it yields, its caller observes.

A `Task` says what a step's loss is and how good the module is; the loop owns optimisers, averaging,
checkpoints and stopping. Everything random is a function of the step (`kinema.data.rng`), so a run that
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

from kinema.distributed.process_group import SINGLE_PROCESS, DistContext
from kinema.distributed.sharding import apply_fsdp, distribute_like, full_tensor
from kinema.errors import UserError
from kinema.training import checkpoint
from kinema.training.optimizer import Ema, OptimizerConfig, Optimizers


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long to train, and how often to look and to save."""

    steps: int = 10_000
    gradient_accumulation_steps: int = 1
    """Parts a step's batch is computed in; their gradients add up."""
    ema_decay: float = 0.999
    validate_every: int = 1_000
    save_every: int = 1_000
    keep_last: int = 2
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
class StepCost:
    """What a step takes."""

    samples: int
    flops: float
    """Floating-point operations, forward and backward."""


ValidationCallback = Callable[[int], Mapping[str, float]]
"""Called with the step when a run is validated, while the module holds the averaged weights: it may write
sample sheets, and judge them. What it returns joins the scores."""


@runtime_checkable
class Task(Protocol):
    """What is trained."""

    @property
    def module(self) -> nn.Module:
        """The module whose parameters are trained."""
        ...

    def muon_parameters(self) -> Iterable[Tensor]:
        """Parameters that suit Muon: the weights of linear maps inside blocks."""
        ...

    def fsdp_units(self) -> Iterable[nn.Module]:
        """Parts of the module that are gathered one by one where it is in shards."""
        ...

    def fsdp_forward_methods(self) -> Iterable[str]:
        """Methods of the module that run layers outside `forward`."""
        ...

    def step_cost(self, step: int) -> StepCost:
        """What a step takes, all its parts together."""
        ...

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Loss of part `microbatch` of `num_microbatches` of a step; over all parts it adds up to the step's."""
        ...

    def validate(self) -> Mapping[str, float]:
        """Scores of the module as it is now; must not depend on, or change, anything else."""
        ...

    def is_better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Whether `scores` (of the averaged weights) beat the best so far."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class StepReport:
    """One step, as the observer sees it."""

    step: int
    """Steps done, from 1."""
    num_steps: int
    loss: float
    grad_norm: float
    """Gradient norm before clipping."""
    logs: Mapping[str, float]
    seconds: float
    """Time in training steps since this process began, validation left out."""
    steps_per_second: float
    samples_per_second: float
    flops_per_second: float
    """Floating-point operations, counted from the shapes."""
    scores: Mapping[str, float] | None = None
    """Of the averaged weights, prefixed `ema/`, and of the raw ones, prefixed `raw/`, when validated."""
    checkpoint_dir: Path | None = None


def train(
    task: Task,
    config: LoopConfig,
    run_dir: Path,
    *,
    settings: Mapping[str, object],
    should_stop: Callable[[], bool] = lambda: False,
    validation_callback: ValidationCallback | None = None,
    dist_context: DistContext = SINGLE_PROCESS,
) -> Iterator[StepReport]:
    """Train until `config.steps`, going on from the newest valid checkpoint in `run_dir` if there is one.

    Args:
        task: what is trained; its module ends with the raw weights.
        config: the loop's settings.
        run_dir: the run's folder.
        settings: the whole configuration as plain JSON; a run is resumed only under the settings it began
            with.
        should_stop: asked after every step; when true, the step is saved and the loop ends.
        validation_callback: looks at the averaged weights whenever they are validated.
        dist_context: the processes that share every step; each computes parts of it, and the leader writes.

    Yields:
        A report after every step. A caller that stops listening stops the training.

    Raises:
        UserError: the folder holds a run with other settings, or the disk is full.
    """
    apply_fsdp(
        task.module, dist_context, units=task.fsdp_units(), forward_methods=task.fsdp_forward_methods()
    )
    optimizers = Optimizers.from_module(task.module, config.optimizer, muon_parameters=task.muon_parameters())
    ema = Ema(task.module, config.ema_decay)
    first, best, best_scores = 0, None, None
    if checkpoint.list_steps(run_dir):
        saved = checkpoint.load(run_dir)
        different = sorted(_differing_settings(saved.state["settings"], dict(settings)))
        if different:
            raise UserError(
                f"{run_dir} was trained with other settings ({', '.join(different)}); resume it as it was "
                "(`kinema train resume`), or choose another folder"
            )
        _load_full_tensors(task.module, saved.parts["model"])
        ema.load(saved.parts["ema"])
        optimizers.load(dict(saved.parts["optimizer"]))
        first = saved.step
        best, best_scores = saved.state["best"], saved.state["best_scores"]
    parts = config.gradient_accumulation_steps * dist_context.world_size
    task.module.train()
    seconds, samples, operations = 0.0, 0, 0.0
    for step in range(first, config.steps):
        began = time.perf_counter()
        losses = [
            _backward(
                task.loss(step, part * dist_context.world_size + dist_context.rank, parts), dist_context
            )
            for part in range(config.gradient_accumulation_steps)
        ]
        norm = optimizers.step(step, config.steps).item()
        ema.update(task.module, step)
        total = dist_context.all_reduce_sum(sum(loss.value.item() for loss in losses))
        names = losses[0].logs
        logs = {
            name: dist_context.all_reduce_sum(sum(loss.logs[name].item() for loss in losses))
            for name in names
        }
        seconds += time.perf_counter() - began
        work = task.step_cost(step)
        samples, operations = samples + work.samples, operations + work.flops
        done = step + 1
        stopping = dist_context.any_rank(should_stop())
        scores = None
        if done % config.validate_every == 0 or done == config.steps:
            scores = validate_with_ema(
                task,
                ema,
                None if validation_callback is None else functools.partial(validation_callback, done),
            )
            # What decides must be the same everywhere, to the last bit.
            scores = {
                name: dist_context.all_reduce_sum(value if dist_context.is_main else 0.0)
                for name, value in scores.items()
            }
            averaged = {k.removeprefix("ema/"): v for k, v in scores.items() if k.startswith("ema/")}
            if task.is_better(averaged, best_scores):
                best, best_scores = done, averaged
        saved_to = None
        if done % config.save_every == 0 or done == config.steps or stopping or best == done:
            state = {"best": best, "best_scores": best_scores, "settings": dict(settings)}
            saved_to = _save_checkpoint(
                task, optimizers, ema, run_dir, done, config.keep_last, state, dist_context
            )
        yield StepReport(
            step=done,
            num_steps=config.steps,
            loss=total,
            grad_norm=norm,
            logs=logs,
            seconds=seconds,
            steps_per_second=(done - first) / seconds,
            samples_per_second=samples / seconds,
            flops_per_second=operations / seconds,
            scores=scores,
            checkpoint_dir=saved_to,
        )
        if stopping:
            return


def _backward(loss: Loss, dist_context: DistContext) -> Loss:
    # Shards average their gradients over the processes; the parts of a step are meant to be added.
    (loss.value * dist_context.world_size if dist_context.world_size > 1 else loss.value).backward()
    return Loss(value=loss.value.detach(), logs=loss.logs)


def _load_full_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Whole tensors into a module that may be in shards."""
    own = module.state_dict()
    if own.keys() != tensors.keys():
        raise UserError("the checkpoint is of another model; choose another folder")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(distribute_like(tensors[name], value))


def validate_with_ema(
    task: Task, ema: Ema, validation_callback: Callable[[], Mapping[str, float]] | None = None
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
        if validation_callback is not None:
            scores |= {f"ema/{name}": value for name, value in validation_callback().items()}
        task.module.load_state_dict(raw)
    task.module.train()
    return scores


def load_ema_weights(run_dir: Path, *, use_best: bool = True) -> dict[str, Tensor]:
    """The averaged weights of a run: those of its best checkpoint, or of the newest one."""
    newest = checkpoint.load(run_dir)
    step = newest.state["best"] if use_best else None
    if isinstance(step, int) and step != newest.step:
        try:
            return dict(checkpoint.load(run_dir, step=step).parts["ema"])
        except UserError as error:
            warnings.warn(f"{error}; taking step {newest.step} instead", stacklevel=2)
    return dict(newest.parts["ema"])


def _save_checkpoint(
    task: Task,
    optimizers: Optimizers,
    ema: Ema,
    run_dir: Path,
    step: int,
    keep_last: int,
    state: Mapping[str, object],
    dist_context: DistContext,
) -> Path:
    parts = {
        "model": {name: full_tensor(value) for name, value in task.module.state_dict().items()},
        "ema": ema.full_tensors(),
        "optimizer": dict(optimizers.tensors()),
    }
    if dist_context.is_main:
        best = state["best"]
        checkpoint.save(
            run_dir,
            checkpoint.Checkpoint(step=step, parts=parts, state=state),
            keep_last=keep_last,
            best_step=best if isinstance(best, int) else None,
        )
    dist_context.barrier()
    return checkpoint.checkpoint_dir(run_dir, step)


def _differing_settings(before: object, now: object, path: str = "") -> Iterator[str]:
    """The dotted names at which two JSON values differ.

    A setting that the saved run does not know is newer than the run, which had what is now its default.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before.keys() | now.keys():
            if name in before:
                yield from _differing_settings(
                    before[name], now.get(name), f"{path}.{name}" if path else name
                )
    elif before != now:
        yield path
