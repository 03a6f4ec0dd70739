"""Training in two processes: the losses and checkpoints of one, and resuming with another number of them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.distributed.process_group import SINGLE_PROCESS
from kinema.training import checkpoint
from tests.fixtures.encoded_clips import train_lora
from tests.fixtures.sharded_training import REPORTS_FILE, train_dit, train_vae_with_discriminator

ROOT = Path(__file__).parents[2]


def torchrun(run_dir, steps, *arguments, processes=2, restarts=0):
    run_dir.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command += [f"--max-restarts={restarts}"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "-m"]
    command += ["tests.fixtures.sharded_training", str(run_dir), str(steps), *map(str, arguments)]
    finished = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads((run_dir / REPORTS_FILE).read_text())


def test_two_processes_match_one(tmp_path):
    single = train_dit(tmp_path / "one", 10, SINGLE_PROCESS)
    double = torchrun(tmp_path / "two", 10)
    assert len(double["losses"]) == 10
    assert max(abs(a.loss - b) for a, b in zip(single, double["losses"], strict=True)) < 1e-5
    assert double["grad_norms"] == pytest.approx([r.grad_norm for r in single], rel=1e-4)
    single_scores = [r.scores for r in single if r.scores]
    for expected, scores in zip(single_scores, double["scores"], strict=True):
        assert scores == pytest.approx(expected, rel=1e-4)
    # Checkpoints have full tensors, as those of a single process.
    one, two = (checkpoint.load(tmp_path / name) for name in ("one", "two"))
    for part in ("model", "ema", "optimizer"):
        assert one.parts[part].keys() == two.parts[part].keys()
        for name, value in one.parts[part].items():
            assert value.shape == two.parts[part][name].shape
            assert value.dtype == two.parts[part][name].dtype
            if part != "optimizer":
                assert (value - two.parts[part][name]).abs().max() < 1e-4


@pytest.mark.slow
def test_two_processes_match_one_with_a_discriminator(tmp_path):
    single = train_vae_with_discriminator(tmp_path / "one", 6, SINGLE_PROCESS)
    double = torchrun(tmp_path / "two", 6, "discriminator")
    # In the first steps tiny gradients make full steps, and shards are added in another order.
    assert double["losses"] == pytest.approx([r.loss for r in single], rel=1e-4)
    assert double["grad_norms"] == pytest.approx([r.grad_norm for r in single], rel=1e-3)


@pytest.mark.slow
def test_two_processes_train_a_lora_as_one_does(tmp_path):
    """Frozen bfloat16 weights and float32 factors are sharded together."""
    single = train_lora(tmp_path / "one", 6, SINGLE_PROCESS)
    double = torchrun(tmp_path / "two", 6, "lora")
    assert double["losses"] == pytest.approx([r.loss for r in single], abs=1e-5)
    assert double["grad_norms"] == pytest.approx([r.grad_norm for r in single], rel=1e-4)
    one, two = (checkpoint.load(tmp_path / name) for name in ("one", "two"))
    for name, value in one.parts["model"].items():
        assert (value - two.parts["model"][name]).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "shared"), [(2, 2), (4, 4), (4, 2)])
def test_processes_that_share_tokens_match_one(tmp_path, processes, shared):
    """Context parallelism with FSDP2: some processes have the same videos and parts of their tokens."""
    single = train_dit(tmp_path / "one", 10, SINGLE_PROCESS)
    several = torchrun(tmp_path / "several", 10, "dit", shared, processes=processes)
    assert max(abs(a.loss - b) for a, b in zip(single, several["losses"], strict=True)) < 1e-5
    assert several["grad_norms"] == pytest.approx([r.grad_norm for r in single], rel=1e-4)


@pytest.mark.slow
def test_a_checkpoint_of_four_processes_opens_in_one_two_and_three(tmp_path):
    whole = [r.loss for r in train_dit(tmp_path / "whole", 10, SINGLE_PROCESS)]
    first = torchrun(tmp_path / "four", 5, processes=4)["losses"]
    for processes in (1, 2, 3):
        folder = tmp_path / str(processes)
        shutil.copytree(tmp_path / "four", folder)
        if processes == 1:
            rest = [r.loss for r in train_dit(folder, 10, SINGLE_PROCESS)]
        else:
            rest = torchrun(folder, 10, processes=processes)["losses"]
        assert [*first, *rest] == pytest.approx(whole, abs=1e-5)


@pytest.mark.slow
def test_a_dead_process_ends_the_step_and_torchrun_resumes_the_run(tmp_path):
    whole = [r.loss for r in train_dit(tmp_path / "whole", 10, SINGLE_PROCESS)]
    rest = torchrun(tmp_path / "dying", 10, "dying", restarts=1)["losses"]
    # It died after step 7, and continued from the checkpoint of step 6.
    assert rest == pytest.approx(whole[6:], abs=1e-5)
    assert checkpoint.list_steps(tmp_path / "dying")[-1] == 10


@pytest.mark.slow
def test_resume_with_another_world_size(tmp_path):
    whole = [r.loss for r in train_dit(tmp_path / "whole", 10, SINGLE_PROCESS)]
    double = torchrun(tmp_path / "shared", 5)["losses"]
    single = [r.loss for r in train_dit(tmp_path / "shared", 10, SINGLE_PROCESS)]
    assert [*double, *single] == pytest.approx(whole, abs=1e-5)
    first = [r.loss for r in train_dit(tmp_path / "single", 5, SINGLE_PROCESS)]
    second = torchrun(tmp_path / "single", 10)["losses"]
    assert [*first, *second] == pytest.approx(whole, abs=1e-5)
