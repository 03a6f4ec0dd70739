"""Scaling: a point for each size and budget, resumed runs, and the plot."""

import json

import pytest
import torch
from PIL import Image

from kinema.models.transformer.dit_config import small
from kinema.training import scaling
from kinema.training.dit_task import DitTrainConfig
from kinema.training.loop import LoopConfig
from tests.fixtures.training_data import random_latents

SIZES = ("32 x 1", "64 x 1")


@pytest.mark.slow
def test_scaling_has_a_point_for_each_size_and_budget_and_resumes(tmp_path):
    pytest.importorskip("matplotlib")
    config = scaling.ScalingConfig(
        sizes=(scaling.ModelSize(width=32, layers=1), scaling.ModelSize(width=64, layers=1)),
        max_flops=2e8,
        num_points=3,
        batch_size=2,
        num_held_out=2,
        training=DitTrainConfig(causal_p=0.0, loop=LoopConfig()),
    )
    model = small(channels=4, grid=(2, 2))
    arguments = (
        config, model, random_latents(8), random_latents(4, seed=1), tmp_path, torch.device("cpu")
    )  # fmt: skip
    points = list(scaling.measure_scaling(*arguments))
    assert {point.size for point in points} == set(SIZES)
    for size in SIZES:
        budgets = [point.flops for point in points if point.size == size]
        assert budgets == sorted(budgets)
        assert budgets[-1] == pytest.approx(2e8, rel=0.5)
    assert list(scaling.measure_scaling(*arguments)) == points
    scaling.write_scaling(config, points, tmp_path)
    assert len(json.loads((tmp_path / "scaling.json").read_text())["points"]) == len(points)
    with Image.open(tmp_path / "scaling.png") as plot:
        assert plot.size == (900, 560)
    (axes,) = scaling.plot_scaling(points).axes
    assert [line.get_label().split(",")[0] for line in axes.lines] == list(SIZES)
    for size, line in zip(SIZES, axes.lines, strict=True):
        assert list(line.get_xdata()) == [point.flops for point in points if point.size == size]
        assert list(line.get_ydata()) == [point.loss for point in points if point.size == size]
