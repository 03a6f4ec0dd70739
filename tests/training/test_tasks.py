"""The two tasks: what they draw, what they learn, and that nothing depends on how a step is split."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.data import rng
from kinema.data.cropping import random_crop
from kinema.data.dataset import InMemoryVideos
from kinema.data.latent_cache import LatentDataset, encode_captions, encode_videos
from kinema.models.transformer.dit_config import small
from kinema.models.vae.vae_config import VaeConfig
from kinema.training.dit_task import DitTask, DitTrainConfig, SigmaSamplingConfig, sample_sigmas
from kinema.training.loop import LoopConfig, train
from kinema.training.optimizer import OptimizerConfig
from kinema.training.sigma_sampling import SINGLE_FRAME_PREFIX_SHARE
from kinema.training.vae_task import VaeTask, VaeTrainConfig, latent_statistics
from tests.fixtures.toy_training import LetterTextEncoder

CPU = torch.device("cpu")


def moving_squares(count=6, side=32, frames=5):
    """Coloured squares that move over grey, captioned by the way they go."""
    pixels = np.full((count, frames, side, side, 3), 128, np.uint8)
    texts = []
    for clip in range(count):
        step = 2 if clip % 2 else -2
        for frame in range(frames):
            x = side // 2 - 4 + step * frame
            pixels[clip, frame, 10:18, x : x + 8] = (220, 30, 30) if clip % 3 else (20, 60, 220)
        texts.append((f"moves {'right' if step > 0 else 'left'}", "a square"))
    return InMemoryVideos(pixels=pixels, texts=tuple(texts))


def vae_training(**changes):
    return dataclasses.replace(
        VaeTrainConfig(
            batch_size=4, crop_size=16, precision="float32", model=VaeConfig.tiny(patchified=True)
        ),
        **changes,
    )


def test_the_autoencoder_learns(tmp_path):
    films = moving_squares()
    config = vae_training(loop=LoopConfig(steps=60, validate_every=60, save_every=60, ema_decay=0.9))
    task = VaeTask(config, films, films, CPU)
    before = task.validate()
    scores = [report.scores for report in train(task, config.loop, tmp_path, settings={})][-1]
    assert scores["ema/psnr"] > before["psnr"] + 3
    assert task.is_better({"objects_psnr": 2.0}, {"objects_psnr": 1.0})
    assert not task.is_better({"objects_psnr": 1.0}, {"objects_psnr": 1.0})


@pytest.mark.parametrize("step", [0, 1])
def test_microbatches_add_up_to_the_step(step):
    films = moving_squares()
    task = VaeTask(vae_training(), films, films, CPU)
    whole = task.loss(step, 0, 1).value.item()
    parts = [task.loss(step, part, 2).value.item() for part in range(2)]
    # L1 and the others are means over equal shares, so the parts add up to the whole.
    assert sum(parts) == pytest.approx(whole, rel=1e-5)


@given(
    side=st.sampled_from([16, 24]),
    near=st.floats(0, 1),
    seed=st.integers(0, 10**6),
)
def test_crops_lie_inside_and_follow_objects(side, near, seed):
    frames = moving_squares().frames(1)
    crop = random_crop(frames, side, near, np.random.default_rng(seed))
    assert crop.shape == (5, side, side, 3)
    positions = [
        (y, x)
        for y in range(33 - side)
        for x in range(33 - side)
        if np.array_equal(frames[:, y : y + side, x : x + side], crop)
    ]
    assert positions


def test_object_crops_show_objects():
    frames = moving_squares().frames(1)
    seen = [random_crop(frames, 16, 1.0, np.random.default_rng(seed)).std() > 20 for seed in range(60)]
    assert np.mean(seen) > 0.9


def test_half_of_object_crops_are_on_moving_pixels():
    frames = np.full((5, 96, 96, 3), 128, np.uint8)
    frames[:, 4:44, 4:44] = (30, 30, 220)  # large and still, where most pixels that stand out are
    for number, frame in enumerate(frames):
        frame[80:84, 70 + 3 * number : 74 + 3 * number] = (220, 30, 30)
    draws = [random_crop(frames, 16, 1.0, np.random.default_rng(seed)) for seed in range(200)]
    changing = np.mean([(crop[0] != crop[-1]).any() or (crop[0] != crop[2]).any() for crop in draws])
    assert 0.4 < changing < 0.65


def test_latents_in_bfloat16_are_those_of_float32_but_for_rounding():
    films = moving_squares()
    vae = VaeTask(vae_training(), films, films, CPU).vae.eval()
    exact, rounded = (
        torch.cat([batch for _, batch in encode_videos(vae, films, CPU, precision=precision)])
        for precision in ("float32", "bfloat16")
    )
    assert rounded.dtype is torch.float32
    assert not rounded.equal(exact)
    assert (rounded - exact).norm() < 0.02 * exact.norm()


def test_latent_statistics_normalise():
    films = moving_squares()
    vae = VaeTask(vae_training(), films, films, CPU).vae.eval()
    mean, std = latent_statistics(vae, films, CPU)
    normalised = vae.with_latent_statistics(mean, std)
    latents = torch.cat(
        [batch for _, batch in encode_videos(normalised, films, CPU, batch_size=4, precision="float32")]
    )
    assert latents.shape[0] == len(films)
    assert latents.mean((0, 2, 3, 4)).abs().max() < 1e-4
    assert (latents.std((0, 2, 3, 4)) - 1).abs().max() < 1e-3


@given(seed=st.integers(0, 10**6), frames=st.integers(1, 9))
def test_sampled_sigmas_are_in_range(seed, frames):
    config = SigmaSamplingConfig(diffusion_forcing_p=0.3, prefix_p=0.3, suffix_p=0.3)
    times = sample_sigmas(config, frames, rng.generator(seed))
    assert times.shape == (frames,)
    assert ((times >= 0) & (times < 1)).all()
    # Given frames stand at the ends, and at least one frame is scored.
    free = [frame for frame in range(frames) if times[frame] > 0]
    assert free == list(range(free[0], free[-1] + 1))


def test_single_frame_prefix_draws_no_extra_random_numbers():
    """What is drawn behind the levels (noise, captions) stays what it was in runs that go on."""
    config = SigmaSamplingConfig(diffusion_forcing_p=0.0, prefix_p=1.0, suffix_p=0.0, low_p=0.0)
    alone = 0
    for seed in range(40):
        place, again = rng.generator(seed), rng.generator(seed)
        times = sample_sigmas(config, 5, place)
        if (times == 0).sum() == 1 and torch.rand(2, generator=again)[1] < SINGLE_FRAME_PREFIX_SHARE:
            torch.randn(1, generator=again)
            assert torch.rand(1, generator=place) == torch.rand(1, generator=again)
            alone += 1
    assert alone > 5


def test_sampled_sigmas_follow_their_probabilities():
    config = SigmaSamplingConfig(
        logit_mean=1.2, low_logit_mean=0.0, low_p=0.3, diffusion_forcing_p=0.2, prefix_p=0.1, suffix_p=0.1
    )
    drawn = torch.stack([sample_sigmas(config, 5, rng.generator(1, i)) for i in range(4000)])
    reached = drawn[:, -1] == 0
    assert reached.float().mean().item() == pytest.approx(0.1, abs=0.015)
    counts = {(int((row[:3] == 0).sum()), int((row[3:] == 0).sum())) for row in drawn[reached]}
    assert counts == {(first, last) for first in range(3) for last in (1, 2)}
    drawn = drawn[~reached]
    given_share = (drawn[:, 0] == 0).float().mean().item()
    forced = ((drawn[:, 0] > 0) & (drawn.max(1).values != drawn.min(1).values)).float().mean().item()
    assert given_share == pytest.approx(0.1 / 0.9, abs=0.015)
    assert forced == pytest.approx(0.2 / 0.9, abs=0.02)
    plain = drawn[(drawn.max(1).values == drawn.min(1).values)][:, 0]
    logits = torch.logit(plain)
    # A mixture of N(1.2, 1) and N(0, 1) with shares 0.7 and 0.3.
    assert logits.mean().item() == pytest.approx(0.84, abs=0.06)
    assert logits.var().item() == pytest.approx(1 + 0.21 * 1.2**2, abs=0.1)


def test_captions_are_encoded_once_each():
    films = moving_squares()
    texts, states = encode_captions(LetterTextEncoder(), [films], CPU, batch_size=2)
    assert texts[-1] == ""
    assert len(states[-1]) == 1
    assert sorted(texts[:-1]) == ["a square", "moves left", "moves right"]
    for text, state in zip(texts, states, strict=True):
        assert state.float().equal(LetterTextEncoder().encode([text]).states[0])


def two_direction_dataset(count=32):
    """Latents whose sign is what the caption says."""
    signs = torch.tensor([1.0 if i % 2 else -1.0 for i in range(count)])
    noise = torch.randn(count, 4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    return LatentDataset(
        latents=signs.view(-1, 1, 1, 1, 1) + 0.3 * noise,
        captions=tuple((i % 2,) for i in range(count)),
        text_embeddings=(torch.eye(384)[:3], torch.eye(384)[3:5], torch.eye(384)[9:10]),
    )


def test_transformer_learns_to_follow_captions(tmp_path):
    films = two_direction_dataset()
    config = DitTrainConfig(
        batch_size=16,
        model=small(width=64, layers=1, channels=4, grid=(2, 2)),
        loop=LoopConfig(
            steps=60,
            validate_every=60,
            save_every=60,
            ema_decay=0.9,
            optimizer=OptimizerConfig(learning_rate=3e-3, muon_learning_rate=1e-2, warmup_steps=5),
        ),
    )
    task = DitTask(config, [films], [films.subset(0, 18)], CPU)  # wrong captions come from half-way round
    before = task.validate()
    assert before["right_over_wrong"] == pytest.approx(1.0, abs=1e-3)
    # A fresh model predicts zero: its loss is the power of noise − x₀.
    power = 1 + films.latents[:18].square().mean().item()
    assert before["loss_right"] == pytest.approx(power, rel=0.05)
    scores = [report.scores for report in train(task, config.loop, tmp_path, settings={})][-1]
    assert scores["ema/right_over_wrong"] < 0.75
    assert scores["ema/loss_right"] < before["loss_right"]
    assert math.isfinite(scores["ema/loss_empty"])


def test_clean_prefix_frames_are_not_in_the_loss():
    films = two_direction_dataset()
    config = DitTrainConfig(
        batch_size=8, causal_p=0.0, model=small(width=64, layers=1, channels=4, grid=(2, 2))
    )
    task = DitTask(
        dataclasses.replace(
            config, sigma_sampling=SigmaSamplingConfig(diffusion_forcing_p=0.0, prefix_p=1.0, suffix_p=0.0)
        ),
        [films],
        [films],
        CPU,
    )
    first = task.loss(0, 0, 1).value.item()
    # The first latent frame is given in every sample: breaking the velocity's target there changes nothing
    # but what the model reads, and a fresh model reads nothing.
    other = dataclasses.replace(films, latents=films.latents.clone())
    other.latents[:, :, 0] += 100.0
    changed = DitTask(task.config, [other], [other], CPU).loss(0, 0, 1).value.item()
    assert changed == pytest.approx(first, rel=1e-5)
