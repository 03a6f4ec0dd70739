"""Folders of videos: rendered shards, and datasets of the simulator as MP4 or raw frames."""

import numpy as np
import pytest

from kinema.data.video_folder import open_dataset
from kinema.data.video_shards import open_shards, write_shard
from kinema.errors import UserError
from kinema.simulator.parallel_render import render_dataset
from kinema.simulator.shards import DatasetConfig


@pytest.mark.parametrize("kind", ["raw", "mp4"])
def test_simulator_videos_are_read_with_their_captions(kind, tmp_path):
    config = DatasetConfig(
        out=tmp_path / kind, count=3, seed=0, size="32x32", num_frames=5, lab=True, split="all",
        event="still", format=kind, shard_size=2,
    )  # fmt: skip
    render_dataset(config, workers=1, quiet=True)
    opened = open_dataset(tmp_path / kind)
    assert opened.fps == 12.0
    train, held_out = opened.split(1)
    assert (len(train), len(held_out)) == (2, 1)
    for index in range(3):
        assert opened.videos.frames(index).shape == (5, 32, 32, 3)
        assert opened.videos.captions(index)[0]
    assert np.array_equal(held_out.frames(0), opened.videos.frames(2))
    assert held_out.captions(0) == opened.videos.captions(2)
    with pytest.raises(UserError, match="too few to hold out 3"):
        opened.split(3)


def test_shards_are_read_up_to_the_first_that_is_missing(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (7, 3, 4, 4, 3), dtype=np.uint8)
    captions = [[f"plain {i}", f"other {i}"] for i in range(7)]
    for shard_index, clips in ((0, range(3)), (1, range(3, 6)), (3, range(6, 7))):
        write_shard(tmp_path, shard_index, [frames[i] for i in clips], [captions[i] for i in clips])
    videos = open_dataset(tmp_path).videos
    assert len(videos) == 6
    for index in range(6):
        assert np.array_equal(videos.frames(index), frames[index])
        assert list(videos.captions(index)) == captions[index]
    assert len(open_shards(tmp_path, max_clips=4)) == 4
    assert len(open_shards(tmp_path, max_clips=3).pixels) == 1


def test_unusable_folders_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        open_dataset(tmp_path / "missing")
    with pytest.raises(UserError, match=r"has no videos.*videos-00000.safetensors"):
        open_dataset(tmp_path)
