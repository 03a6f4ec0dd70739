"""What long runs do beside training: stop at once, lock their folder, keep their budget, say their size."""

import itertools
import subprocess
import sys
import time

import pytest

from kinema.cli.train_logging import print_progress
from kinema.errors import UserError
from kinema.training import checkpoint, run_size
from kinema.training.interruption import StopRequested, StopSignal
from kinema.training.loop import train
from kinema.training.recipes import full_config, vae
from kinema.training.run_context import Progress
from kinema.training.run_lock import lock_run
from kinema.training.run_size import RunSize, check_disk, estimate_run_size
from kinema.training.stage_times import StageTimes
from tests.fixtures.toy_training import ToyTask, toy_config


class InterruptedTask(ToyTask):
    """Requests a stop in the middle of the loss of a step, or in a validation."""

    def __init__(self, stop, *, in_loss_of=None, in_validation=None):
        super().__init__()
        self.stop, self.in_loss_of, self.in_validation = stop, in_loss_of, in_validation
        self.num_validations = 0

    def loss(self, step, microbatch, num_microbatches):
        if step == self.in_loss_of:
            self.stop.request()
        return super().loss(step, microbatch, num_microbatches)

    def validate(self):
        self.num_validations += 1
        if self.num_validations == self.in_validation:
            self.stop.request()
        return super().validate()


def run(task, folder, stop=None):
    stop = stop or StopSignal()
    reports = list(
        train(task, toy_config(24), folder, settings={}, should_stop=stop, interruptible=stop.interruptible)
    )
    return reports, checkpoint.load(folder)


@pytest.mark.parametrize(
    "interruption",
    # Validations run twice at steps 10, 20 and 24: for the raw and for the averaged weights.
    [
        {"in_loss_of": 13},
        {"in_loss_of": 20},
        {"in_validation": 1},
        {"in_validation": 4},
        {"in_validation": 6},
    ],
)
def test_an_interrupted_run_resumes_as_if_it_was_not(tmp_path, interruption):
    whole, expected = run(ToyTask(), tmp_path / "whole")
    stop = StopSignal()
    first, _ = run(InterruptedTask(stop, **interruption), tmp_path / "stopped", stop)
    second, resumed = run(ToyTask(), tmp_path / "stopped")
    losses = {report.step: report.loss for report in (*first, *second)}
    assert losses == {report.step: report.loss for report in whole}
    scores = {report.step: report.scores for report in (*first, *second) if report.scores}
    assert scores == {report.step: report.scores for report in whole if report.scores}
    assert resumed.state["best"] == expected.state["best"]
    for part in ("model", "ema", "optimizer"):
        for name, value in expected.parts[part].items():
            assert value.equal(resumed.parts[part][name]), name


def test_a_stop_before_the_first_step_leaves_nothing(tmp_path):
    stop = StopSignal()
    reports = train(
        InterruptedTask(stop, in_loss_of=0),
        toy_config(4),
        tmp_path / "run",
        settings={},
        should_stop=stop,
        interruptible=stop.interruptible,
    )
    assert list(reports) == []
    assert not (tmp_path / "run").exists()


def test_signals_raise_in_interruptible_blocks_only():
    stop = StopSignal()
    stop.request()
    assert stop()
    with pytest.raises(StopRequested), stop.interruptible():
        raise AssertionError("a block does not start after a request")
    stop = StopSignal()
    with pytest.raises(StopRequested), stop.interruptible():
        stop.request()


def test_a_second_process_can_not_use_the_folder(tmp_path):
    holder = (
        "import sys, time, pathlib\n"
        "from kinema.training.run_lock import lock_run\n"
        "with lock_run(pathlib.Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "locked\n"
        message = rf"in use by another training \(process {process.pid}\)"
        with pytest.raises(UserError, match=message), lock_run(tmp_path):
            pass
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with lock_run(tmp_path):
        pass


def test_times_of_stages_count_on(tmp_path):
    clock = itertools.count(0, 2.0)
    times = StageTimes(tmp_path, clock=lambda: next(clock))
    for stage in ("render", "render", "train"):
        times.add(stage)
    times.save()
    again = StageTimes(tmp_path, clock=time.monotonic)
    assert again.of("render") == times.of("render") >= 4
    assert again.total == times.total
    StageTimes(tmp_path / "other", writes=False).save()
    assert not (tmp_path / "other").exists()


def test_the_size_of_a_run_is_known_and_bounded(tmp_path, monkeypatch):
    two_hours, five_minutes = (
        estimate_run_size(full_config.lab(budget=budget)) for budget in (7200.0, 300.0)
    )
    config = full_config.lab(budget=7200.0)
    pixels = config.render.num_clips * 17 * 128 * 128 * 3
    assert two_hours.videos > pixels
    assert five_minutes.total < 3e9 < two_hours.total
    assert "GB" in two_hours.line()
    assert estimate_run_size(vae.tiny()).videos < 1e6
    check_disk(five_minutes, tmp_path / "run")
    monkeypatch.setattr(run_size, "_OTHER_BYTES", 10**18)
    with pytest.raises(UserError, match=r"are free; use another disk"):
        check_disk(RunSize(), tmp_path / "run")


def test_progress_without_a_terminal_is_a_line_a_minute(capsys):
    clock = itertools.count(0, 5.0)
    steps = [Progress(stage="encode", done=done, total=100) for done in range(1, 101)]
    steps += [Progress(stage="train", done=1, total=2)]
    passed = list(print_progress(steps, clock=lambda: next(clock)))
    assert passed == steps
    lines = capsys.readouterr().out.splitlines()
    # 100 steps of 5 seconds: the first, one each minute, the last, and the first of the next stage.
    assert 10 <= len(lines) <= 12
    assert lines[0].startswith("encode 1/100")
    assert "min left" in lines[1]
    assert lines[-1].startswith("train 1/2")
