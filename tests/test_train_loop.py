"""The loop: learns, reports, and resumes exactly, however it was stopped."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kinema import checkpoint
from kinema.errors import UserError
from kinema.train.loop import averaged_weights, train
from tests.toy_training import Toy, config


def losses(run, **changes):
    task = Toy()
    return [report.loss for report in train(task, config(**changes), run, settings={})], task


def test_it_learns_validates_and_keeps_the_best(tmp_path):
    reports = list(train(Toy(), config(steps=60), tmp_path, settings={}))
    assert [report.step for report in reports] == list(range(1, 61))
    scores = [report.scores["ema/loss"] for report in reports if report.scores]
    assert len(scores) == 6
    assert scores[-1] < scores[0] * 0.7
    best = checkpoint.load(tmp_path).state["best"]
    assert best == 10 * (scores.index(min(scores)) + 1)
    assert averaged_weights(tmp_path).keys() == Toy().module.state_dict().keys()


def test_validation_does_not_change_training(tmp_path):
    often, _ = losses(tmp_path / "a", validate_every=1)
    never, _ = losses(tmp_path / "b", validate_every=1000)
    assert often == never


def test_accumulated_parts_add_up_to_the_reported_loss(tmp_path):
    reports = list(train(Toy(), config(steps=3, accumulate=4), tmp_path, settings={}))
    task = Toy()
    assert reports[0].loss == pytest.approx(sum(task.loss(0, part, 4).value.item() for part in range(4)))


def test_stopping_saves_and_resuming_is_exact(tmp_path):
    whole, task = losses(tmp_path / "whole")
    asked = iter([False] * 12 + [True])
    first = [r.loss for r in train(Toy(), config(), tmp_path / "cut", settings={}, stop=lambda: next(asked))]
    assert len(first) == 13
    second, resumed = losses(tmp_path / "cut")
    assert first + second == whole
    for name, value in task.module.state_dict().items():
        assert value.equal(resumed.module.state_dict()[name])


def test_a_run_is_not_resumed_under_other_settings(tmp_path):
    list(train(Toy(), config(steps=4), tmp_path, settings={"dit": {"width": 3}, "seed": 1}))
    with pytest.raises(UserError, match=r"other settings \(dit.width\)"):
        list(train(Toy(), config(steps=4), tmp_path, settings={"dit": {"width": 4}, "seed": 1}))


def test_killed_at_random_moments_the_run_is_the_same(tmp_path):
    """kill -9, again and again, until the run gets through: the same losses and weights, bit for bit."""
    root = Path(__file__).parent
    whole, task = losses(tmp_path / "whole")
    lines: dict[int, str] = {}
    chance = random.Random(4)
    kills = 0
    for attempt in range(40):
        process = subprocess.Popen(
            [sys.executable, str(root / "toy_training.py"), str(tmp_path / "killed")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root.parent)},
        )
        patience = chance.randrange(3, 14) if attempt < 6 else 1000
        for count, line in enumerate(process.stdout):
            step, loss = line.split()
            assert lines.setdefault(int(step), loss) == loss
            if count == patience:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
        process.stdout.close()
        if process.wait() == 0:
            break
    assert kills >= 3
    assert [float.fromhex(lines[step]) for step in sorted(lines)] == whole
    final = checkpoint.load(tmp_path / "killed").parts["model"]
    for name, value in task.module.state_dict().items():
        assert value.equal(final[name])
