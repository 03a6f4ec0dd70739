"""How many steps of a training fit into a time on this machine: measured once and written down."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable

import torch

from kinema.atomic_io import write_text
from kinema.train.loop import LoopConfig, Task
from kinema.train.stages import Bench

STEPS_OF_A_ROUND = 60
"""Steps over which crops, whole films and shapes have all had their turns."""


def fitted(
    bench: Bench, name: str, task: Task, loop: LoopConfig, seconds: float, *, looks: int = 6
) -> LoopConfig:
    """The loop with as many steps as fit into `seconds` here, validated `looks` times; written down the first
    time."""
    note = bench.run / name
    with bench.crowd.leader_first():
        if not note.is_file():
            parts = loop.accumulate * bench.crowd.size
            # The first steps also compile and allocate; those after them are what an operation costs. Steps
            # differ (crops and whole films, other shapes), so what is timed is scaled to a round of them.
            warm, timed = (12, 12) if bench.device.type == "cuda" else (2, 4)
            for step in range(warm):
                task.loss(step, 0, parts).value.backward()
            _finish(bench.device)
            began = time.perf_counter()
            for step in range(warm, warm + timed):
                task.loss(step, 0, parts).value.backward()
            _finish(bench.device)
            per_operation = (time.perf_counter() - began) / _operations(task, range(warm, warm + timed))
            mean = _operations(task, range(STEPS_OF_A_ROUND)) / STEPS_OF_A_ROUND
            per_step = per_operation * mean * loop.accumulate * 1.15
            task.module.zero_grad(set_to_none=True)
            steps = max(20, int(seconds / per_step))
            write_text(note, json.dumps({"steps": steps, "seconds_per_step": per_step}) + "\n")
    steps = int(json.loads(note.read_text())["steps"])
    return dataclasses.replace(
        loop,
        steps=steps,
        validate_every=max(10, steps // looks),
        save_every=max(10, steps // 24),
    )


def _operations(task: Task, steps: Iterable[int]) -> float:
    return sum(task.work(step).operations for step in steps)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
