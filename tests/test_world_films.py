"""Filming: the same bytes on any number of workers and after a kill; manifests; refusals in one line."""

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
from kinema.simulator.captions import STYLES
from kinema.world.facts import Caption
from kinema.world.films import FilmsRequest, clip_id, clip_seed, film_one, known_event, spec_of
from kinema.world.production import film_many
from kinema.world.record import captions_of, facts_of
from kinema.world.vocabulary import EVENTS

SMALL = {"count": 5, "shard": 2, "size": "32x32", "frames": 13, "event": "still", "seed": 3}


def bytes_of(folder: Path) -> dict[str, str]:
    """A hash of every file in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("filmed") / "films"
    summary = film_many(FilmsRequest(out=folder, format="raw", **SMALL), workers=1, quiet=True)
    assert summary.filmed == 5
    assert summary.line() == f"5 films in {folder}"
    return folder


def test_two_workers_write_the_same_bytes_as_one(filmed, tmp_path):
    film_many(FilmsRequest(out=tmp_path / "two", format="raw", **SMALL), workers=2, quiet=True)
    assert bytes_of(tmp_path / "two") == bytes_of(filmed)


def test_killed_and_resumed_is_the_same_bytes(filmed, tmp_path):
    out = tmp_path / "killed"
    command = [
        sys.executable, "-m", "kinema", "world", "films", "--out", str(out), "--count", "5", "--shard", "2",
        "--size", "32x32", "--frames", "13", "--event", "still", "--seed", "3", "--format", "raw",
        "--workers", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (out / "parts" / "00000.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (out / "parts" / "00000.parquet").exists()
    (out / "tracks" / ".left.part.safetensors").write_bytes(b"half")
    film_many(FilmsRequest(out=out, format="raw", **SMALL), workers=2, quiet=True)
    assert bytes_of(out) == bytes_of(filmed)


def test_the_manifest_tells_what_the_shards_hold(filmed):
    rows = pq.read_table(filmed / "manifest.parquet").to_pylist()
    assert [row["index"] for row in rows] == list(range(5))
    request = FilmsRequest(out=filmed, format="raw", **SMALL)
    for row in rows:
        assert row["status"] == "ok"
        assert row["reason"] == ""
        assert row["seed"] == spec_of(request, row["index"]).seed == clip_seed(3, row["index"])
        frames = load_file(filmed / row["file"])["frames"][row["place"]]
        assert frames.shape == (13, 32, 32, 3)
        assert row["frames"] == 13
        assert row["id"] == clip_id(frames)
        told = captions_of(row["captions"])
        assert told[0].text == row["core"]
        assert {caption.style for caption in told} <= {style.name for style in STYLES}
        prefix = f"{row['index']:07d}/"
        arrays = {
            name.removeprefix(prefix): array
            for name, array in load_file(filmed / row["tracks"]).items()
            if name.startswith(prefix)
        }
        facts = facts_of(row["facts"], arrays)
        assert facts.event == row["event"] == "still"
        assert facts.seed == row["seed"]
        assert facts.tracks.screen.shape == (13, len(facts.entities), 2)
        assert facts.cameras.shape == (13, 13)


def test_what_is_finished_is_not_filmed_again(filmed):
    before = {path: path.stat().st_mtime_ns for path in filmed.rglob("*.safetensors")}
    film_many(FilmsRequest(out=filmed, format="raw", **SMALL), workers=1, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in filmed.rglob("*.safetensors")} == before


def test_films_in_mp4_decode_to_as_many_frames_as_the_manifest_says(tmp_path):
    request = FilmsRequest(out=tmp_path / "mp4", **{**SMALL, "count": 1})
    film_many(request, workers=1, quiet=True)
    row = pq.read_table(tmp_path / "mp4" / "manifest.parquet").to_pylist()[0]
    film = read_video(tmp_path / "mp4" / row["file"])
    assert film.frames.shape == (13, 32, 32, 3)
    assert row["frames"] == 13
    again = FilmsRequest(out=tmp_path / "again", **{**SMALL, "count": 1})
    film_many(again, workers=1, quiet=True)
    first, second = (pq.read_table(tmp_path / name / "manifest.parquet") for name in ("mp4", "again"))
    assert first.equals(second)


def test_a_clip_that_cannot_be_had_is_a_row_with_a_reason(tmp_path):
    # Two frames are too few for anything to happen.
    request = FilmsRequest(
        out=tmp_path / "none", count=1, size="32x32", frames=2, event="domino", format="raw"
    )
    summary = film_many(request, workers=1, quiet=True)
    row = pq.read_table(tmp_path / "none" / "manifest.parquet").to_pylist()[0]
    assert summary.failed == 1
    assert row["status"] == "failed"
    assert row["reason"] == summary.reason != ""
    assert row["file"] == ""


def test_another_request_in_the_same_folder_is_refused(filmed):
    other = FilmsRequest(out=filmed, format="raw", **{**SMALL, "seed": 4})
    with pytest.raises(UserError, match="another request"):
        film_many(other, workers=1, quiet=True)


def test_one_film_and_its_caption(tmp_path, capsys):
    out = tmp_path / "film.mp4"
    main(["world", "film", "still", "--size", "32x32", "--frames", "9", "--out", str(out)])
    caption, path = capsys.readouterr().out.strip().splitlines()
    assert caption.endswith(".")
    assert path == str(out)
    assert read_video(out).frames.shape == (9, 32, 32, 3)
    again = film_one(event="still", seed=0, size="32x32", frames=9, lab=False, out=tmp_path / "b.mp4")
    assert again.caption == caption
    assert (tmp_path / "b.mp4").read_bytes() == out.read_bytes()


def test_a_sheet_has_a_row_for_each_clip(tmp_path, capsys):
    heights = []
    for count in ("1", "3"):
        out = tmp_path / f"{count}.png"
        main(
            ["world", "sheet", "--event", "still", "--count", count, "--size", "32x32", "--frames", "9",
             "--style", "core", "--out", str(out)]
        )  # fmt: skip
        assert capsys.readouterr().out.strip().splitlines()[-1] == str(out)
        heights.append(read_image(out).shape[0])
    assert heights[1] > heights[0] + 2 * 32


def test_an_audit_that_holds_says_so_and_one_that_does_not_fails(capsys, monkeypatch):
    command = ["world", "audit", "--lab", "--count", "2", "--draws", "0", "--workers", "1", "--frames", "13"]
    main([*command, "--size", "128x128"])
    said = capsys.readouterr().out
    assert "words not read" in said
    assert "below 99.5%" not in said
    lie = (Caption(style="core", text="nine green cones are on the ground"),)
    monkeypatch.setattr("tools.caption_audit.report.captions", lambda facts: lie)
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 1
    assert "below 99.5%" in capsys.readouterr().out


def test_unknown_events_end_in_one_line_with_the_nearest(capsys):
    with pytest.raises(UserError, match="did you mean 'collide'"):
        known_event("colide")
    with pytest.raises(SystemExit) as stop:
        main(["world", "film", "rol"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "kinema: there is no event 'rol' (did you mean 'roll'?); choose one of: " + ", ".join(EVENTS) + "\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [({"count": 0}, "at least 1"), ({"split": "test"}, "--lab"), ({"size": "12"}, "not a size")],
)
def test_requests_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        FilmsRequest(out=tmp_path, **{"count": 3, **options})


def test_seeds_and_names_are_the_same_on_any_machine():
    assert clip_seed(0, 0) != clip_seed(0, 1) != clip_seed(1, 0)
    assert (clip_seed(0, 0), clip_seed(3, 7)) == (36492982421028864, 10043277537443847)
    frames = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    assert clip_id(frames) == clip_id(frames.copy()) == "f7904cf77a21eb96a95770f6f04d90fe"
    assert clip_id(frames) != clip_id(frames.reshape(4, 2, 4, 3))
