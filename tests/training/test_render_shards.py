"""Rendered datasets: only missing shards are rendered, and clips do not depend on the size of the dataset."""

import dataclasses
import json

import pytest

from kinema.data.video_shards import open_shards, shard_path
from kinema.errors import UserError
from kinema.simulator.annotation_io import annotations_to_json
from kinema.simulator.clip import make_clip
from kinema.training.render_shards import RenderConfig, render_missing

RENDER_CONFIG = RenderConfig(
    num_clips=6, height=32, width=32, num_frames=9, shard_size=4, events=(("still", 0.7), ("roll", 0.3))
)


def test_only_missing_shards_are_rendered(tmp_path):
    assert list(render_missing(RENDER_CONFIG, tmp_path, num_workers=0)) == [0, 4, 6]
    videos = open_shards(tmp_path, max_clips=RENDER_CONFIG.num_clips)
    assert len(videos) == 6
    assert videos.frames(5).shape == (9, 32, 32, 3)
    assert all(captions[0] for captions in videos.texts)
    before = shard_path(tmp_path, 1).read_bytes()
    shard_path(tmp_path, 1).unlink()
    assert list(render_missing(RENDER_CONFIG, tmp_path, num_workers=0)) == [4, 6]
    assert shard_path(tmp_path, 1).read_bytes() == before


def test_worker_processes_render_the_same_shards(tmp_path):
    assert list(render_missing(RENDER_CONFIG, tmp_path / "here", num_workers=0)) == [0, 4, 6]
    assert sorted(render_missing(RENDER_CONFIG, tmp_path / "workers", num_workers=2))[-1] == 6
    for number in range(2):
        here, there = (shard_path(tmp_path / name, number).read_bytes() for name in ("here", "workers"))
        assert here == there


def test_clips_do_not_depend_on_the_dataset_size():
    longer = dataclasses.replace(RENDER_CONFIG, num_clips=1000)
    assert [RENDER_CONFIG.clip_spec(i) for i in range(6)] == [longer.clip_spec(i) for i in range(6)]
    events = [longer.clip_spec(i).event for i in range(1000)]
    for event, share in RENDER_CONFIG.events:
        assert events.count(event) / 1000 == pytest.approx(share, abs=0.05)


def test_everyday_captions_are_added(tmp_path):
    plain = dataclasses.replace(RENDER_CONFIG, num_clips=1)
    list(render_missing(plain, tmp_path / "plain", num_workers=0))
    extended = dataclasses.replace(plain, everyday_captions=6)
    list(render_missing(extended, tmp_path / "extended", num_workers=0))
    few, many = open_shards(tmp_path / "plain"), open_shards(tmp_path / "extended")
    assert (few.frames(0) == many.frames(0)).all()
    assert tuple(many.captions(0)[: len(few.captions(0))]) == tuple(few.captions(0))
    added = many.captions(0)[len(few.captions(0)) :]
    assert len(set(added)) == 6


def test_shards_keep_the_annotations(tmp_path):
    list(render_missing(RENDER_CONFIG, tmp_path, num_workers=0))
    videos = open_shards(tmp_path, max_clips=5)
    assert len(videos.annotations) == len(videos) == 5
    for index, text in enumerate(videos.annotations):
        clip = make_clip(RENDER_CONFIG.clip_spec(index), render=False)
        assert json.loads(text)["event"] == clip.annotations.event
        assert text == annotations_to_json(clip.annotations)


@pytest.mark.parametrize(
    "changes", [{"window_frames": 18}, {"window_frames": 1}, {"window_frames": 9, "windows_per_clip": 0}]
)
def test_impossible_windows_are_refused(changes):
    with pytest.raises(UserError, match="17 frames can't be cut"):
        RenderConfig(num_clips=4, **changes)
