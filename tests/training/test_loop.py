"""The loop: learns, reports, and resumes exactly, however it was stopped."""

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


def losses(run, **changes):
    task = ToyTask()
    return [report.loss for report in train(task, toy_config(**changes), run, settings={})], task


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
    often, _ = losses(tmp_path / "a", validate_every=1)
    never, _ = losses(tmp_path / "b", validate_every=1000)
    assert often == never


def test_accumulated_microbatches_add_up_to_the_reported_loss(tmp_path):
    reports = list(train(ToyTask(), toy_config(steps=3, accumulate=4), tmp_path, settings={}))
    task = ToyTask()
    assert reports[0].loss == pytest.approx(sum(task.loss(0, part, 4).value.item() for part in range(4)))


def test_stopping_saves_and_resuming_is_exact(tmp_path):
    whole, task = losses(tmp_path / "whole")
    asked = iter([False] * 12 + [True])
    first = [
        r.loss
        for r in train(
            ToyTask(), toy_config(), tmp_path / "cut", settings={}, should_stop=lambda: next(asked)
        )
    ]
    assert len(first) == 13
    second, resumed = losses(tmp_path / "cut")
    assert first + second == whole
    for name, value in task.module.state_dict().items():
        assert value.equal(resumed.module.state_dict()[name])


def test_a_run_is_not_resumed_under_other_settings(tmp_path):
    list(train(ToyTask(), toy_config(steps=4), tmp_path, settings={"dit": {"width": 3}, "seed": 1}))
    with pytest.raises(UserError, match=r"other settings \(dit.width\)"):
        list(train(ToyTask(), toy_config(steps=4), tmp_path, settings={"dit": {"width": 4}, "seed": 1}))


def killed_until_done(folder, num_kills):
    """Run the toy as a process, kill -9 it `num_kills` times at random moments, then let it through.

    Some moments are counted in steps, so that every attempt gets somewhere; a random pause behind that lets
    the signal fall anywhere: into a step, into a checkpoint being written, into the start of the next.
    """
    root = Path(__file__).parent
    seen: dict[int, float] = {}
    chance = random.Random(4)
    kills = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, str(root / "toy_training.py"), str(folder), str(12 * num_kills)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root.parent)},
        )
        patience = chance.randrange(1, 6) if kills < num_kills else 10**6
        for count, line in enumerate(process.stdout):
            if not line.endswith("\n"):
                break  # torn by the signal
            step, loss = line.split()
            assert seen.setdefault(int(step), float.fromhex(loss)) == float.fromhex(loss)
            if count == patience:
                time.sleep(chance.random() * 0.02)
                process.send_signal(signal.SIGKILL)
        process.stdout.close()
        if process.wait() == 0:
            return kills, seen
        kills += 1


@pytest.mark.parametrize("wanted", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_run_killed_at_random_moments_is_the_same(tmp_path, wanted):
    """kill -9, again and again, then let through: the same losses and weights, bit for bit."""
    whole, task = losses(tmp_path / "whole", steps=12 * wanted, save_every=1)
    kills, seen = killed_until_done(tmp_path / "killed", wanted)
    assert kills == wanted
    # A step that was saved and not yet printed when the signal came is the only kind that is missing.
    assert len(seen) >= len(whole) - wanted
    assert all(whole[step - 1] == loss for step, loss in seen.items())
    final = checkpoint.load(tmp_path / "killed").parts["model"]
    for name, value in task.module.state_dict().items():
        assert value.equal(final[name])
