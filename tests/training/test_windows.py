"""Stretches of films: the transformer learns from them to go on from films that have begun already."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from kinema.data import rng
from kinema.data.dataset import InMemoryVideos, WindowedVideos
from kinema.data.latent_cache import LatentDataset
from kinema.errors import UserError
from kinema.models.transformer.dit_config import small
from kinema.models.vae.autoencoder import VideoVae
from kinema.models.vae.vae_config import VaeConfig
from kinema.training.dit_task import DitTask, DitTrainConfig
from kinema.training.render_shards import RenderConfig, render_missing
from kinema.training.sigma_sampling import SigmaSamplingConfig, sample_sigmas, sample_sigmas_batched
from kinema.training.stages import (
    RunContext,
    encode_datasets,
    load_latent_datasets,
    open_split,
    split_dirs,
)
from tests.fixtures.toy_training import LetterTextEncoder

CPU = torch.device("cpu")
STATES = (torch.eye(384)[:3], torch.eye(384)[3:5], torch.eye(384)[9:10])


def counting_videos(films=40, length=21):
    """Films whose frames are numbered."""
    numbers = np.arange(length, dtype=np.uint8)[None, :, None, None, None]
    pixels = np.broadcast_to(numbers, (films, length, 2, 2, 3))
    return InMemoryVideos(pixels=pixels, texts=tuple((f"film {i}",) for i in range(films)))


def test_windows_are_contiguous_and_start_everywhere():
    stretches = WindowedVideos(videos=counting_videos(), window_frames=9, windows_per_video=3, seed=1)
    assert len(stretches) == 120
    starts = []
    for index in range(len(stretches)):
        frames = stretches.frames(index)[:, 0, 0, 0].tolist()
        assert frames == list(range(frames[0], frames[0] + 9))
        starts.append(frames[0])
        assert stretches.captions(index) == (f"film {index // 3}",)
    assert set(starts) == set(range(13))  # 21 frames have 13 stretches of 9.
    by_place = np.array(starts).reshape(40, 3)
    assert (by_place[:, 0] <= 4).all()
    assert (by_place[:, 2] >= 8).all()
    again = WindowedVideos(videos=counting_videos(), window_frames=9, windows_per_video=3, seed=1)
    assert again.frames(7).tobytes() == stretches.frames(7).tobytes()


def test_window_may_be_the_full_video():
    assert (
        len(WindowedVideos(videos=counting_videos(length=9), window_frames=9, windows_per_video=2).frames(1))
        == 9
    )


@pytest.mark.parametrize("changes", [{"stretch": 18}, {"stretch": 1}, {"stretch": 9, "stretches": 0}])
def test_impossible_windows_are_refused(changes):
    with pytest.raises(UserError, match="17 frames can't be cut"):
        RenderConfig(num_clips=4, **changes)


def test_windows_are_always_conditioned_on_more_than_the_first_frame():
    config = SigmaSamplingConfig().for_windows()
    one_by_one = torch.stack([sample_sigmas(config, 5, rng.generator(2, i)) for i in range(3000)])
    together = sample_sigmas_batched(config, 3000, 5, rng.generator(3))
    shares = []
    for drawn in (one_by_one, together):
        given = drawn == 0
        assert given.any(1).all()
        assert not given.all(1).any()
        onward = ~given[:, -1]
        assert (given[onward].sum(1) >= 2).all()
        # Half of those that lead up to something have no beginning.
        shares.append([onward.float().mean().item(), (given[onward].sum(1) == 2).float().mean().item()])
        # What is free has one level.
        free = torch.where(given, torch.nan, drawn)
        assert (free.nan_to_num(0).max(1).values == free.nan_to_num(2).min(1).values).all()
    assert shares[0] == pytest.approx([0.65, 0.4 + 0.6 / 3], abs=0.03)
    assert shares[1] == pytest.approx(shares[0], abs=0.04)


def make_latent_dataset(count, seed, **more):
    films = torch.randn(count, 4, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return LatentDataset(
        latents=films, captions=((0, 1), (1,)) * (count // 2), text_embeddings=STATES, **more
    )


def test_windows_are_trained_with_clean_prefixes():
    config = DitTrainConfig(
        batch_size=4, precision="float32", model=small(width=64, layers=1, channels=4, grid=(2, 2))
    )
    groups = [make_latent_dataset(12, 0), make_latent_dataset(12, 1, midway=True)]
    task = DitTask(config, groups, [each.subset(0, 4) for each in groups], CPU)
    seen = {False: [], True: []}
    for step in range(40):
        drawn = task.buckets.at(step)
        times = task._sample_step(step, drawn, 0, 1, 4).sigmas
        seen[drawn.bucket.group == 1].append((times == 0).any(1))
    assert torch.cat(seen[True]).all()
    assert torch.cat(seen[False]).float().mean() < 0.5
    scores = task.validate()
    assert "loss_3x4x4_midway" in scores
    assert "loss_3x4x4" not in scores


def test_validation_loss_of_windows_excludes_the_prefix():
    config = DitTrainConfig(precision="float32", model=small(width=64, layers=1, channels=4, grid=(2, 2)))
    films = make_latent_dataset(4, 1, midway=True)
    task = DitTask(config, [films], [films], CPU)
    # A fresh model says 0 everywhere, so its error is the mean square of noise - film.
    noise = torch.stack([rng.normal((4, 3, 4, 4), 0, "held out", i) for i in range(4)])
    expected = (noise - films.latents)[:, :, 2:].square().mean().item()
    assert task.validate()["loss_right"] == pytest.approx(expected, rel=1e-5)


def test_windows_are_cut_encoded_and_flagged(tmp_path):
    filming = RenderConfig(
        num_clips=3,
        height=16,
        width=16,
        num_frames=13,
        events=(("still", 1.0),),
        shard_size=2,
        window_frames=9,
    )
    held = dataclasses.replace(filming, num_clips=1, seed=1, split="test")
    for one, name in zip((filming, held), split_dirs(0), strict=True):
        for _ in render_missing(one, tmp_path / name, num_workers=0):
            pass
    bench = RunContext(run_dir=tmp_path, device=CPU, load_text_encoder=LetterTextEncoder)
    one = open_split(bench, filming, held)
    assert (len(one.train), len(one.held_out), one.starts_midclip) == (6, 2, True)
    for _ in encode_datasets(
        bench, VideoVae(VaeConfig.tiny(patchified=True)).eval(), [one], precision="float32"
    ):
        pass
    data = load_latent_datasets(tmp_path)
    assert data.train[0].starts_midclip
    assert data.held_out[0].subset(0, 1).starts_midclip
    assert data.train[0].latents.shape[:3] == (6, 4, 3)
    # Runs that were made before there were stretches have whole films.
    path = tmp_path / "captions.json"
    told = json.loads(path.read_text())
    del told["midway"]
    path.write_text(json.dumps(told))
    assert not load_latent_datasets(tmp_path).train[0].starts_midclip
