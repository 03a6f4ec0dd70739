"""A small task for tests of training, also run as a process that gets killed, and a small text encoder."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from kinema.models.text_encoders.base import TextEmbeddings
from kinema.train import chance
from kinema.train.loop import LoopConfig, Loss, Work, train
from kinema.train.optimizer import OptimizerConfig


class Toy:
    """Fit sin on two inputs."""

    def __init__(self):
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))

    def matrices(self):
        return [self.module[0].weight]

    def blocks(self):
        return []

    def methods(self):
        return []

    def work(self, step):
        return Work(samples=8, operations=100.0)

    def loss(self, step, part, parts):
        x = chance.normal((8, 2), 0, "x", step, part)
        value = (self.module(x)[:, 0] - x.sum(1).sin()).square().mean() / parts
        return Loss(value=value, logs={"mean": x.mean() / parts})

    def validate(self):
        x = chance.normal((64, 2), 1, "validate")
        return {"loss": (self.module(x)[:, 0] - x.sum(1).sin()).square().mean().item()}

    def better(self, scores, best):
        return best is None or scores["loss"] < best["loss"]


def config(steps=40, **changes):
    settings = {"validate_every": 10, "save_every": 4, "keep": 2} | changes
    return LoopConfig(
        steps=steps,
        optimizer=OptimizerConfig(learning_rate=1e-2, muon_learning_rate=1e-2, warmup=4),
        **settings,
    )


class Letters:
    """A text encoder whose states are one-hot letters."""

    width = 8

    def encode(self, prompts):
        return TextEmbeddings.from_list(
            [torch.eye(8)[torch.tensor([ord(letter) % 8 for letter in f"^{prompt}"])] for prompt in prompts]
        )


if __name__ == "__main__":
    run = Path(sys.argv[1])
    settings = config(steps=int(sys.argv[2]), save_every=1) if len(sys.argv) > 2 else config()
    for report in train(Toy(), settings, run, settings={}):
        print(report.step, report.loss.hex(), flush=True)
