"""Transformer training: captions, microbatches, shapes, windows, precision, choice of checkpoints."""

import dataclasses
import math

import pytest
import torch

from kinema.data import rng
from kinema.data.latent_cache import LatentDataset
from kinema.errors import UserError
from kinema.models.transformer.dit_config import small
from kinema.training import checkpoint
from kinema.training.dit_task import CAPTION_LOSS_RATIO, LAB_SCORE, WHOLE_SCORE, DitTask, DitTrainConfig
from kinema.training.loop import LoopConfig, train
from kinema.training.optimizer import OptimizerConfig
from kinema.training.sigma_sampling import VALIDATION_SIGMAS, SigmaSamplingConfig
from tests.fixtures.training_data import TEXT_EMBEDDINGS, perturb, random_latents

CPU = torch.device("cpu")
DATASETS = [random_latents(12, 3, 4, 4), random_latents(8, 2, 4, 8, seed=1)]
MODEL = small(width=64, layers=1, channels=4, grid=(2, 2))


def dit_config(**changes):
    base = DitTrainConfig(batch_size=6, image_p=0.2, precision="float32", model=MODEL)
    return dataclasses.replace(base, **changes)


def dit_task(**changes):
    return DitTask(dit_config(**changes), DATASETS, [one.subset(0, 4) for one in DATASETS], CPU)


