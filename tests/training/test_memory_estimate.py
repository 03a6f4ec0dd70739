"""The memory of training: the estimate against the resident set of a real step, and what does not fit."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kinema.errors import UserError
from kinema.models.formats.loader import open_model
from kinema.shapes import VideoShape
from kinema.training import memory_estimate
from kinema.training.lora_layers import LoraConfig
from kinema.training.memory_estimate import check_train_memory, estimate_run_memory
from kinema.training.recipes.datasets import SetConfig
from kinema.training.recipes.finetune import default_config

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def run_process(*arguments):
    finished = subprocess.run(
        [sys.executable, "-m", "tests.fixtures.training_memory", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1700,  # bfloat16 takes minutes on a CPU without instructions for it.
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return json.loads(finished.stdout)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "arguments",
    [
        ("finetune", "float32", "plain", "adamw"),
        ("finetune", "float32", "checkpointing", "adamw8bit"),
        ("lora", "float32", "plain", "adamw"),
        ("lora", "bfloat16", "checkpointing", "adamw"),
        ("lora", "int8", "checkpointing", "adamw"),
        ("lora", "fp8", "checkpointing", "adamw"),
        ("lora", "bfloat16", "checkpointing", "adamw", "4"),
    ],
)
def test_the_estimate_is_within_15_percent_of_the_resident_set(arguments):
    result = run_process(*arguments)
    assert result["estimate"] == pytest.approx(result["measured"], rel=0.15)


def world_config(**changes):
    model = open_model("world-teacher")
    config = default_config(model, [SetConfig(folder="set")], lora=LoraConfig(rank=8))
    training = dataclasses.replace(config.training, **changes)
    return model, dataclasses.replace(config, training=training)


@pytest.mark.slow
def test_each_saving_lowers_the_estimate():
    shape = VideoShape(frames=17, height=128, width=128)
    model, config = world_config()
    plain = estimate_run_memory(config, model, shape, CPU)
    model, checkpointing = world_config(activation_checkpointing=True)
    assert estimate_run_memory(checkpointing, model, shape, CPU).step < 0.7 * plain.step
    int8 = estimate_run_memory(dataclasses.replace(config, base_dtype="int8"), model, shape, CPU)
    assert int8.weights < 0.4 * plain.weights
    full = estimate_run_memory(dataclasses.replace(config, lora=None), model, shape, CPU)
    assert full.optimizer == 8 * full.num_trained
    assert full.peak > plain.peak


def test_what_does_not_fit_is_refused_with_what_needs_less(monkeypatch):
    model, config = world_config()
    memory = estimate_run_memory(config, model, VideoShape(frames=17, height=128, width=128), CPU)
    check_train_memory(memory, config, CPU)
    monkeypatch.setattr(memory_estimate, "free_memory", lambda device: 2**20)
    with pytest.raises(
        UserError, match=r"GiB are free; use a smaller --batch-size, --checkpointing True, --base-dtype"
    ):
        check_train_memory(memory, config, CPU)
