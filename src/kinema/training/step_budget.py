"""Fit the number of training steps to a time budget on this machine: measured once, then stored in the
run."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable

import torch

from kinema.atomic_io import write_text
from kinema.data.buckets import STEPS_PER_ROUND
from kinema.training.loop import LoopConfig, Task
from kinema.training.run_context import RunContext


def fit_steps_to_budget(
    run_context: RunContext,
    file_name: str,
    task: Task,
    loop: LoopConfig,
    budget_seconds: float,
    *,
    num_validations: int = 6,
) -> LoopConfig:
    """Return the loop settings with as many steps as fit into the budget.

    Args:
        run_context: of the run.
        file_name: of the measurement in the run's folder; where it exists nothing is measured.
        task: to train.
        loop: its other settings stay.
        budget_seconds: for all steps.
        num_validations: over the run.
    """
    path = run_context.run_dir / file_name
    with run_context.dist_context.main_process_first():
        if not path.is_file():
            seconds_per_step = _measure_step(run_context, task, loop)
            steps = max(20, int(budget_seconds / seconds_per_step))
            write_text(path, json.dumps({"steps": steps, "seconds_per_step": seconds_per_step}) + "\n")
    steps = int(json.loads(path.read_text())["steps"])
    return dataclasses.replace(
        loop,
        steps=steps,
        validate_every=max(10, steps // num_validations),
        save_every=max(10, steps // 24),
    )


def _measure_step(run_context: RunContext, task: Task, loop: LoopConfig) -> float:
    """Measure the mean seconds of a step.

    Steps differ in cost (crops, whole frames, other shapes), so the measured time is scaled to the mean
    cost of a round. The first steps also compile and allocate, and are not timed.
    """
    num_microbatches = loop.gradient_accumulation_steps * run_context.dist_context.world_size
    warmup, timed = (12, 12) if run_context.device.type == "cuda" else (2, 4)
    for step in range(warmup):
        task.loss(step, 0, num_microbatches).value.backward()
    _synchronize(run_context.device)
    start = time.perf_counter()
    for step in range(warmup, warmup + timed):
        task.loss(step, 0, num_microbatches).value.backward()
    _synchronize(run_context.device)
    seconds_per_flop = (time.perf_counter() - start) / _total_flops(task, range(warmup, warmup + timed))
    task.module.zero_grad(set_to_none=True)
    mean_flops = _total_flops(task, range(STEPS_PER_ROUND)) / STEPS_PER_ROUND
    # 15% for the optimizer, logging and checkpoints.
    return seconds_per_flop * mean_flops * loop.gradient_accumulation_steps * 1.15


def _total_flops(task: Task, steps: Iterable[int]) -> float:
    return sum(task.step_cost(step).flops for step in steps)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
