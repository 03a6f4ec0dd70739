"""Training of the scene classifier: it learns, microbatches add up, and a run resumes."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinema.cli import main
from kinema.data.video_shards import ShardedVideos
from kinema.models.formats.scene_classifier import load_scene_classifier
from kinema.models.scene_classifier import SceneClassifierConfig, to_classifier_input
from kinema.simulator.scene_attributes import SCENE_ATTRIBUTES, read_scene_labels
from kinema.training.loop import train
from kinema.training.recipes import scene_classifier
from kinema.training.scene_task import SceneTask, SceneTrainConfig, make_targets, validate_classifier
from tests.fixtures.scenes import scene_annotations

CPU = torch.device("cpu")
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


def coloured_clips(count: int, *, seed: int = 0) -> ShardedVideos:
    """Squares of two colours that move left or right on two kinds of floor, with annotations."""
    generator = np.random.default_rng(seed)
    clips, annotations = [], []
    for _ in range(count):
        colour = ("red", "blue")[generator.integers(2)]
        floor, grey = (("snow", 230), ("asphalt", 60))[generator.integers(2)]
        direction = generator.integers(2)
        frames = np.full((5, 64, 64, 3), grey, np.uint8)
        for index, frame in enumerate(frames):
            x = 10 + 8 * (index if direction else 4 - index)
            frame[20:44, x : x + 16] = COLOURS[colour]
        clips.append(frames)
        camera = "pan right" if direction else "pan left"
        annotations.append(scene_annotations(colour=colour, floor=floor, camera=camera))
    return ShardedVideos(
        pixels=(np.stack(clips),), texts=(("",),) * count, starts=(0,), annotations=tuple(annotations)
    )


def train_config(steps: int = 60, **changes) -> SceneTrainConfig:
    options = {"batch_size": 8, "precision": "float32", "image_p": 0.0, **changes}
    config = SceneTrainConfig(**options)
    model = dataclasses.replace(
        config.model, num_frames=5, widths=(8, 16, 32), heads=2, layers=1, dropout=0.0
    )
    optimizer = dataclasses.replace(config.loop.optimizer, learning_rate=4e-3, warmup_steps=5)
    loop = dataclasses.replace(
        config.loop, steps=steps, validate_every=steps, ema_decay=0.9, optimizer=optimizer
    )
    return dataclasses.replace(config, model=model, loop=loop)


def test_the_classifier_learns(tmp_path):
    held_out = coloured_clips(16, seed=1)
    task = SceneTask(train_config(80), [coloured_clips(24), coloured_clips(8, seed=2)], [held_out], CPU)
    scores = [report.scores for report in train(task, task.config.loop, tmp_path, settings={})][-1]
    for name in ("colours", "floor", "camera"):
        assert scores[f"ema/{name}"] == 1, name
    assert scores["ema/accuracy"] == pytest.approx(
        np.mean([scores[f"ema/{one.name}"] for one in SCENE_ATTRIBUTES])
    )


def test_steps_on_single_frames(tmp_path):
    """They teach what can be seen in one frame, and nothing of the direction of motion."""
    config = train_config(80, image_p=1.0)
    task = SceneTask(config, [coloured_clips(24)], [coloured_clips(16, seed=1)], CPU)
    cost, clips = task.step_cost(79), SceneTask(train_config(image_p=0.0), task.videos, [], CPU).step_cost(79)
    assert (cost.samples, cost.flops) == (clips.samples * task.config.model.num_frames, clips.flops)
    video, _ = task._sample(79, 0)
    assert video.shape == (3, 1, 64, 64)
    scores = [report.scores for report in train(task, config.loop, tmp_path, settings={})][-1]
    assert scores["ema/colours"] > 0.85
    assert scores["ema/camera"] < 0.85


@pytest.mark.parametrize("step", [0, 5])
def test_microbatches_add_up_to_the_step(step):
    task = SceneTask(train_config(image_p=0.5), [coloured_clips(12)], [coloured_clips(1)], CPU)
    whole = task.loss(step, 0, 1).value.item()
    assert sum(task.loss(step, part, 2).value.item() for part in range(2)) == pytest.approx(whole, rel=1e-4)


def test_mirrored_clips_have_mirrored_labels():
    task = SceneTask(train_config(blur_p=0.0), [coloured_clips(4)], [coloured_clips(1)], CPU)
    seen = set()
    for step in range(12):
        video, labels = task._sample(step, 0)
        dataset, index, original = task._clips[0]
        plain = to_classifier_input(dataset.frames(index), 5)
        is_mirrored = not torch.equal(video, plain)
        assert torch.equal(video, plain.flip(-1) if is_mirrored else plain)
        assert (labels.one["camera"] != original.one["camera"]) == is_mirrored
        seen.add(is_mirrored)
    assert seen == {True, False}


def test_events_in_pairs_have_no_target():
    labels = [read_scene_labels(scene_annotations(event=event)) for event in ("wall pair", "still")]
    targets = make_targets(train_config().model, labels, CPU)
    names = next(one.values for one in SCENE_ATTRIBUTES if one.name == "event")
    assert targets["event"].tolist() == [-100, names.index("still")]
    assert targets["colours"].sum(1).tolist() == [1, 1]


def test_a_run_from_the_command_line_ends_in_a_folder_that_is_read(tmp_path):
    run, options = tmp_path / "run", ["--preset", "tiny", "--device", "cpu"]
    main(["train", "scene-classifier", "--out", str(run), *options])
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 10
    classifier, accuracy = load_scene_classifier(run / "weights", device=CPU)
    assert isinstance(classifier.config, SceneClassifierConfig)
    assert classifier.config == scene_classifier.tiny().training.model
    assert set(accuracy) == {one.name for one in SCENE_ATTRIBUTES}
    stored = load_file(run / "weights" / "model.safetensors")
    assert all(value.dtype == torch.bfloat16 for value in stored.values())
    further = ["--out", str(tmp_path / "further"), "--from", str(run / "weights")]
    main(
        ["train", "scene-classifier", *further, *options, "--set", "training.loop.optimizer.learning_rate=0"]
    )
    again, _ = load_scene_classifier(tmp_path / "further" / "weights", device=CPU)
    assert torch.equal(again.queries, classifier.queries)
    before = (run / "weights" / "model.safetensors").read_bytes()
    main(["train", "resume", str(run), "--device", "cpu"])
    assert (run / "weights" / "model.safetensors").read_bytes() == before


def test_the_accuracy_is_that_of_its_predictions():
    clips = coloured_clips(6)
    task = SceneTask(train_config(), [clips], [clips], CPU)
    accuracy = validate_classifier(task.classifier.eval(), [clips])
    seen = task.classifier.predict([clips.frames(index) for index in range(6)])
    floors = [read_scene_labels(text).one["floor"] for text in clips.annotations]
    right = [floor in one["floor"] for floor, one in zip(floors, seen, strict=True)]
    assert accuracy["floor"] == pytest.approx(np.mean(right))
