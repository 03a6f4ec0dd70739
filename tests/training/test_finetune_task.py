"""The task of fine-tuning: microbatches, sets with weights, experts, conditions, validation, exact resume."""

import dataclasses

import pytest
import torch

from kinema.errors import UserError
from kinema.training import checkpoint
from kinema.training.finetune_task import FinetuneTask, WeightedSet
from kinema.training.loop import train
from kinema.training.sigma_sampling import SigmaSamplingConfig
from tests.fixtures.encoded_clips import CPU, finetune_config, lora_task, random_dit, random_set


def test_microbatches_add_up_for_every_bucket():
    dit = random_dit()
    clips = random_set(dit.config, 6, buckets=((32, 32, 9), (48, 32, 5)))
    config = finetune_config(batch_size=3)
    task = FinetuneTask(config, dit, [WeightedSet(clips=clips)], [], CPU)
    shapes = set()
    for step in range(4):
        shapes.add(clips.samples[task._order.at(step).indices[0]].bucket)
        whole = task.loss(step, 0, 1).value.item()
        parts = sum(task.loss(step, part, 3).value.item() for part in range(3))
        assert parts == pytest.approx(whole, rel=1e-5)
    assert len(shapes) == 2
    with pytest.raises(UserError, match="can't be split into 4 parts"):
        task.loss(0, 3, 4)


def test_sets_are_mixed_by_their_weights():
    dit = random_dit()
    clips = [random_set(dit.config, 4, seed=seed) for seed in (0, 1)]
    sets = [WeightedSet(clips=clips[0], weight=2.0), WeightedSet(clips=clips[1], weight=1.0)]
    task = FinetuneTask(finetune_config(), dit, sets, [], CPU)
    chosen = [task._order.at(step).set_index for step in range(600)]
    assert chosen.count(0) == 400


def test_each_expert_is_trained_on_its_own_noise_levels():
    for limits in ({"min_sigma": 0.875}, {"max_sigma": 0.875}):
        sampling = dataclasses.replace(SigmaSamplingConfig.shifted(5.0), **limits)
        low, high = sampling.min_sigma, sampling.max_sigma
        assert all(low < sigma < high for sigma in sampling.validation_sigmas())
        config = finetune_config(sigma_sampling=sampling)
        task = lora_task(config)
        seen = []
        velocity_error = task._velocity_error

        def record(batch, *arguments, seen=seen, velocity_error=velocity_error):
            seen.append(batch.sigmas)
            return velocity_error(batch, *arguments)

        task._velocity_error = record
        for step in range(6):
            task.loss(step, 0, 1)
        sigmas = torch.cat([one.flatten() for one in seen])
        assert ((sigmas >= low) & (sigmas <= high)).all()


def test_image_to_video_models_read_the_condition():
    dit = random_dit(in_channels=9)
    torch.nn.init.normal_(dit.patch_embedding.weight, std=0.2)
    losses = []
    for seed in (0, 1):
        clips = random_set(dit.config, 4, condition_channels=5)
        changed = dataclasses.replace(clips)
        if seed:
            tensors = type(clips).tensors
            shifted = {
                i: {**tensors(clips, i), "condition": tensors(clips, i)["condition"] + 1} for i in range(4)
            }
            object.__setattr__(changed, "tensors", shifted.__getitem__)
        task = FinetuneTask(finetune_config(), dit, [WeightedSet(clips=changed)], [], CPU)
        losses.append(task.loss(0, 0, 1).value.item())
    assert losses[0] != losses[1]


def test_validation_has_eight_levels_and_no_side_effects():
    task = lora_task(finetune_config())
    first, second = task.validate(), task.validate()
    assert first == second
    assert len(first) == 9
    assert first["loss"] == pytest.approx(sum(v for n, v in first.items() if n != "loss") / 8)


def test_a_checkpoint_has_the_lora_only_and_resumes_exactly(tmp_path):
    config = finetune_config(6)

    def run(folder, should_stop=lambda: False):
        task = lora_task(config)
        reports = train(task, config.loop, folder, settings={}, should_stop=should_stop)
        return [report.loss for report in reports], task

    whole, task = run(tmp_path / "whole")
    stops = iter([False, False, True])
    first, _ = run(tmp_path / "stopped", lambda: next(stops))
    second, resumed = run(tmp_path / "stopped")
    assert first + second == whole
    for name, value in task.state_dict().items():
        assert value.equal(resumed.state_dict()[name])
    saved = checkpoint.load(tmp_path / "whole").parts
    assert all(".lora_" in name for part in ("model", "ema") for name in saved[part])
    assert sum(value.numel() for value in saved["model"].values()) < 0.2 * sum(
        parameter.numel() for parameter in task.dit.parameters()
    )


def test_a_lora_learns(tmp_path):
    config = finetune_config(30)
    task = lora_task(config)
    before = task.validate()["loss"]
    reports = list(train(task, config.loop, tmp_path, settings={}))
    assert reports[-1].scores["ema/loss"] < before
