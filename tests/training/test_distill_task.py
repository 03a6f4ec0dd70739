"""Step distillation: the student's target is the teacher's guided solver, and it learns to reach it."""

import dataclasses

import pytest
import torch

from kinema import sampling
from kinema.errors import UserError
from kinema.models.transformer.dit import Dit
from kinema.models.transformer.dit_config import small
from kinema.pipeline.sampler import SamplerConfig
from kinema.training.caption_denoiser import caption_denoiser
from kinema.training.distill_task import TEACHER_DISTANCE, DistillConfig, DistillTask
from kinema.training.dit_task import LAB_SCORE, DitTrainConfig
from kinema.training.loop import LoopConfig, train
from kinema.training.optimizer import OptimizerConfig
from kinema.training.sigma_sampling import SigmaSamplingConfig
from kinema.training.teacher_trajectories import (
    load_all_trajectories,
    missing_batches,
    save_trajectories,
    trajectory_path,
)
from tests.fixtures.training_data import perturb_module, random_latents

CPU = torch.device("cpu")
DATASETS = [random_latents(12, 3, 4, 4), random_latents(8, 2, 4, 8, seed=1)]
MODEL = small(width=64, layers=1, channels=4, grid=(2, 2))
CONFIG = DitTrainConfig(
    batch_size=6, image_p=0.2, causal_p=0.0, caption_dropout=0.0, precision="float32", model=MODEL
)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return perturb_module(Dit(MODEL)).eval()


def distill_task(teacher, *, training=CONFIG, teacher_solver="euler", num_batches=8, **settings):
    held_out = [one.subset(0, 4) for one in DATASETS]
    config = DistillConfig(teacher_solver=teacher_solver, num_batches=num_batches, **settings)
    task = DistillTask(training, config, teacher, DATASETS, held_out, CPU)
    task.trajectories = [task.sample_trajectories(index) for index in range(num_batches)]
    return task


def test_one_unguided_teacher_step_is_the_teachers_own_velocity(teacher):
    """The student is the teacher at first, so its error is 0 for every shape, with and without a mask."""
    training = dataclasses.replace(CONFIG, causal_p=0.5, image_p=0.5)
    same = distill_task(teacher, training=training, teacher_steps=1, guidance_scale=1.0, within_p=0.0)
    other = distill_task(teacher, training=training, teacher_steps=2, guidance_scale=1.0, within_p=0.0)
    assert {one.states.shape[3:] for one in same.trajectories} >= {(3, 4, 4), (1, 4, 4), (2, 4, 8)}
    assert {bool(one.block_frames) for one in same.trajectories} == {True, False}
    for step in range(8):
        assert same.loss(step, 0, 1).value.item() == pytest.approx(0, abs=1e-9)
        assert other.loss(step, 0, 1).value.item() > 1e-5


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
def test_the_teachers_way_is_that_of_the_sampler(teacher, guidance_scale, solver):
    """The states are those of the solver's own run, so that the last one is the teacher's video."""
    task = distill_task(
        teacher,
        num_steps=2,
        teacher_steps=3,
        guidance_scale=guidance_scale,
        teacher_solver=solver,
        num_batches=1,
    )
    noise, rows = torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(1)), [0, 1]
    config = SamplerConfig(num_inference_steps=6)
    denoiser = caption_denoiser(teacher, task.text_table, rows, guidance_scale=guidance_scale)
    with torch.no_grad():
        steps = list(sampling.sample(denoiser, noise, config.sigmas(), solver=solver))
    states = task._run_teacher(noise, torch.ones(2, 3, dtype=torch.bool), rows)
    assert torch.equal(states[0], noise)
    assert (states[1] - steps[2].latents).abs().max() < 1e-5
    assert (states[2] - steps[5].latents).abs().max() < 1e-5


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
def test_clean_frames_stay_and_are_not_in_the_loss(teacher, solver):
    task = distill_task(
        teacher, num_steps=2, teacher_steps=2, guidance_scale=2.0, teacher_solver=solver, num_batches=1
    )
    latents = DATASETS[0].latents[:2]
    is_noisy = torch.tensor([[False, True, True], [True, True, False]])
    states = task._run_teacher(latents, is_noisy, [0, 1])
    for state in states[1:]:
        assert torch.equal((state - latents).abs().amax(dim=(1, 3, 4)) > 0, is_noisy)
    always_prefix = SigmaSamplingConfig(diffusion_forcing_p=0.0, prefix_p=1.0, suffix_p=0.0)
    training = dataclasses.replace(CONFIG, image_p=0.0, sigma_sampling=always_prefix)
    same = distill_task(teacher, training=training, teacher_steps=1, guidance_scale=1.0, within_p=0.0)
    assert not any(one.is_noisy[:, 0].any() for one in same.trajectories)
    assert same.loss(0, 0, 1).value.item() == pytest.approx(0, abs=1e-9)


