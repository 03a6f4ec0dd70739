"""Datasets: the same bytes for any number of workers and after a kill; the manifest; one-line errors."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from kinema.cli import main
from kinema.errors import UserError
from kinema.media import read_image, read_video
from kinema.simulator.annotation_io import annotations_from_json, captions_from_json
from kinema.simulator.attributes import EVENTS
from kinema.simulator.captions import STYLES, generate_captions
from kinema.simulator.parallel_render import render_dataset
from kinema.simulator.shards import (
    DatasetConfig,
    build_clip_spec,
    compute_clip_id,
    derive_clip_seed,
    parse_event,
    render_clip,
)

SMALL = {"count": 5, "shard_size": 2, "size": "32x32", "num_frames": 13, "event": "still", "seed": 3}


def hash_files(folder: Path) -> dict[str, str]:
    """A hash of every file in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rendered") / "dataset"
    summary = render_dataset(DatasetConfig(out=folder, format="raw", **SMALL), workers=1, quiet=True)
    assert summary.num_rendered == 5
    assert summary.line() == f"5 videos in {folder}"
    return folder


def test_two_workers_write_the_same_bytes_as_one(dataset, tmp_path):
    render_dataset(DatasetConfig(out=tmp_path / "two", format="raw", **SMALL), workers=2, quiet=True)
    assert hash_files(tmp_path / "two") == hash_files(dataset)


def test_killed_and_resumed_is_the_same_bytes(dataset, tmp_path):
    out = tmp_path / "killed"
    command = [
        sys.executable, "-m", "kinema", "dataset", "build", "--out", str(out), "--count", "5",
        "--shard-size", "2", "--size", "32x32", "--num-frames", "13", "--event", "still", "--seed", "3",
        "--format", "raw", "--workers", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (out / "parts" / "00000.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (out / "parts" / "00000.parquet").exists()
    (out / "tracks" / ".old.part.safetensors").write_bytes(b"partial")
    render_dataset(DatasetConfig(out=out, format="raw", **SMALL), workers=2, quiet=True)
    assert hash_files(out) == hash_files(dataset)


def test_manifest_matches_shards(dataset):
    rows = pq.read_table(dataset / "manifest.parquet").to_pylist()
    assert [row["index"] for row in rows] == list(range(5))
    config = DatasetConfig(out=dataset, format="raw", **SMALL)
    for row in rows:
        assert row["status"] == "ok"
        assert row["reason"] == ""
        assert row["seed"] == build_clip_spec(config, row["index"]).seed == derive_clip_seed(3, row["index"])
        frames = load_file(dataset / row["file"])["frames"][row["row_in_shard"]]
        assert frames.shape == (13, 32, 32, 3)
        assert row["num_frames"] == 13
        assert row["id"] == compute_clip_id(frames)
        captions = captions_from_json(row["captions"])
        assert captions[0].text == row["core"]
        assert {caption.style for caption in captions} <= {style.name for style in STYLES}
        prefix = f"{row['index']:07d}/"
        arrays = {
            name.removeprefix(prefix): array
            for name, array in load_file(dataset / row["tracks"]).items()
            if name.startswith(prefix)
        }
        annotations = annotations_from_json(row["annotations"], arrays)
        assert annotations.event == row["event"] == "still"
        assert annotations.seed == row["seed"]
        assert annotations.tracks.screen.shape == (13, len(annotations.entities), 2)
        assert annotations.cameras.shape == (13, 13)
        assert generate_captions(annotations) == captions


def test_finished_shards_are_not_rendered_again(dataset):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*.safetensors")}
    render_dataset(DatasetConfig(out=dataset, format="raw", **SMALL), workers=1, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*.safetensors")} == before


def test_mp4_frame_counts_match_the_manifest(tmp_path):
    config = DatasetConfig(out=tmp_path / "mp4", **{**SMALL, "count": 1})
    render_dataset(config, workers=1, quiet=True)
    row = pq.read_table(tmp_path / "mp4" / "manifest.parquet").to_pylist()[0]
    video = read_video(tmp_path / "mp4" / row["file"])
    assert video.frames.shape == (13, 32, 32, 3)
    assert row["num_frames"] == 13
    again = DatasetConfig(out=tmp_path / "again", **{**SMALL, "count": 1})
    render_dataset(again, workers=1, quiet=True)
    first, second = (pq.read_table(tmp_path / name / "manifest.parquet") for name in ("mp4", "again"))
    assert first.equals(second)


def test_failed_clip_is_a_row_with_a_reason(tmp_path):
    # No event fits into two frames.
    config = DatasetConfig(
        out=tmp_path / "none", count=1, size="32x32", num_frames=2, event="domino", format="raw"
    )
    summary = render_dataset(config, workers=1, quiet=True)
    row = pq.read_table(tmp_path / "none" / "manifest.parquet").to_pylist()[0]
    assert summary.num_failed == 1
    assert row["status"] == "failed"
    assert row["reason"] == summary.first_failure != ""
    assert row["file"] == ""


def test_folder_of_another_config_is_refused(dataset):
    other_config = DatasetConfig(out=dataset, format="raw", **{**SMALL, "seed": 4})
    with pytest.raises(UserError, match="another configuration"):
        render_dataset(other_config, workers=1, quiet=True)


def test_render_clip_and_its_caption(tmp_path, capsys):
    out = tmp_path / "video.mp4"
    main(["dataset", "render", "still", "--size", "32x32", "--num-frames", "9", "--out", str(out)])
    caption, path = capsys.readouterr().out.strip().splitlines()
    assert caption.endswith(".")
    assert path == str(out)
    assert read_video(out).frames.shape == (9, 32, 32, 3)
    again = render_clip(event="still", seed=0, size="32x32", num_frames=9, lab=False, out=tmp_path / "b.mp4")
    assert again.caption == caption
    assert (tmp_path / "b.mp4").read_bytes() == out.read_bytes()


def test_preview_sheet_has_a_row_for_each_clip(tmp_path, capsys):
    heights = []
    for count in ("1", "3"):
        out = tmp_path / f"{count}.png"
        main(
            ["dataset", "preview", "--event", "still", "--count", count, "--size", "32x32",
             "--num-frames", "9", "--style", "core", "--out", str(out)]
        )  # fmt: skip
        assert capsys.readouterr().out.strip().splitlines()[-1] == str(out)
        heights.append(read_image(out).shape[0])
    assert heights[1] > heights[0] + 2 * 32


def test_unknown_event_error_names_the_nearest(capsys):
    with pytest.raises(UserError, match="did you mean 'collide'"):
        parse_event("colide")
    with pytest.raises(SystemExit) as exit_info:
        main(["dataset", "render", "rol"])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == (
        "kinema: there is no event 'rol' (did you mean 'roll'?); choose one of: " + ", ".join(EVENTS) + "\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [({"count": 0}, "at least 1"), ({"split": "test"}, "--lab"), ({"size": "12"}, "not a size")],
)
def test_invalid_configs_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        DatasetConfig(out=tmp_path, **{"count": 3, **options})


def test_seeds_and_ids_are_the_same_on_any_machine():
    assert derive_clip_seed(0, 0) != derive_clip_seed(0, 1) != derive_clip_seed(1, 0)
    assert (derive_clip_seed(0, 0), derive_clip_seed(3, 7)) == (36492982421028864, 10043277537443847)
    frames = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    assert compute_clip_id(frames) == compute_clip_id(frames.copy()) == "f7904cf77a21eb96a95770f6f04d90fe"
    assert compute_clip_id(frames) != compute_clip_id(frames.reshape(4, 2, 4, 3))
