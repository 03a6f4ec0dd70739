"""The number of steps that fit into a time budget."""

import json
import time

import torch

from kinema.training.loop import LoopConfig, StepCost
from kinema.training.run_context import RunContext
from kinema.training.step_budget import fit_steps_to_budget
from tests.fixtures.toy_training import ToyTask


class TwoCostTask(ToyTask):
    """A task in which every third step costs ten times as much as the others and takes ten times as long."""

    def step_cost(self, step):
        return StepCost(samples=1, flops=10.0 if step % 3 == 0 else 1.0)

    def loss(self, step, microbatch, num_microbatches):
        time.sleep(0.003 * self.step_cost(step).flops)
        return super().loss(step, microbatch, num_microbatches)


def test_step_budget_accounts_for_expensive_steps(tmp_path):
    context = RunContext(run_dir=tmp_path, device=torch.device("cpu"), load_text_encoder=lambda: None)
    loop = fit_steps_to_budget(context, "steps.json", TwoCostTask(), LoopConfig(), 60.0, num_validations=4)
    # Four operations in a mean step, of at least 3 ms each: 12 ms and the margin.
    seconds_per_step = json.loads((tmp_path / "steps.json").read_text())["seconds_per_step"]
    assert seconds_per_step >= 0.012
    assert loop.steps == int(60.0 / seconds_per_step)
    assert loop.validate_every == loop.steps // 4