def two_direction_dataset(count=32):
    """Latents whose sign is determined by the caption."""
    signs = torch.tensor([1.0 if i % 2 else -1.0 for i in range(count)])
    noise = torch.randn(count, 4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    return LatentDataset(
        latents=signs.view(-1, 1, 1, 1, 1) + 0.3 * noise,
        captions=tuple((i % 2,) for i in range(count)),
        text_embeddings=TEXT_EMBEDDINGS,
    )


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
def test_transformer_learns_to_follow_captions(tmp_path, prediction):
    dataset = two_direction_dataset()
    config = DitTrainConfig(
        batch_size=16,
        model=dataclasses.replace(MODEL, prediction=prediction),
        loop=LoopConfig(
            steps=60,
            validate_every=60,
            save_every=60,
            ema_decay=0.9,
            optimizer=OptimizerConfig(learning_rate=3e-3, muon_learning_rate=1e-2, warmup_steps=5),
        ),
    )
    # The wrong caption of a held-out video is that of the video half the dataset away: 9 of 18, the other
    # sign.
    task = DitTask(config, [dataset], [dataset.subset(0, 18)], CPU)
    before = task.validate()
    assert before[CAPTION_LOSS_RATIO] == pytest.approx(1.0, abs=1e-3)
    # A newly initialised model predicts zero: its loss is the power of noise - x0, or of x0 / sigma.
    power = dataset.latents[:18].square().mean().item()
    if prediction == "velocity":
        power += 1
    else:
        power *= sum(sigma**-2 for sigma in VALIDATION_SIGMAS) / len(VALIDATION_SIGMAS)
    assert before["loss_right"] == pytest.approx(power, rel=0.05)
    scores = [report.scores for report in train(task, config.loop, tmp_path, settings={})][-1]
    assert scores[f"ema/{CAPTION_LOSS_RATIO}"] < 0.75
    assert scores["ema/loss_right"] < before["loss_right"]
    assert math.isfinite(scores["ema/loss_empty"])


@pytest.mark.parametrize("rng_scope", ["sample", "step"])
def test_microbatches_add_up_for_every_shape(rng_scope):
    task = perturb(dit_task(rng_scope=rng_scope))
    shapes = set()
    for step in range(14):
        bucket = task.buckets.at(step).bucket
        shapes.add((bucket.dataset_index, bucket.latent_frames))
        whole = task.loss(step, 0, 1).value.item()
        parts = sum(task.loss(step, part, 3).value.item() for part in range(3))
        assert parts == pytest.approx(whole, rel=1e-5)
    assert len(shapes) >= 3


@pytest.mark.parametrize("rng_scope", ["sample", "step"])
def test_a_run_on_several_shapes_resumes_exactly(tmp_path, rng_scope):
    config = dit_config(rng_scope=rng_scope, loop=LoopConfig(steps=8, validate_every=8, save_every=3))

    def run(folder, should_stop=lambda: False):
        task = DitTask(config, DATASETS, [one.subset(0, 4) for one in DATASETS], CPU)
        reports = train(task, config.loop, folder, settings={}, should_stop=should_stop)
        return [report.loss for report in reports], task

    whole, task = run(tmp_path / "whole")
    stops = iter([False, False, False, False, True])
    first, _ = run(tmp_path / "interrupted", lambda: next(stops))
    second, resumed = run(tmp_path / "interrupted")
    assert first + second == whole
    for name, value in task.dit.state_dict().items():
        assert value.equal(resumed.dit.state_dict()[name])


def test_padding_of_text_does_not_change_the_velocity():
    task = perturb(dit_task())
    rows = [0, 1, 2]
    tight, padded = task.text_table.batch(rows), task.text_table.batch(rows, pad_to_multiple=16)
    clean = DATASETS[0].latents[:3]
    sigmas = torch.full((3, clean.shape[2]), 0.5)
    first, second = (task.dit(clean, sigmas, task.dit.context(text)) for text in (tight, padded))
    assert (first - second).abs().max() < 1e-5


def test_validation_reports_the_loss_of_every_shape():
    assert {"loss_right", CAPTION_LOSS_RATIO, "loss_2x4x8"} <= dit_task().validate().keys()


def test_bfloat16_is_close_and_keeps_float32_weights():
    full, half = perturb(dit_task()), perturb(dit_task(precision="bfloat16"))
    for step in range(4):
        loss = half.loss(step, 0, 1).value
        expected = full.loss(step, 0, 1).value.item()
        assert loss.dtype is torch.float32
        assert loss.item() == pytest.approx(expected, rel=2e-2)
        assert loss.item() != expected
    loss.backward()
    assert {p.dtype for p in half.dit.parameters()} == {torch.float32}
    assert all(p.grad.dtype is torch.float32 for p in half.dit.parameters() if p.grad is not None)


def test_clean_prefix_frames_are_not_in_the_loss():
    dataset = two_direction_dataset()
    sigma_sampling = SigmaSamplingConfig(diffusion_forcing_p=0.0, prefix_p=1.0, suffix_p=0.0)
    config = DitTrainConfig(batch_size=8, causal_p=0.0, model=MODEL, sigma_sampling=sigma_sampling)
    first = DitTask(config, [dataset], [dataset], CPU).loss(0, 0, 1).value.item()
    # The first latent frame is clean in every sample. Changing it changes only the input of the model, and
    # a newly initialised model ignores its input.
    other = dataclasses.replace(dataset, latents=dataset.latents.clone())
    other.latents[:, :, 0] += 100.0
    changed = DitTask(config, [other], [other], CPU).loss(0, 0, 1).value.item()
    assert changed == pytest.approx(first, rel=1e-5)


@pytest.mark.parametrize("bound", [2.0, 5.0])
def test_the_weight_of_the_predicted_sample_is_bounded(bound):
    """A new model predicts zero, so with latents of 1 the loss of a frame is the weight itself."""
    dataset = LatentDataset(
        latents=torch.ones(12, 4, 3, 4, 4), captions=((0,),) * 12, text_embeddings=TEXT_EMBEDDINGS
    )
    config = dit_config(
        batch_size=12, max_sample_weight=bound, model=dataclasses.replace(MODEL, prediction="sample")
    )
    task = DitTask(config, [dataset], [dataset.subset(0, 4)], CPU)
    step = next(step for step in range(9) if task.buckets.at(step).bucket.latent_frames == 3)
    sigmas = task._load_microbatch(step, 0, 1).samples.sigmas
    scored = sigmas[sigmas > 0]
    assert scored.min() < bound**-0.5 < scored.max()
    expected = scored.square().reciprocal().clamp(max=bound).mean().item()
    assert task.loss(step, 0, 1).value.item() == pytest.approx(expected, rel=1e-4)


def test_captions_are_drawn_with_the_given_shares():
    """Every video has the captions 0, 1, 2, 3 of which the third is the longest."""
    embeddings = tuple(torch.randn(length, TEXT_EMBEDDINGS[0].shape[1]) for length in (3, 2, 9, 4, 1))
    dataset = dataclasses.replace(DATASETS[0], captions=((0, 1, 2, 3),) * 12, text_embeddings=embeddings)
    config = dit_config(
        batch_size=12, image_p=0.0, caption_dropout=0.2, plain_caption_p=0.3, detailed_caption_p=0.5
    )
    task = DitTask(config, [dataset], [dataset.subset(0, 4)], CPU)
    rows = torch.tensor([task._load_microbatch(step, 0, 1).samples.caption_rows for step in range(300)])
    shares = torch.bincount(rows.flatten(), minlength=5) / rows.numel()
    rest = 0.8 * 0.2 / 4
    expected = [0.8 * 0.3 + rest, rest, 0.8 * 0.5 + rest, rest, 0.2]
    assert shares.tolist() == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("shares", [(0.6, 0.5), (-0.1, 0.5), (0.2, -0.5)])
def test_shares_of_captions_beyond_one_are_refused(shares):
    with pytest.raises(UserError, match="together at most 1"):
        dit_config(plain_caption_p=shares[0], detailed_caption_p=shares[1])


def test_a_weight_of_nothing_is_refused():
    with pytest.raises(UserError, match="max_sample_weight is 0 and must be above 0"):
        dit_config(max_sample_weight=0.0)


def test_windows_are_trained_with_clean_prefixes():
    config = DitTrainConfig(batch_size=4, precision="float32", model=MODEL)
    datasets = [random_latents(12), random_latents(12, seed=1, starts_midclip=True)]
    task = DitTask(config, datasets, [one.subset(0, 4) for one in datasets], CPU)
    has_clean_frames = {False: [], True: []}
    for step in range(40):
        batch = task.buckets.at(step)
        sigmas = task._sample_step(step, batch, 0, 1, 4).sigmas
        has_clean_frames[batch.bucket.dataset_index == 1].append((sigmas == 0).any(1))
    assert torch.cat(has_clean_frames[True]).all()
    assert torch.cat(has_clean_frames[False]).float().mean() < 0.5
    scores = task.validate()
    assert "loss_3x4x4_midclip" in scores
    assert "loss_3x4x4" not in scores


def test_validation_loss_of_windows_excludes_the_prefix():
    config = DitTrainConfig(precision="float32", model=MODEL)
    dataset = random_latents(4, seed=1, starts_midclip=True)
    task = DitTask(config, [dataset], [dataset], CPU)
    # A newly initialised model predicts zero, so its error is the mean square of noise - latents.
    noise = torch.stack([rng.normal((4, 3, 4, 4), 0, "held out", i) for i in range(4)])
    expected = (noise - dataset.latents)[:, :, 2:].square().mean().item()
    assert task.validate()["loss_right"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("score", [LAB_SCORE, WHOLE_SCORE])
@pytest.mark.parametrize(
    ("value", "ratio", "better"),
    [
        (0.85, 0.9, True),
        (0.55, 0.4, False),
        # Differences of the score within chance leave the decision to the ratio.
        (0.65, 0.4, True),
        (0.75, 0.6, False),
    ],
)
def test_the_evaluators_score_takes_precedence_over_caption_loss_ratio(score, value, ratio, better):
    task = dit_task()
    best = {score: 0.7, CAPTION_LOSS_RATIO: 0.5}
    assert task.is_better({score: value, CAPTION_LOSS_RATIO: ratio}, best) is better
    assert task.is_better({CAPTION_LOSS_RATIO: 0.4}, {CAPTION_LOSS_RATIO: 0.5})


def test_validation_callback_scores_select_the_best_checkpoint(tmp_path):
    config = dit_config(loop=LoopConfig(steps=6, validate_every=2, save_every=2))
    lab_scores = iter([0.2, 0.9, 0.4])
    task = DitTask(config, DATASETS, [DATASETS[0].subset(0, 4)], CPU)
    reports = list(
        train(
            task,
            config.loop,
            tmp_path,
            settings={},
            validation_callback=lambda step: {LAB_SCORE: next(lab_scores)},
        )
    )
    assert reports[3].scores[f"ema/{LAB_SCORE}"] == 0.9
    assert checkpoint.load(tmp_path).state["best"] == 4
    assert 4 in checkpoint.list_steps(tmp_path)


def test_block_weights_are_transplanted_and_latent_layers_reinitialised():
    source = perturb(dit_task()).dit.state_dict()
    model = dataclasses.replace(MODEL, in_channels=8, out_channels=8)
    doubled = [dataclasses.replace(one, latents=one.latents.repeat(1, 2, 1, 1, 1)) for one in DATASETS]
    target = DitTask(dit_config(model=model), doubled, doubled, CPU, block_weights=source).dit.state_dict()
    for name, value in target.items():
        assert name.startswith(("patch_embedding.", "proj_out.")) or value.equal(source[name]), name
    assert not target["proj_out.weight"].any()
    deeper = dit_config(model=dataclasses.replace(MODEL, layers=2))
    with pytest.raises(UserError, match="same width and depth"):
        DitTask(deeper, DATASETS, DATASETS, CPU, block_weights=source)
