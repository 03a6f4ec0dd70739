"""The transformer's training on films of several shapes, drawn in batches, in bfloat16, and looked at."""

import dataclasses
import json
import time

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.data import rng
from kinema.data.cropping import DeviceVideoCache, to_model_input
from kinema.data.dataset import InMemoryVideos
from kinema.data.latent_cache import LatentDataset, TextEmbeddingTable
from kinema.errors import UserError
from kinema.models.transformer.dit_config import small
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.training.dit_task import FACTS_SCORE, DitTask, DitTrainConfig
from kinema.training.loop import LoopConfig, StepCost, train
from kinema.training.sigma_sampling import SigmaSamplingConfig, sample_sigmas_batched
from kinema.training.stages import RunContext
from kinema.training.step_budget import fit_steps_to_budget
from kinema.training.vae_task import VaeTask, VaeTrainConfig
from kinema.training.validation_samples import SampleConfig, reconstruction_callback, sample_callback
from tests.fixtures.toy_training import ToyTask

CPU = torch.device("cpu")
STATES = (torch.eye(384)[:3], torch.eye(384)[3:5], torch.eye(384)[9:10])


def make_latent_dataset(count, frames, height, width, seed=0):
    latents = torch.randn(count, 4, frames, height, width, generator=torch.Generator().manual_seed(seed))
    return LatentDataset(latents=latents, captions=((0, 1), (1,)) * (count // 2), text_embeddings=STATES)


GROUPS = [make_latent_dataset(12, 3, 4, 4), make_latent_dataset(8, 2, 4, 8, seed=1)]


def dit_train_config(**changes):
    model = small(width=64, layers=1, channels=4, grid=(2, 2))
    return dataclasses.replace(
        DitTrainConfig(batch_size=6, image_p=0.2, precision="float32", model=model), **changes
    )


def moved(task):
    """The same weights, but none of them zero: a fresh model predicts nothing."""
    with torch.no_grad():
        for number, parameter in enumerate(task.dit.parameters()):
            parameter.add_(0.05 * rng.normal(tuple(parameter.shape), "moved", number))
    return task


@pytest.mark.parametrize("draws", ["sample", "step"])
def test_microbatches_add_up_for_every_shape(draws):
    task = moved(DitTask(dit_train_config(draws=draws), GROUPS, GROUPS, CPU))
    shapes = set()
    for step in range(14):
        bucket = task.buckets.at(step).bucket
        shapes.add((bucket.group, bucket.frames))
        whole = task.loss(step, 0, 1).value.item()
        parts = sum(task.loss(step, part, 3).value.item() for part in range(3))
        assert parts == pytest.approx(whole, rel=1e-5)
    assert len(shapes) >= 3


def test_states_padded_to_a_multiple_change_nothing():
    task = moved(DitTask(dit_train_config(), GROUPS, GROUPS, CPU))
    table, rows = task.states, [0, 1, 2]
    tight, loose = table.batch(rows), table.batch(rows, multiple=16)
    assert loose.states.shape[1] == 16
    assert loose.lengths.equal(tight.lengths)
    clean = GROUPS[0].latents[:3]
    times = torch.full((3, clean.shape[2]), 0.5)
    ours, theirs = (task.dit(clean, times, task.dit.context(text)) for text in (tight, loose))
    assert (ours - theirs).abs().max() < 1e-5


class TwoCostTask(ToyTask):
    """A task in which every third step is ten times the work of the others, and takes as long."""

    def step_cost(self, step):
        return StepCost(samples=1, flops=10.0 if step % 3 == 0 else 1.0)

    def loss(self, step, microbatch, num_microbatches):
        time.sleep(0.003 * self.step_cost(step).flops)
        return super().loss(step, microbatch, num_microbatches)


def test_step_budget_accounts_for_expensive_steps(tmp_path):
    bench = RunContext(run_dir=tmp_path, device=CPU, load_text_encoder=lambda: None)
    loop = fit_steps_to_budget(bench, "steps.json", TwoCostTask(), LoopConfig(), 60.0, num_validations=4)
    # 4 operations a step on average, of at least 3 ms: 12 ms and the margin.
    each = json.loads((tmp_path / "steps.json").read_text())["seconds_per_step"]
    assert each >= 0.012
    assert loop.steps == int(60.0 / each)
    assert loop.validate_every == loop.steps // 4


@pytest.mark.parametrize("draws", ["sample", "step"])
def test_a_run_on_several_shapes_resumes_exactly(tmp_path, draws):
    config = dit_train_config(draws=draws, loop=LoopConfig(steps=8, validate_every=8, save_every=3))

    def run(folder, stop=lambda: False):
        task = DitTask(config, GROUPS, [each.subset(0, 4) for each in GROUPS], CPU)
        return [r.loss for r in train(task, config.loop, folder, settings={}, should_stop=stop)], task

    whole, task = run(tmp_path / "whole")
    asked = iter([False, False, False, False, True])
    first, _ = run(tmp_path / "cut", lambda: next(asked))
    second, again = run(tmp_path / "cut")
    assert first + second == whole
    for name, value in task.dit.state_dict().items():
        assert value.equal(again.dit.state_dict()[name])


def test_validation_reports_the_loss_of_every_shape():
    task = DitTask(dit_train_config(), GROUPS, [each.subset(0, 4) for each in GROUPS], CPU)
    scores = task.validate()
    assert {"loss_right", "right_over_wrong", "loss_2x4x8"} <= scores.keys()


def test_batched_sigmas_have_the_same_distribution():
    config = SigmaSamplingConfig(
        logit_mean=1.2, low_logit_mean=0.0, low_p=0.3, diffusion_forcing_p=0.2, prefix_p=0.1, suffix_p=0.2
    )
    drawn = sample_sigmas_batched(config, 6000, 5, rng.generator(1))
    reached = drawn[:, -1] == 0
    assert reached.float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert (drawn[reached][:, 0] == 0).float().mean().item() == pytest.approx(1 / 3, abs=0.05)
    drawn = drawn[~reached]
    assert drawn.shape == (len(drawn), 5)
    assert ((drawn >= 0) & (drawn < 1)).all()
    given = drawn[:, 0] == 0
    level = drawn.max(1).values == drawn.min(1).values
    assert given.float().mean().item() == pytest.approx(0.1 / 0.8, abs=0.02)
    assert (~given & ~level).float().mean().item() == pytest.approx(0.2 / 0.8, abs=0.02)
    assert (drawn[given] > 0).any(1).all()
    logits = torch.logit(drawn[level][:, 0])
    assert logits.mean().item() == pytest.approx(0.84, abs=0.06)
    assert logits.var().item() == pytest.approx(1 + 0.21 * 1.2**2, abs=0.1)


def test_bfloat16_is_close_and_keeps_float32_weights():
    full = moved(DitTask(dit_train_config(), GROUPS, GROUPS, CPU))
    half = moved(DitTask(dit_train_config(precision="bfloat16"), GROUPS, GROUPS, CPU))
    for step in range(4):
        loss = half.loss(step, 0, 1).value
        assert loss.dtype is torch.float32
        assert loss.item() == pytest.approx(full.loss(step, 0, 1).value.item(), rel=2e-2)
        assert loss.item() != full.loss(step, 0, 1).value.item()
    loss.backward()
    assert {p.dtype for p in half.dit.parameters()} == {torch.float32}
    assert all(p.grad.dtype is torch.float32 for p in half.dit.parameters() if p.grad is not None)


def moving_squares(count=6, side=32, frames=5):
    pixels = np.full((count, frames, side, side, 3), 128, np.uint8)
    for clip in range(count):
        pixels[clip, :, 10:18, 4 + clip : 12 + clip] = (220, 30, 30)
    return InMemoryVideos(pixels=pixels, texts=(("a square",),) * count)


def test_device_crops_are_parts_of_their_videos_and_show_objects():
    films = moving_squares()
    resident = DeviceVideoCache.from_dataset(films, CPU, seed=0)
    assert resident.full_videos([2, 5]).equal(to_model_input(films.pixels[[2, 5]], CPU))
    chosen = [0, 3, 5, 1] * 8
    picks = torch.rand(32, 4, generator=rng.generator(0))
    crops = resident.crops(chosen, picks, 16, 1.0)
    for index, crop in zip(chosen, crops, strict=True):
        film = to_model_input(films.pixels[[index]], CPU)[0]
        places = [(y, x) for y in range(17) for x in range(17)]
        assert any(film[:, :, y : y + 16, x : x + 16].equal(crop) for y, x in places)
    assert (crops.std(dim=(1, 2, 3, 4)) > 0.05).float().mean() > 0.9


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_autoencoder_trains_on_device_cache_in_microbatches(precision):
    films = moving_squares()
    config = VaeTrainConfig(
        batch_size=4,
        crop_size=16,
        model=VaeConfig.tiny(patchified=True),
        cache_on_device=True,
        precision=precision,
    )
    task = VaeTask(config, films, films, CPU)
    for step in (0, 1):
        whole = task.loss(step, 0, 1)
        parts = [task.loss(step, part, 2).value.item() for part in range(2)]
        assert sum(parts) == pytest.approx(whole.value.item(), rel=1e-2 if precision == "bfloat16" else 1e-5)
        whole.value.backward()
        assert task.step_cost(step).flops > 0


def test_sample_callback_is_deterministic_and_returns_scores(tmp_path):
    task = moved(DitTask(dit_train_config(), GROUPS, GROUPS, CPU))
    vae = VideoVae(VaeConfig.tiny(patchified=True)).eval()
    states = TextEmbeddingTable(STATES, CPU)
    seen = []

    def scorer(videos):
        seen.append(videos)
        return {FACTS_SCORE: 0.5}

    config = SampleConfig(num_samples=2, num_inference_steps=2, batch_size=1)
    prompts = [("one", 0), ("two", 1)]
    look = sample_callback(task.dit, vae, states, prompts, task.shape(0), config, tmp_path, scorer=scorer)
    assert look(10) == look(20) == {FACTS_SCORE: 0.5}
    assert [film.prompt for film in seen[0]] == ["one", "two"]
    for before, after in zip(*seen, strict=True):
        assert np.array_equal(before.frames, after.frames)
    sheets = sorted(tmp_path.glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["step-00000010.png", "step-00000020.png"]
    assert sheets[0].read_bytes() == sheets[1].read_bytes()
    # In one batch or one by one, a film is the same up to rounding.
    together = dataclasses.replace(config, batch_size=2)
    sample_callback(task.dit, vae, states, prompts, task.shape(0), together, tmp_path, scorer=scorer)(30)
    for alone, beside in zip(seen[0], seen[2], strict=True):
        assert np.abs(alone.frames.astype(int) - beside.frames).max() <= 1


def test_reconstructions_are_shown_below_the_videos(tmp_path):
    vae = VideoVae(VaeConfig.tiny(patchified=True)).eval()
    with torch.no_grad():
        assert reconstruction_callback(vae, moving_squares(2), tmp_path)(5) == {}
    with Image.open(tmp_path / "step-00000005.png") as sheet:
        assert sheet.size[1] > 4 * 96


def test_facts_score_takes_precedence_over_caption_loss_ratio():
    task = DitTask(dit_train_config(), GROUPS, GROUPS, CPU)
    assert task.is_better(
        {FACTS_SCORE: 0.85, "right_over_wrong": 0.9}, {FACTS_SCORE: 0.7, "right_over_wrong": 0.5}
    )
    assert not task.is_better(
        {FACTS_SCORE: 0.55, "right_over_wrong": 0.4}, {FACTS_SCORE: 0.7, "right_over_wrong": 0.5}
    )
    # Two dozen films tell no smaller differences.
    assert task.is_better(
        {FACTS_SCORE: 0.65, "right_over_wrong": 0.4}, {FACTS_SCORE: 0.7, "right_over_wrong": 0.5}
    )
    assert not task.is_better(
        {FACTS_SCORE: 0.75, "right_over_wrong": 0.6}, {FACTS_SCORE: 0.7, "right_over_wrong": 0.5}
    )
    assert task.is_better({"right_over_wrong": 0.4}, {"right_over_wrong": 0.5})


def test_validation_callback_scores_select_the_best_checkpoint(tmp_path):
    config = dit_train_config(loop=LoopConfig(steps=6, validate_every=2, save_every=2))
    facts = iter([0.2, 0.9, 0.4])
    task = DitTask(config, GROUPS, [GROUPS[0].subset(0, 4)], CPU)
    reports = list(
        train(
            task,
            config.loop,
            tmp_path,
            settings={},
            validation_callback=lambda step: {FACTS_SCORE: next(facts)},
        )
    )
    assert reports[3].scores["ema/facts_right"] == 0.9
    from kinema.training import checkpoint

    assert checkpoint.load(tmp_path).state["best"] == 4
    assert 4 in checkpoint.list_steps(tmp_path)


def test_block_weights_are_transplanted_and_latent_layers_reinitialised():
    first = moved(DitTask(dit_train_config(), GROUPS, GROUPS, CPU)).dit.state_dict()
    narrow = dataclasses.replace(dit_train_config().model, in_channels=8, out_channels=8)
    wide = [dataclasses.replace(one, latents=one.latents.repeat(1, 2, 1, 1, 1)) for one in GROUPS]
    second = DitTask(dit_train_config(model=narrow), wide, wide, CPU, block_weights=first).dit.state_dict()
    for name, value in second.items():
        touches = name.startswith(("patch_embedding.", "proj_out."))
        assert touches or value.equal(first[name]), name
    assert not second["proj_out.weight"].any()
    deeper = dataclasses.replace(dit_train_config().model, layers=2)
    with pytest.raises(UserError, match="same width and depth"):
        DitTask(dit_train_config(model=deeper), GROUPS, GROUPS, CPU, block_weights=first)
