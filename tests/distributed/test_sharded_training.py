"""Several processes are one: the same losses and checkpoints, and one may go on with the other's run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.distributed.process_group import SINGLE_PROCESS
from kinema.training import checkpoint
from tests.fixtures.sharded_training import train_dit, train_vae_with_discriminator


def torchrun(run, steps, *more):
    root = Path(__file__).parent
    run.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
    ]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    done = subprocess.run(
        [*command, str(root / "shared_training.py"), str(run), str(steps), *more],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root.parent)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((run / "told.json").read_text())


def test_two_processes_match_one(tmp_path):
    whole = train_dit(tmp_path / "one", 10, SINGLE_PROCESS)
    told = torchrun(tmp_path / "two", 10)
    assert len(told["losses"]) == 10
    assert max(abs(a.loss - b) for a, b in zip(whole, told["losses"], strict=True)) < 1e-5
    assert told["norms"] == pytest.approx([r.norm for r in whole], rel=1e-4)
    scores = [r.scores for r in whole if r.scores]
    for ours, theirs in zip(scores, told["scores"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)
    # What is saved is whole tensors, as one process saves them.
    one, two = (checkpoint.load(tmp_path / name) for name in ("one", "two"))
    for part in ("model", "ema", "optimizer"):
        assert one.parts[part].keys() == two.parts[part].keys()
        for name, value in one.parts[part].items():
            assert value.shape == two.parts[part][name].shape
            assert value.dtype == two.parts[part][name].dtype
            if part != "optimizer":
                assert (value - two.parts[part][name]).abs().max() < 1e-4


def test_two_processes_match_one_with_a_discriminator(tmp_path):
    whole = train_vae_with_discriminator(tmp_path / "one", 6, SINGLE_PROCESS)
    told = torchrun(tmp_path / "two", 6, "critic")
    # Gradients that are almost nothing are steps all the same at first, and shards add up in another order.
    assert told["losses"] == pytest.approx([r.loss for r in whole], rel=1e-4)
    assert told["norms"] == pytest.approx([r.norm for r in whole], rel=1e-3)


@pytest.mark.slow
def test_resume_with_another_world_size(tmp_path):
    whole = [r.loss for r in train_dit(tmp_path / "whole", 10, SINGLE_PROCESS)]
    both = torchrun(tmp_path / "shared", 5)["losses"]
    alone = [r.loss for r in train_dit(tmp_path / "shared", 10, SINGLE_PROCESS)]
    assert [*both, *alone] == pytest.approx(whole, abs=1e-5)
    first = [r.loss for r in train_dit(tmp_path / "single", 5, SINGLE_PROCESS)]
    then = torchrun(tmp_path / "single", 10)["losses"]
    assert [*first, *then] == pytest.approx(whole, abs=1e-5)
