"""Training of the super-resolution network: it learns, microbatches add up, and a run resumes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinema.cli import main
from kinema.errors import UserError
from kinema.frames import to_frames, to_model_range
from kinema.media.metrics import psnr, psnr_near_edges
from kinema.models.formats.native import KinemaCheckpoint
from kinema.models.super_resolution import SuperResolution, SuperResolutionConfig, enlarge_bicubic
from kinema.training.loop import train
from kinema.training.recipes import super_resolution
from kinema.training.run_context import RunContext
from kinema.training.super_resolution_task import (
    GAIN,
    FramePairs,
    SuperResolutionTask,
    SuperResolutionTrainConfig,
    edge_gains,
)
from tests.fixtures.tiny_model import save_tiny_model
from tests.models.test_super_resolution import trained_network

CPU = torch.device("cpu")
MODEL = SuperResolutionConfig(channels=12, blocks=1, channels_2x=8, channels_4x=4)


def square_pairs(count: int, *, seed: int = 0) -> FramePairs:
    """Squares with sharp edges, and means of them as small frames."""
    generator = np.random.default_rng(seed)
    large = np.full((count, 3, 128, 128, 3), 180, np.uint8)
    for video in large:
        y, x, side = generator.integers(10, 60, 3)
        colour = generator.integers(0, 120, 3)
        for index, frame in enumerate(video):
            frame[y : y + side, x + index : x + index + side] = colour

    def mean(factor):
        size = 128 // factor
        blocks = large.reshape(count, 3, size, factor, size, factor, 3)
        return blocks.mean((3, 5)).round().astype(np.uint8)

    return FramePairs(small=mean(4), large={2: mean(2)[:, 1], 4: large[:, 1]})


def train_config(steps: int = 60, **changes) -> SuperResolutionTrainConfig:
    config = SuperResolutionTrainConfig(
        batch_size=4, crop_size=16, precision="float32", model=MODEL, **changes
    )
    optimizer = dataclasses.replace(config.loop.optimizer, learning_rate=5e-3, warmup_steps=5)
    loop = dataclasses.replace(
        config.loop, steps=steps, validate_every=steps, ema_decay=0.9, optimizer=optimizer
    )
    return dataclasses.replace(config, loop=loop)


def test_the_network_learns(tmp_path):
    task = SuperResolutionTask(train_config(120), square_pairs(12), square_pairs(4, seed=1), CPU)
    assert task.validate()[GAIN] == pytest.approx(0, abs=1e-6), "it begins as bicubic interpolation"
    scores = [report.scores for report in train(task, task.config.loop, tmp_path, settings={})][-1]
    assert scores[f"ema/{GAIN}_2x"] > 1
    assert scores[f"ema/{GAIN}_4x"] > 1
    assert task.is_better({GAIN: 2.0}, {GAIN: 1.0})
    assert not task.is_better({GAIN: 1.0}, {GAIN: 1.0})


@pytest.mark.parametrize("step", [0, 7])
def test_microbatches_add_up_to_the_step(step):
    task = SuperResolutionTask(train_config(), square_pairs(6), square_pairs(1), CPU)
    whole = task.loss(step, 0, 1).value.item()
    assert sum(task.loss(step, part, 2).value.item() for part in range(2)) == pytest.approx(whole, rel=1e-5)


def test_crops_of_all_sizes_show_the_same_place():
    task = SuperResolutionTask(train_config(), square_pairs(6), square_pairs(1), CPU)
    for step in range(8):
        small, large = task._crop(step, step % 6)
        for factor, frame in large.items():
            size = 16 * factor
            assert frame.shape == (size, size, 3)
            means = frame.reshape(16, factor, 16, factor, 3).mean((1, 3))
            assert np.abs(means - small[1]).max() <= 1


def test_gains_are_the_difference_of_the_errors_near_edges():
    pairs, network = square_pairs(1), trained_network()
    gains = edge_gains(network, pairs, CPU)
    windows = to_model_range(pairs.small[0])
    for factor in (2, 4):
        with torch.no_grad():
            ours = to_frames(network(network.neighbours(windows, 1))[factor][:, :, None])
        bicubic = to_frames(enlarge_bicubic(windows[:, :, 1], factor)[:, :, None])
        truth = pairs.large[factor]
        expected = psnr_near_edges(ours, truth) - psnr_near_edges(bicubic, truth)
        assert gains[f"{GAIN}_{factor}x"] == pytest.approx(expected, abs=1e-3)


def test_a_run_from_the_command_line_ends_in_a_folder_for_a_model(tmp_path):
    run, options = tmp_path / "run", ["--preset", "tiny", "--device", "cpu"]
    main(["train", "super-resolution", "--out", str(run), *options])
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 10
    assert f"ema/{GAIN}_4x" in log[-1]["scores"]
    trained = SuperResolution(super_resolution.tiny().training.model)
    trained.load_state_dict(load_file(run / "weights" / "super_resolution" / "model.safetensors"))
    held_out = FramePairs.load([run / "held-out-pairs" / "00000.safetensors"])
    best = max(line["scores"][f"ema/{GAIN}"] for line in log if line.get("scores"))
    assert edge_gains(trained, held_out, CPU)[GAIN] == pytest.approx(best, abs=1e-4)
    before = (run / "weights" / "super_resolution" / "model.safetensors").read_bytes()
    main(["train", "resume", str(run), "--device", "cpu"])
    assert (run / "weights" / "super_resolution" / "model.safetensors").read_bytes() == before


def test_pairs_are_decoded_frames_and_the_render(tmp_path):
    """The small frames are those of the autoencoder, the large ones show the same moment."""
    config = super_resolution.tiny()
    context = RunContext(run_dir=tmp_path, device=CPU, load_text_encoder=lambda: None)
    for _ in super_resolution.train_super_resolution(config, context):
        pass
    pairs = FramePairs.load([tmp_path / "pairs" / "00000.safetensors"])
    assert pairs.small.shape == (6, 3, 64, 64, 3)
    for index in range(6):
        halves = pairs.large[2][index].reshape(64, 2, 64, 2, 3).mean((1, 3))
        quarters = pairs.large[4][index].reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert psnr(halves.astype(np.uint8), quarters.astype(np.uint8)) > 30
        # The shipped autoencoder is for larger frames.
        assert psnr(pairs.small[index, 1], halves.astype(np.uint8)) > 12


def test_a_missing_file_is_rendered_again_with_the_same_clips(tmp_path):
    config = super_resolution.tiny()
    context = RunContext(run_dir=tmp_path, device=CPU, load_text_encoder=lambda: None)
    list(super_resolution.train_super_resolution(config, context))
    path: Path = tmp_path / "held-out-pairs" / "00000.safetensors"
    before = path.read_bytes()
    path.unlink()
    list(super_resolution.train_super_resolution(config, context))
    assert path.read_bytes() == before


def test_more_frames_than_a_clip_has_are_one_line():
    with pytest.raises(UserError, match="give 1 to 17"):
        super_resolution.SuperResolutionRunConfig(frames_per_clip=18)


def test_the_exported_network_is_read_with_a_model(tmp_path):
    run = tmp_path / "run"
    main(["train", "super-resolution", "--out", str(run), "--preset", "tiny", "--device", "cpu"])
    model = save_tiny_model(tmp_path / "model")
    (run / "weights" / "super_resolution").rename(model / "super_resolution")
    opened = KinemaCheckpoint.open(model, name="model")
    assert opened.load_super_resolution(device=CPU).config == super_resolution.tiny().training.model
