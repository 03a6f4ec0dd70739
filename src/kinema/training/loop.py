"""The training loop of autoencoder and transformer: a generator that yields a report after every step.

A `Task` defines the loss of a step and the validation scores; the loop owns optimizers, weight averaging,
checkpoints and stopping. Every random number is a function of the step (`kinema.data.rng`), so a run that was
killed and resumed is identical to the uninterrupted run, bit for bit on one CPU process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kinema.distributed.process_group import SINGLE_PROCESS, DistContext
from kinema.distributed.sharding import apply_fsdp, distribute_like, reshard
from kinema.errors import UserError
from kinema.training import checkpoint
from kinema.training.interruption import StopRequested
from kinema.training.optimizer import Ema, OptimizerConfig, Optimizers
from kinema.training.sharded_checkpoint import ShardedSaver


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Settings of the training loop.

    Attributes:
        steps: length of the run.
        gradient_accumulation_steps: microbatches per process in a step; their gradients are added.
        ema_decay: of the exponential moving average of the weights.
        validate_every: steps between validations; the last step is validated in any case.
        save_every: steps between checkpoints; the last step and the best one are saved in any case.
        keep_last: newest checkpoints to keep, in addition to the best one.
        optimizer: learning rates and their schedule.
    """

    steps: int = 10_000
    gradient_accumulation_steps: int = 1
    ema_decay: float = 0.999
    validate_every: int = 1_000
    save_every: int = 1_000
    keep_last: int = 2
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def with_steps(self, steps: int) -> LoopConfig:
        """Return the settings for a run of `steps` steps with 12 validations and 24 checkpoints."""
        validate_every = max(10, steps // 12)
        return dataclasses.replace(
            self, steps=steps, validate_every=validate_every, save_every=max(10, validate_every // 2)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Loss:
    """The loss of a microbatch.

    Attributes:
        value: to minimise.
        logs: values to log. Those of all microbatches are added. They are read after the step, so that a
            GPU never waits for the CPU.
    """

    value: Tensor
    logs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Samples in a step, and its floating-point operations, forward and backward."""

    samples: int
    flops: float


ValidationCallback = Callable[[int], Mapping[str, float]]
"""Called with the step at each validation, while the module has the averaged weights. It may write samples
and score them; the returned scores are added to those of the validation."""


@runtime_checkable
class Task(Protocol):
    """A module and its loss."""

    @property
    def module(self) -> nn.Module:
        """The module to train."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that checkpoints and the averaged weights have, as references."""
        ...

    def muon_parameters(self) -> Iterable[Tensor]:
        """Return the parameters for Muon: the weights of linear layers inside blocks."""
        ...

    def fsdp_units(self) -> Iterable[nn.Module]:
        """Return the submodules that FSDP gathers one by one."""
        ...

    def fsdp_forward_methods(self) -> Iterable[str]:
        """Return the names of methods other than `forward` that run layers."""
        ...

    def step_cost(self, step: int) -> StepCost:
        """Return the cost of a step, all microbatches together."""
        ...

    def loss(self, step: int, microbatch: int, num_microbatches: int) -> Loss:
        """Return the loss of one of `num_microbatches` microbatches; their sum is the loss of the step."""
        ...

    def validate(self) -> Mapping[str, float]:
        """Score the module with its current weights, without side effects."""
        ...

    def is_better(self, scores: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Return whether `scores`, of the averaged weights, are better than the best so far."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class StepReport:
    """The result of a step.

    Attributes:
        step: number of steps done, from 1.
        num_steps: length of the run.
        loss: of the step, over all processes.
        grad_norm: before clipping.
        logs: further values of the step.
        seconds: spent in training steps since this process started, without validation.
        steps_per_second: mean since this process started.
        samples_per_second: the same for samples.
        flops_per_second: the same for floating-point operations, counted from the shapes.
        scores: validation scores of the averaged weights, with the prefix `ema/`, and of the raw ones, with
            `raw/`; None in steps without validation.
        checkpoint_dir: of the checkpoint written after this step.
    """

    step: int
    num_steps: int
    loss: float
    grad_norm: float
    logs: Mapping[str, float]
    seconds: float
    steps_per_second: float
    samples_per_second: float
    flops_per_second: float
    scores: Mapping[str, float] | None = None
    checkpoint_dir: Path | None = None


def train(
    task: Task,
    config: LoopConfig,
    run_dir: Path,
    *,
    settings: Mapping[str, object],
    should_stop: Callable[[], bool] = lambda: False,
    interruptible: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    validation_callback: ValidationCallback | None = None,
    dist_context: DistContext = SINGLE_PROCESS,
) -> Iterator[StepReport]:
    """Train for `config.steps` steps, from the newest valid checkpoint in `run_dir` if there is one.

    Args:
        task: its module ends with the raw weights, not with the averaged ones.
        config: settings of the loop.
        run_dir: folder of the checkpoints.
        settings: the whole configuration as JSON values; a run can only be resumed with the same settings.
        should_stop: called after every step; when true, the step is saved and the loop ends.
        interruptible: a block that is left by `StopRequested` at once when the run should stop: gradients and
            validations run in one. The last complete step is saved, and an interrupted validation is repeated
            when the run is resumed.
        validation_callback: called at every validation.
        dist_context: the processes that share every step; each computes some microbatches, and the main one
            writes.

    Yields:
        A report after every step. Closing the generator stops the training.

    Raises:
        UserError: the folder has a run with other settings, or the disk is full.
    """
    apply_fsdp(
        task.module, dist_context, units=task.fsdp_units(), forward_methods=task.fsdp_forward_methods()
    )
    optimizers = Optimizers.from_module(task.module, config.optimizer, muon_parameters=task.muon_parameters())
    ema = Ema(task.state_dict(), config.ema_decay)
    first, best, best_scores, unvalidated = 0, None, None, None
    if checkpoint.list_steps(run_dir):
        own = {"model": task.state_dict(), "ema": ema.tensors}
        saved = checkpoint.load(
            run_dir,
            like=lambda part, name: (
                optimizers.parameter_of(name) if part == "optimizer" else own[part].get(name)
            ),
        )
        different = sorted(_differing_settings(saved.state["settings"], dict(settings)))
        if different:
            raise UserError(
                f"{run_dir} was trained with other settings ({', '.join(different)}); resume it with its own "
                "settings (`kinema train resume`) or choose another folder"
            )
        _load_full_tensors(task.state_dict(), saved.parts["model"])
        ema.load(saved.parts["ema"])
        optimizers.load(dict(saved.parts["optimizer"]))
        first = saved.step
        best, best_scores = saved.state["best"], saved.state["best_scores"]
        unvalidated = saved.state.get("unvalidated")

    def validate(done: int) -> dict[str, float]:
        nonlocal best, best_scores
        callback = None
        if validation_callback is not None:
            callback = functools.partial(validation_callback, done)
        with interruptible():
            scores = validate_with_ema(task, ema, callback)
        # Every process must select the same checkpoint, so all use the scores of the main process.
        scores = {
            name: dist_context.all_reduce_sum(value if dist_context.is_main else 0.0)
            for name, value in scores.items()
        }
        averaged = {k.removeprefix("ema/"): v for k, v in scores.items() if k.startswith("ema/")}
        if task.is_better(averaged, best_scores):
            best, best_scores = done, averaged
        return scores

    saver = None
    if dist_context.world_size > 1:
        saver = ShardedSaver(run_dir=run_dir, keep_last=config.keep_last, dist_context=dist_context)

    def save(done: int, unvalidated: Mapping[str, float] | None = None) -> Path:
        state = {"best": best, "best_scores": best_scores, "settings": dict(settings)}
        if unvalidated is not None:
            state["unvalidated"] = dict(unvalidated)
        parts = {"model": task.state_dict(), "ema": ema.tensors, "optimizer": dict(optimizers.tensors())}
        if saver is not None:
            return saver.save(done, parts, state, best_step=best)
        return checkpoint.save(
            run_dir,
            checkpoint.Checkpoint(step=done, parts=parts, state=state),
            keep_last=config.keep_last,
            best_step=best,
        )

    with contextlib.nullcontext() if saver is None else saver:
        num_microbatches = config.gradient_accumulation_steps * dist_context.data_size
        task.module.train()
        seconds, samples, flops = 0.0, 0, 0.0
        last_saved = first
        if unvalidated is not None:
            # The validation of this step was interrupted.
            try:
                scores = validate(first)
            except StopRequested:
                return
            checkpoint_dir = save(first)
            yield StepReport(
                step=first,
                num_steps=config.steps,
                loss=unvalidated["loss"],
                grad_norm=unvalidated["grad_norm"],
                logs={},
                seconds=0.0,
                steps_per_second=0.0,
                samples_per_second=0.0,
                flops_per_second=0.0,
                scores=scores,
                checkpoint_dir=checkpoint_dir,
            )
        for step in range(first, config.steps):
            start = time.perf_counter()
            losses = []
            try:
                with interruptible():
                    for i in range(config.gradient_accumulation_steps):
                        microbatch = i * dist_context.data_size + dist_context.data_rank
                        losses.append(_backward(task.loss(step, microbatch, num_microbatches), dist_context))
            except StopRequested:
                if step > last_saved:
                    save(step)
                return
            grad_norm = optimizers.step(step, config.steps).item()
            ema.update(task.state_dict(), step)
            total_loss = dist_context.sum_over_data(sum(loss.value.item() for loss in losses))
            logs = {
                name: dist_context.sum_over_data(sum(loss.logs[name].item() for loss in losses))
                for name in losses[0].logs
            }
            seconds += time.perf_counter() - start
            cost = task.step_cost(step)
            samples, flops = samples + cost.samples, flops + cost.flops
            done = step + 1
            stopping = dist_context.any_rank(should_stop())
            scores, unvalidated = None, None
            if done % config.validate_every == 0 or done == config.steps:
                try:
                    scores = validate(done)
                except StopRequested:
                    stopping, unvalidated = True, {"loss": total_loss, "grad_norm": grad_norm}
            checkpoint_dir = None
            if done % config.save_every == 0 or done == config.steps or stopping or best == done:
                checkpoint_dir, last_saved = save(done, unvalidated), done
            yield StepReport(
                step=done,
                num_steps=config.steps,
                loss=total_loss,
                grad_norm=grad_norm,
                logs=logs,
                seconds=seconds,
                steps_per_second=(done - first) / seconds,
                samples_per_second=samples / seconds,
                flops_per_second=flops / seconds,
                scores=scores,
                checkpoint_dir=checkpoint_dir,
            )
            if stopping:
                return


def _backward(loss: Loss, dist_context: DistContext) -> Loss:
    # FSDP averages gradients over the processes, but the gradients of microbatches are to be added, and so
    # are those of processes that share tokens.
    (loss.value * dist_context.world_size if dist_context.world_size > 1 else loss.value).backward()
    return Loss(value=loss.value.detach(), logs=loss.logs)


def _load_full_tensors(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Load full tensors into those of a module that may be sharded."""
    if own.keys() != tensors.keys():
        raise UserError("the checkpoint is of another model; choose another folder")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(distribute_like(tensors[name], value))


def validate_with_ema(
    task: Task, ema: Ema, validation_callback: Callable[[], Mapping[str, float]] | None = None
) -> dict[str, float]:
    """Score the raw weights and the averaged ones; the module ends with its raw weights.

    Nothing is compiled for validation, because each of its shapes would be compiled separately.
    """
    live = task.state_dict()
    raw = {name: value.detach().clone() for name, value in live.items()}
    task.module.eval()
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            scores = {f"raw/{name}": value for name, value in task.validate().items()}
            reshard(task.module)
            _copy_into(live, ema.tensors)
            scores |= {f"ema/{name}": value for name, value in task.validate().items()}
            if validation_callback is not None:
                scores |= {f"ema/{name}": value for name, value in validation_callback().items()}
    finally:
        reshard(task.module)
        _copy_into(live, raw)
        task.module.train()
    return scores


@torch.no_grad()
def _copy_into(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for name, value in own.items():
        value.copy_(tensors[name])


def load_ema_weights(run_dir: Path, *, use_best: bool = True) -> dict[str, Tensor]:
    """Load the averaged weights of a run's best checkpoint, or of the newest one."""
    newest = checkpoint.load(run_dir)
    step = newest.state["best"] if use_best else None
    if isinstance(step, int) and step != newest.step:
        try:
            return dict(checkpoint.load(run_dir, step=step).parts["ema"])
        except UserError as error:
            warnings.warn(f"{error}; using step {newest.step} instead", stacklevel=2)
    return dict(newest.parts["ema"])


def _differing_settings(before: object, now: object, path: str = "") -> Iterator[str]:
    """Yield the dotted names at which two JSON values differ.

    A setting that the saved run lacks is newer than the run, which used what is now the default.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before.keys() | now.keys():
            if name in before:
                yield from _differing_settings(
                    before[name], now.get(name), f"{path}.{name}" if path else name
                )
    elif before != now:
        yield path
