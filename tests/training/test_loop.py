"""The training loop: it learns, reports, and resumes exactly after a stop or a kill."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.training import checkpoint
from kinema.training.loop import load_ema_weights, train
from tests.fixtures.toy_training import ToyTask, toy_config

ROOT = Path(__file__).parents[2]


def losses(run_dir, **changes):
    task = ToyTask()
    return [report.loss for report in train(task, toy_config(**changes), run_dir, settings={})], task


def test_it_learns_validates_and_keeps_the_best(tmp_path):
    reports = list(train(ToyTask(), toy_config(steps=60), tmp_path, settings={}))
    assert [report.step for report in reports] == list(range(1, 61))
    scores = [report.scores["ema/loss"] for report in reports if report.scores]
    assert len(scores) == 6
    assert scores[-1] < scores[0] * 0.7
    best = checkpoint.load(tmp_path).state["best"]
    assert best == 10 * (scores.index(min(scores)) + 1)
    assert load_ema_weights(tmp_path).keys() == ToyTask().module.state_dict().keys()


def test_validation_does_not_change_training(tmp_path):
    every_step, _ = losses(tmp_path / "a", validate_every=1)
    only_at_the_end, _ = losses(tmp_path / "b", validate_every=1000)
    assert every_step == only_at_the_end


def test_accumulated_microbatches_add_up_to_the_reported_loss(tmp_path):
    reports = list(
        train(ToyTask(), toy_config(steps=3, gradient_accumulation_steps=4), tmp_path, settings={})
    )
    task = ToyTask()
    assert reports[0].loss == pytest.approx(sum(task.loss(0, part, 4).value.item() for part in range(4)))


def test_stopping_saves_and_resuming_is_exact(tmp_path):
    whole, task = losses(tmp_path / "whole")
    stops = iter([False] * 12 + [True])
    first = [
        r.loss
        for r in train(
            ToyTask(), toy_config(), tmp_path / "interrupted", settings={}, should_stop=lambda: next(stops)
        )
    ]
    assert len(first) == 13
    second, resumed = losses(tmp_path / "interrupted")
    assert first + second == whole
    for name, value in task.module.state_dict().items():
        assert value.equal(resumed.module.state_dict()[name])


def test_a_run_is_not_resumed_with_other_settings(tmp_path):
    list(train(ToyTask(), toy_config(steps=4), tmp_path, settings={"dit": {"width": 3}, "seed": 1}))
    with pytest.raises(UserError, match=r"other settings \(dit.width\)"):
        list(train(ToyTask(), toy_config(steps=4), tmp_path, settings={"dit": {"width": 4}, "seed": 1}))


def killed_until_done(folder, num_kills):
    """Run the toy task as a process, kill -9 it `num_kills` times at random times, then let it finish.

    A kill comes some steps after the start, so that every attempt makes progress, and a random pause later:
    in a step, while a checkpoint is written, or at the start of the next step.
    """
    printed: dict[int, float] = {}
    random_numbers = random.Random(4)
    kills = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fixtures.toy_training", str(folder), str(12 * num_kills)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        last_line = random_numbers.randrange(1, 6) if kills < num_kills else 10**6
        for i, line in enumerate(process.stdout):
            if not line.endswith("\n"):
                break  # cut by the signal
            step, loss = line.split()
            assert printed.setdefault(int(step), float.fromhex(loss)) == float.fromhex(loss)
            if i == last_line:
                time.sleep(random_numbers.random() * 0.02)
                process.send_signal(signal.SIGKILL)
        process.stdout.close()
        if process.wait() == 0:
            return kills, printed
        kills += 1


@pytest.mark.parametrize("num_kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_run_killed_at_random_moments_is_the_same(tmp_path, num_kills):
    """Killed several times, the run has the losses and weights of the uninterrupted one, bit for bit."""
    whole, task = losses(tmp_path / "whole", steps=12 * num_kills, save_every=1)
    kills, printed = killed_until_done(tmp_path / "killed", num_kills)
    assert kills == num_kills
    # Only steps that were saved but not printed when the signal came are missing.
    assert len(printed) >= len(whole) - num_kills
    assert all(whole[step - 1] == loss for step, loss in printed.items())
    final = checkpoint.load(tmp_path / "killed").parts["model"]
    for name, value in task.module.state_dict().items():
        assert value.equal(final[name])
