"""How many steps of a training fit into a time on this machine: measured once and written down."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable

import torch

from kinema.atomic_io import write_text
from kinema.training.loop import LoopConfig, Task
from kinema.training.stages import RunContext

STEPS_PER_ROUND = 60
"""Steps over which crops, whole films and shapes have all had their turns."""


def fit_steps_to_budget(
    run_context: RunContext,
    file_name: str,
    task: Task,
    loop: LoopConfig,
    budget_seconds: float,
    *,
    num_validations: int = 6,
) -> LoopConfig:
    """The loop with as many steps as fit into `budget_seconds` here, validated `num_validations` times; written down the first
    time."""
    note = run_context.run_dir / file_name
    with run_context.dist_context.main_process_first():
        if not note.is_file():
            parts = loop.gradient_accumulation_steps * run_context.dist_context.world_size
            # The first steps also compile and allocate; those after them are what an operation costs. Steps
            # differ (crops and whole films, other shapes), so what is timed is scaled to a round of them.
            warm, timed = (12, 12) if run_context.device.type == "cuda" else (2, 4)
            for step in range(warm):
                task.loss(step, 0, parts).value.backward()
            _synchronize(run_context.device)
            began = time.perf_counter()
            for step in range(warm, warm + timed):
                task.loss(step, 0, parts).value.backward()
            _synchronize(run_context.device)
            per_operation = (time.perf_counter() - began) / _total_flops(task, range(warm, warm + timed))
            mean = _total_flops(task, range(STEPS_PER_ROUND)) / STEPS_PER_ROUND
            per_step = per_operation * mean * loop.gradient_accumulation_steps * 1.15
            task.module.zero_grad(set_to_none=True)
            steps = max(20, int(budget_seconds / per_step))
            write_text(note, json.dumps({"steps": steps, "seconds_per_step": per_step}) + "\n")
    steps = int(json.loads(note.read_text())["steps"])
    return dataclasses.replace(
        loop,
        steps=steps,
        validate_every=max(10, steps // num_validations),
        save_every=max(10, steps // 24),
    )


def _total_flops(task: Task, steps: Iterable[int]) -> float:
    return sum(task.step_cost(step).flops for step in steps)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
