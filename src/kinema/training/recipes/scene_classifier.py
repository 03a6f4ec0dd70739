"""Train the scene classifier of the evaluation: clips of the whole simulator and of the lab."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kinema.data.video_shards import ShardedVideos, open_shards
from kinema.models.formats.scene_classifier import load_scene_classifier, save_scene_classifier
from kinema.models.scene_classifier import SceneClassifier
from kinema.training.loop import load_ema_weights
from kinema.training.render_shards import RenderConfig
from kinema.training.run_context import Progress, RunContext
from kinema.training.scene_task import SceneTask, SceneTrainConfig, validate_classifier
from kinema.training.stages import render_split, split_dirs, train_network

NETWORK_FOLDER = "scene-classifier"


def _whole(num_clips: int, seed: int) -> RenderConfig:
    return RenderConfig(
        num_clips=num_clips, num_frames=25, fps=12.0, lab=False, events=(), split="all", seed=seed
    )


@dataclass(frozen=True, kw_only=True)
class SceneClassifierRunConfig:
    """Settings of a run that trains the scene classifier.

    Attributes:
        init_from: folder of a classifier to start from; empty starts from random weights.
        datasets: clips to train on.
        held_out: clips to measure the accuracy on.
        training: settings of the training.
    """

    init_from: str = ""
    datasets: tuple[RenderConfig, ...] = field(default_factory=lambda: (_whole(8192, 30),))
    held_out: RenderConfig = field(default_factory=lambda: _whole(512, 31))
    training: SceneTrainConfig = field(default_factory=SceneTrainConfig)


def usual() -> SceneClassifierRunConfig:
    """Return the preset for two CPU cores: an hour of rendering, and some hours of training."""
    training = SceneTrainConfig()
    return SceneClassifierRunConfig(
        training=dataclasses.replace(training, loop=training.loop.with_steps(6000))
    )


def tiny() -> SceneClassifierRunConfig:
    """Return the preset for tests, which ends in seconds with a useless classifier."""
    training = SceneTrainConfig()
    model = dataclasses.replace(training.model, num_frames=3, widths=(8, 8, 16), heads=2, layers=1)
    clips = dataclasses.replace(
        _whole(4, 30), height=32, width=32, num_frames=9, events=(("still", 1.0),), shard_size=4
    )
    return SceneClassifierRunConfig(
        datasets=(clips,),
        held_out=dataclasses.replace(clips, num_clips=2, seed=31),
        training=dataclasses.replace(training, batch_size=2, model=model, loop=training.loop.with_steps(10)),
    )


def train_scene_classifier(config: SceneClassifierRunConfig, run_context: RunContext) -> Iterator[Progress]:
    """Train the classifier and yield the progress. Afterwards `load_trained_classifier` returns it."""
    run_context.run_dir.mkdir(parents=True, exist_ok=True)
    sets = [(split_dirs(i)[0], render) for i, render in enumerate(config.datasets)]
    sets.append((split_dirs(0)[1], config.held_out))
    for name, render in sets:
        yield from render_split(run_context, render, name)
    if run_context.stop_requested():
        return
    *videos, held_out = (_open_videos(run_context.run_dir / name, render) for name, render in sets)
    init_weights = None
    if config.init_from:
        first, _ = load_scene_classifier(Path(config.init_from), device=run_context.device)
        init_weights = first.state_dict()
    task = SceneTask(config.training, videos, [held_out], run_context.device, init_weights=init_weights)
    yield from train_network(
        run_context, task, config.training, folder=NETWORK_FOLDER, stage="scene classifier"
    )


def _open_videos(folder: Path, render: RenderConfig) -> ShardedVideos:
    return open_shards(folder, max_clips=render.num_clips)


def load_trained_classifier(config: SceneClassifierRunConfig, run_context: RunContext) -> SceneClassifier:
    """Load the averaged weights of a finished run, the best by validation."""
    classifier = SceneClassifier(config.training.model)
    classifier.load_state_dict(load_ema_weights(run_context.run_dir / NETWORK_FOLDER, use_best=True))
    return classifier.eval()


def export_scene_classifier(config: SceneClassifierRunConfig, run_context: RunContext, folder: Path) -> None:
    """Write a finished run's classifier and its accuracy on the held-out clips."""
    classifier = load_trained_classifier(config, run_context)
    held_out = _open_videos(run_context.run_dir / split_dirs(0)[1], config.held_out)
    save_scene_classifier(folder, classifier, validate_classifier(classifier, [held_out]))