def test_known_frames_condition_the_teacher_as_in_the_sampler(teacher):
    """Frames that are known from the start, through the sampler's own clamp."""
    task = distill_task(teacher, num_steps=2, teacher_steps=4, guidance_scale=2.0, num_batches=1)
    latents, rows = torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(2)), [0, 1]
    known = torch.tensor([True, False, False])
    clamp = sampling.FrameClamp(frames=known, latents=latents, sigmas=torch.zeros(3))
    denoiser = caption_denoiser(teacher, task.text_table, rows, guidance_scale=2.0)
    with torch.no_grad():
        *_, last = sampling.sample(
            denoiser, latents, task.distill.teacher_schedule, solver="euler", clamp=clamp
        )
    states = task._run_teacher(latents, ~known.expand(2, 3), rows)
    assert (states[-1] - last.latents).abs().max() < 1e-5


@pytest.mark.parametrize("causal_p", [0.0, 1.0])
def test_trajectories_are_written_and_read_exactly(teacher, tmp_path, causal_p):
    task = distill_task(teacher, training=dataclasses.replace(CONFIG, causal_p=causal_p), num_batches=2)
    for index, one in enumerate(task.trajectories):
        save_trajectories(trajectory_path(tmp_path, index), one)
    assert list(missing_batches(tmp_path, 3)) == [2]
    for read, one in zip(load_all_trajectories(tmp_path, 2), task.trajectories, strict=True):
        assert read.states.equal(one.states)
        assert read.is_noisy.equal(one.is_noisy)
        assert read.is_scored.equal(one.is_scored)
        assert read.caption_rows == one.caption_rows
        assert read.block_frames == one.block_frames


def test_every_batch_is_trained_once_in_an_epoch(teacher):
    task = distill_task(teacher, num_batches=8)
    epochs = [[task._pick_batch(epoch * 8 + i) for i in range(8)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_batch_that_is_too_small_for_its_parts(teacher):
    with pytest.raises(UserError, match="can't be split into 7 parts"):
        distill_task(teacher).loss(0, 6, 7)


@pytest.mark.parametrize("causal_p", [0.0, 1.0])
def test_microbatches_add_up(teacher, causal_p):
    training = dataclasses.replace(CONFIG, causal_p=causal_p)
    task = distill_task(teacher, training=training, teacher_steps=2, within_p=0.5)
    for step in range(6):
        whole = task.loss(step, 0, 1).value.item()
        parts = sum(task.loss(step, part, 3).value.item() for part in range(3))
        assert parts == pytest.approx(whole, rel=1e-4)


def test_every_window_and_its_inside_are_trained(teacher):
    task = distill_task(teacher, num_steps=4, within_p=0.3)
    windows, shares = task._draw_windows(0, range(400))
    counts = torch.bincount(windows, minlength=4)
    assert (counts > 70).all()
    assert (shares > 0).float().mean().item() == pytest.approx(0.3, abs=0.08)
    assert shares.max() < 1
    again, _ = task._draw_windows(1, range(400))
    assert not torch.equal(windows, again)


def test_the_student_comes_closer_to_its_teacher(teacher, tmp_path):
    loop = LoopConfig(
        steps=60,
        validate_every=60,
        save_every=60,
        ema_decay=0.9,
        optimizer=OptimizerConfig(learning_rate=3e-3, muon_learning_rate=5e-3, warmup_steps=5),
    )
    training = dataclasses.replace(CONFIG, batch_size=12, image_p=0.0, loop=loop)
    task = distill_task(teacher, training=training, num_steps=2, teacher_steps=4, guidance_scale=3.0)
    before = task.validate()[TEACHER_DISTANCE]
    weights = {name: value.clone() for name, value in task.teacher.state_dict().items()}
    scores = [report.scores for report in train(task, loop, tmp_path, settings={})][-1]
    assert scores[f"ema/{TEACHER_DISTANCE}"] < 0.5 * before
    assert all(value.equal(task.teacher.state_dict()[name]) for name, value in weights.items())


def test_the_better_checkpoint_is_closer_to_the_teacher(teacher):
    task = distill_task(teacher)
    assert task.is_better({TEACHER_DISTANCE: 0.1}, {TEACHER_DISTANCE: 0.2})
    assert not task.is_better(
        {TEACHER_DISTANCE: 0.1, LAB_SCORE: 0.2}, {TEACHER_DISTANCE: 0.2, LAB_SCORE: 0.9}
    )


def test_the_cost_is_that_of_the_students_batch(teacher):
    task = distill_task(teacher)
    for step in range(8):
        base = super(DistillTask, task).step_cost(task._pick_batch(step))
        assert task.step_cost(step) == base


def test_impossible_settings_are_refused():
    for settings in ({"num_steps": 0}, {"teacher_steps": 0}, {"within_p": 1.5}, {"num_batches": 0}):
        with pytest.raises(UserError):
            DistillConfig(**settings)
    assert DistillConfig(num_steps=2).sigmas == (1.0, 0.5, 0.0)
