"""The torch datasets: pure functions of (seed, index), the same on any number of workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from kinema.errors import UserError
from kinema.shapes import VideoShape
from kinema.simulator.captions import generate_captions
from kinema.simulator.dataset import (
    Batch,
    Sample,
    ShardDataset,
    SimulatorDataset,
    choose_caption,
    collate,
)
from kinema.simulator.parallel_render import render_dataset
from kinema.simulator.shards import DatasetConfig

SHAPE = VideoShape(frames=9, height=32, width=32)


@pytest.fixture(scope="module")
def live() -> SimulatorDataset:
    return SimulatorDataset(length=4, shape=SHAPE, seed=5, events=("still",))


def same(one: Sample, other: Sample) -> bool:
    return one.caption == other.caption and torch.equal(one.frames, other.frames)


def test_a_sample_is_a_video_with_one_of_its_captions(live):
    sample = live[1]
    assert sample.frames.shape == (9, 32, 32, 3)
    assert sample.frames.dtype == torch.uint8
    assert sample.facts.event == "still"
    assert sample.caption in {caption.text for caption in generate_captions(sample.facts)}
    assert len(live) == 4
    with pytest.raises(IndexError):
        live[4]


def test_indices_and_seeds_differ_and_repeat(live):
    assert same(live[2], live[2])
    assert not same(live[2], live[3])
    assert not torch.equal(live[2].frames, replace(live, seed=6)[2].frames)


def test_epochs_change_captions_and_optionally_clips(live):
    texts = {live.at_epoch(epoch)[0].caption for epoch in range(8)}
    assert len(texts) > 2
    assert torch.equal(live[0].frames, live.at_epoch(3)[0].frames)
    fresh = replace(live, new_clips_each_epoch=True)
    assert not torch.equal(fresh[0].frames, fresh.at_epoch(1)[0].frames)


def test_two_workers_give_what_none_gives(live):
    alone = list(DataLoader(live, batch_size=2, collate_fn=collate))
    shared = list(
        DataLoader(live, batch_size=2, num_workers=2, collate_fn=collate, multiprocessing_context="spawn")
    )
    assert all(isinstance(batch, Batch) for batch in shared)
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert one.captions == other.captions
        assert one.indices == other.indices


def test_styles_restrict_the_captions(live):
    core = replace(live, styles=("core",))
    for epoch in range(3):
        sample = core.at_epoch(epoch)[0]
        assert sample.caption == generate_captions(sample.facts)[0].text


def test_captions_are_chosen_evenly(live):
    told = generate_captions(live[0].facts)
    counts = [0] * len(told)
    for index in range(600):
        text = choose_caption(told, seed=0, epoch=0, index=index)
        counts[[caption.text for caption in told].index(text)] += 1
    assert min(counts) > 0.5 * 600 / len(told)


@pytest.mark.parametrize("kind", ["raw", "mp4"])
def test_shards_round_trip(kind, tmp_path):
    request = DatasetConfig(
        out=tmp_path / kind,
        count=3,
        shard_size=2,
        size="32x32",
        num_frames=9,
        event="still",
        seed=8,
        format=kind,
    )
    render_dataset(request, workers=1, quiet=True)
    films = ShardDataset.open(tmp_path / kind)
    assert len(films) == 3
    for index in range(3):
        sample = films[index]
        assert sample.frames.shape == (9, 32, 32, 3)
        assert sample.annotations.tracks.pixels.shape[0] == 9
        assert sample.caption in {caption.text for caption in generate_captions(sample.annotations)}
    assert {films.at_epoch(epoch)[0].caption for epoch in range(6)} != {films[0].caption}
    with pytest.raises(IndexError):
        films[3]


def test_stored_annotations_give_the_same_captions(tmp_path):
    request = DatasetConfig(
        out=tmp_path / "raw", count=2, size="32x32", num_frames=13, event="orbit", seed=8, format="raw"
    )
    render_dataset(request, workers=1, quiet=True)
    for sample in (ShardDataset.open(tmp_path / "raw")[k] for k in range(2)):
        stored = ShardDataset.open(tmp_path / "raw").entries[sample.index].captions
        for caption in generate_captions(sample.annotations):
            assert caption.text in stored


def test_folder_without_videos_is_refused(tmp_path):
    with pytest.raises(UserError, match="no manifest"):
        ShardDataset.open(Path(tmp_path))
