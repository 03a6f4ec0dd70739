"""Curation of videos with known shots and planted faults."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageFilter

from kinema.data.analysis import Analysis, analyse, analysis_path, load_analysis
from kinema.data.clip_reader import ClipRequest, read_requests
from kinema.data.clip_table import SCHEMA, ClipRow, read_clips
from kinema.data.curation import CurationOptions, build_set, filter_set, load_options
from kinema.data.media_item import ClipOptions, MediaItem
from kinema.data.scenes import CutOptions, adaptive_cuts, content_cuts, detect_transitions
from kinema.data.selection import SelectionOptions
from kinema.data.thresholds import PRESETS, preset, with_settings
from kinema.errors import UserError
from kinema.media import read_video, write_video
from tests.fixtures.media_videos import write_with_pyav
from tests.fixtures.shots import FPS, SIZE, dissolve, letterboxed, shot

OPTIONS = CurationOptions(
    selection=SelectionOptions(clips=ClipOptions(frames=(17,), fps=12.0, resolutions=((96, 64),)))
)


def build(folder, out, options=OPTIONS, workers=1):
    for _ in build_set([folder], out, options, workers=workers):
        pass
    return read_clips(out)


def measure(frames, tmp_path, fps=FPS):
    path = tmp_path / "measured.mp4"
    write_video(path, frames, fps)
    return analyse(MediaItem(path=str(path)), path)


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """A folder with good clips and one of each fault; each has its name."""
    folder = tmp_path_factory.mktemp("faults")

    def write(name, frames, fps=FPS):
        write_video(folder / f"{name}.mp4", frames, fps)
        (folder / f"{name}.txt").write_text(f"caption of {name}")

    count = 2 * FPS
    for index in range(2):
        write(f"good_{index}", shot(index, count))
    write("mirrored", shot(0, count)[:, :, ::-1])
    write("frozen", np.repeat(shot(10, 1), count, axis=0))
    write("black", np.zeros((count, *SIZE[::-1], 3), np.uint8))
    write("white", np.full((count, *SIZE[::-1], 3), 255, np.uint8))
    write("letterboxed", letterboxed(shot(11, count), 18))
    blurred = [
        Image.fromarray(one).filter(ImageFilter.GaussianBlur(8)) for one in shot(12, count, size=(384, 216))
    ]
    write("blurred", np.stack([np.asarray(one) for one in blurred]))
    flashing = shot(13, count, speed=0.5).astype(float)
    flashing[::4] *= 0.45
    flashing[1::4] *= 0.45
    write("flickering", flashing.astype(np.uint8))
    write("short", shot(14, 8))
    # A copy of good_1, encoded again at another size.
    small = [Image.fromarray(one).resize((144, 80)) for one in shot(1, count)]
    write("copied", np.stack([np.asarray(one) for one in small]))
    steps = np.random.default_rng(0).integers(20, 60, count)
    write_with_pyav(
        folder / "varying.mp4", shot(15, count), pts=np.cumsum(steps).tolist(), time_base=Fraction(1, 1000)
    )
    write_with_pyav(folder / "rotated.mp4", shot(16, count), matrix=(0, 1, -1, 0))
    data = (folder / "good_0.mp4").read_bytes()
    (folder / "garbage.mp4").write_bytes(np.random.default_rng(1).bytes(4000))
    (folder / "cut_off.mp4").write_bytes(data[: len(data) // 3])
    (folder / "empty.mp4").write_bytes(b"")
    with av.open(str(folder / "sound_only.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    (folder / "orphan.txt").write_text("a caption without a video")
    Image.fromarray(shot(17, 1)[0]).save(folder / "image.png")
    return folder


@pytest.fixture(scope="module")
def curated(faults, tmp_path_factory):
    out = tmp_path_factory.mktemp("set")
    return out, build(faults, out)


def by_name(rows):
    return {Path(row.source).stem: row for row in rows}


def test_every_fault_is_dropped_for_its_reason_and_no_good_clip_is_lost(curated):
    rows = by_name(curated[1])
    reasons = {name: row.reason for name, row in rows.items()}
    expected = {
        "frozen": "frozen", "black": "black", "white": "white", "blurred": "blurred", "short": "too_short",
        "copied": "duplicate", "flickering": "flicker", "garbage": "unreadable", "empty": "unreadable",
        "sound_only": "no_video", "orphan": "no_video",
    }  # fmt: skip
    good = ("good_0", "good_1", "mirrored", "letterboxed", "varying", "rotated", "image")
    cut_off = reasons.pop("cut_off")
    assert cut_off in ("unreadable", "damaged")
    assert reasons == expected | dict.fromkeys(good, "")
    assert all(rows[name].kept for name in good)
    assert rows["copied"].duplicate_of == rows["good_1"].clip_id
    assert rows["mirrored"].duplicate_distance > 15


def test_the_table_has_a_row_with_scores_for_each_candidate(curated):
    _, rows = curated
    assert {
        "clip_id",
        "source",
        "start_s",
        "end_s",
        "width",
        "height",
        "fps",
        "num_frames",
        "kept",
        "reason",
    } <= {field.name for field in SCHEMA}
    assert {"caption", "caption_source", "transforms"} <= {field.name for field in SCHEMA}
    assert [row.clip_id for row in rows] == sorted(row.clip_id for row in rows)
    assert len({row.clip_id for row in rows}) == len(rows)
    good = by_name(rows)["good_0"]
    assert (good.width, good.height, good.fps, good.source_frames) == (*SIZE, FPS, 2 * FPS)
    assert good.frames == tuple(range(0, 34, 2))
    assert (good.num_frames, good.buckets, good.caption) == (17, ("96x64x17",), "caption of good_0")
    assert good.transforms == "24 to 12 fps by timestamps; cover and crop to 96x64"
    assert by_name(rows)["varying"].caption_source == "file_name"


def test_bars_are_cropped_to_the_image_and_a_rotated_video_is_upright(curated):
    rows = by_name(curated[1])
    left, top, width, height = rows["letterboxed"].crop
    assert (left, width) == (0, SIZE[0])
    assert 18 <= top <= 20
    assert height == SIZE[1] + 36 - 2 * top
    assert (rows["rotated"].width, rows["rotated"].height) == SIZE[::-1]


def test_a_varying_rate_is_resampled_by_time(curated, faults):
    row = by_name(curated[1])["varying"]
    times = read_video(faults / "varying.mp4").times
    for index, frame in enumerate(row.frames):
        assert abs(times[frame] - index / 12) <= np.abs(times - index / 12).min() + 1e-6


def test_the_reader_gives_exactly_the_frames_of_the_table(curated, faults):
    row = by_name(curated[1])["letterboxed"]
    ((_, frames),) = read_requests([ClipRequest(row=row)])
    left, top, width, height = row.crop
    decoded = read_video(faults / "letterboxed.mp4").frames[list(row.frames)]
    assert np.array_equal(frames, decoded[:, top : top + height, left : left + width])
    assert frames[:, 0].mean() > 30  # no bar is left


def test_thresholds_change_without_decoding(curated, faults, monkeypatch, tmp_path):
    out, _ = curated
    before = (out / "clips.parquet").read_bytes()
    monkeypatch.setattr("kinema.data.item_reader.frames", None)  # decoding would fail
    limits = with_settings(preset("usual"), ["sharpness.min=0", "frozen.max=1", "motion.min=0"])
    changed = dataclasses.replace(OPTIONS.selection, thresholds=limits)
    kept = by_name(filter_set(out, CurationOptions(selection=changed)))
    assert kept["blurred"].kept
    assert kept["frozen"].kept
    assert load_options(out).selection.thresholds.sharpness_min == 0
    filter_set(out, OPTIONS)
    assert (out / "clips.parquet").read_bytes() == before


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_more_from_strict_to_all(curated, name):
    out, rows = curated
    selection = dataclasses.replace(OPTIONS.selection, thresholds=preset(name))
    kept = sum(row.kept for row in filter_set(out, CurationOptions(selection=selection)))
    filter_set(out, OPTIONS)
    usual = sum(row.kept for row in rows)
    assert kept < usual if name == "strict" else kept > usual if name == "all" else kept == usual


def test_a_filter_can_be_skipped(curated):
    out, _ = curated
    skipping = dataclasses.replace(OPTIONS.selection, skip=("black", "frozen", "motion", "sharpness"))
    assert by_name(filter_set(out, CurationOptions(selection=skipping)))["black"].kept
    filter_set(out, OPTIONS)
    with pytest.raises(UserError, match="did you mean 'letterbox'"):
        SelectionOptions(skip=("leterbox",))


def test_clips_of_an_earlier_set_are_not_repeated(curated, faults, tmp_path):
    out, _ = curated
    (tmp_path / "new").mkdir()
    write_video(tmp_path / "new" / "again.mp4", read_video(faults / "good_0.mp4").frames, FPS)
    options = dataclasses.replace(OPTIONS, against=str(out))
    (row,) = build(tmp_path / "new", tmp_path / "set", options)
    assert row.reason == "duplicate"


def test_cuts_are_found_within_two_frames(tmp_path):
    lengths = [40, 31, 52, 28]
    frames = np.concatenate([shot(20 + index, length) for index, length in enumerate(lengths)])
    found = detect_transitions(measure(frames, tmp_path), CutOptions())
    expected = np.cumsum(lengths)[:-1].tolist()
    assert len(found) == len(expected)
    for one, cut in zip(found, expected, strict=True):
        assert abs(one.start - cut) <= 2
        assert abs(one.stop - cut) <= 2


@pytest.mark.parametrize("seconds", [0.4, 1.5])
def test_dissolves_are_found(seconds, tmp_path):
    length = round(seconds * FPS)
    frames = dissolve(shot(30, 60 + length, speed=0.5), shot(31, 60 + length, speed=0.5), length)
    (found,) = detect_transitions(measure(frames, tmp_path), CutOptions())
    assert 60 - 6 <= found.start <= 60 + 2
    assert 60 + length - 2 <= found.stop <= 60 + length + 12


def test_a_flash_is_no_cut(tmp_path):
    frames = shot(32, 72)
    frames[30:32] = 255
    assert detect_transitions(measure(frames, tmp_path), CutOptions()) == []


def test_a_moving_camera_and_a_change_of_light_are_no_cuts(tmp_path):
    assert detect_transitions(measure(shot(33, 96, speed=6), tmp_path), CutOptions()) == []
    light = 0.4 + 0.6 * np.linspace(0, 1, 48)[:, None, None, None]
    darker = np.concatenate([shot(34, 24, speed=0)[:1].repeat(24, axis=0), shot(34, 48, speed=0)])
    darker = np.concatenate([darker[:24] * 0.4, darker[24:] * light]).astype(np.uint8)
    assert detect_transitions(measure(darker, tmp_path), CutOptions()) == []


def test_cut_rules_are_those_of_scenedetect(tmp_path):
    """scenedetect's own detectors on the same frames find the same cuts."""
    import cv2
    from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode

    frames = np.concatenate([shot(40, 30), shot(41, 22), shot(42, 30)])
    path = tmp_path / "cuts.mp4"
    write_video(path, frames, FPS)
    analysis = analyse(MediaItem(path=str(path)), path)
    adaptive, content = AdaptiveDetector(min_scene_len=0), ContentDetector(min_scene_len=0)
    found: tuple[list, list] = ([], [])
    for index, image in enumerate(read_video(path).frames):
        for detector, cuts in zip((adaptive, content), found, strict=True):
            timecode = FrameTimecode(index, fps=float(FPS))
            cuts += detector.process_frame(timecode, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert adaptive_cuts(analysis.content_change, CutOptions()) == {one.frame_num for one in found[0]}
    assert content_cuts(analysis.content_change, CutOptions()) == {one.frame_num for one in found[1]}
    assert {30, 52} <= {one.frame_num for one in found[0]}


def test_half_a_second_is_left_out_next_to_a_cut(tmp_path):
    frames = np.concatenate([shot(43, 60), shot(44, 60)])
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "two.mp4", frames, FPS)
    rows = sorted(build(tmp_path / "in", tmp_path / "out"), key=lambda row: row.start_s)
    assert [row.frames[0] for row in rows] == [0, 72]
    assert rows[0].frames[-1] < 48


def test_measurements_are_read_back(curated, faults):
    out, _ = curated
    path = faults / "good_0.mp4"
    item = MediaItem(path=str(path), captions=("caption of good_0",), caption_source="sidecar")
    stored = load_analysis(analysis_path(out, item))
    fresh = analyse(item, path)
    assert isinstance(stored, Analysis)
    for field in dataclasses.fields(Analysis):
        assert np.array_equal(getattr(stored, field.name), getattr(fresh, field.name)), field.name


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A folder with three short videos."""
    folder = tmp_path_factory.mktemp("three")
    for index in range(3):
        write_video(folder / f"{index}.mp4", shot(60 + index, 36), FPS)
    return folder


def contents(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.suffix in (".parquet", ".safetensors")
    }


def test_two_workers_give_the_same_bytes_as_an_interrupted_run(three, tmp_path):
    steps = build_set([three], tmp_path / "one", OPTIONS)
    next(steps)
    next(steps)
    steps.close()  # as by Ctrl-C after the first video
    assert list(contents(tmp_path / "one")) != []
    assert "clips.parquet" not in contents(tmp_path / "one")
    build(three, tmp_path / "one")
    build(three, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_unknown_thresholds_name_the_nearest():
    with pytest.raises(UserError, match=r"did you mean 'motion.min'"):
        with_settings(preset("usual"), ["motion.mni=1"])
    with pytest.raises(UserError, match="must be a number"):
        with_settings(preset("usual"), ["motion.min=much"])
    with pytest.raises(UserError, match="did you mean 'usual'"):
        preset("usal")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no videos or images"),
        ({"a.txt": "a caption", "b.txt": "another"}, "has 2 caption files and no videos"),
        ({"metadata.csv": "video,prompt\na.mp4,a cat\n"}, "none of the 1 files"),
        ({"metadata.csv": "number,prompt\n1,a cat\n"}, "has no column of files"),
        ({"metadata.jsonl": '{"video": "a.mp4"'}, "line 1 is not JSON"),
    ],
)
def test_bad_folders_end_in_one_line(files, message, tmp_path):
    (tmp_path / "in").mkdir()
    for name, text in files.items():
        (tmp_path / "in" / name).write_text(text)
    with pytest.raises(UserError, match=message) as error:
        build(tmp_path / "in", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing_half_written(faults, tmp_path, monkeypatch, capsys):
    from kinema.cli import main

    written = Path.write_bytes

    def full(path, data):
        if "analysis" in path.parts and len(list((tmp_path / "out" / "analysis").iterdir())) > 3:
            written(path, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return written(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SystemExit) as stop:
        main(["data", "build", str(faults), "--out", str(tmp_path / "out"), "--workers", "1"])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "No space left on device" in lines[0]
    assert not [path for path in (tmp_path / "out").rglob("*") if ".part" in path.name]
    assert not (tmp_path / "out" / "clips.parquet").exists()


def test_clips_shorter_than_any_length_are_reported(tmp_path, capsys):
    from kinema.cli import main

    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "tiny.mp4", shot(1, 8), FPS)
    with pytest.raises(SystemExit):
        main(["data", "build", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--workers", "1"])
    message = capsys.readouterr().err.strip()
    assert "no clip is kept; most are too_short" in message
    assert len(message.splitlines()) == 1
    assert [row.reason for row in read_clips(tmp_path / "out")] == ["too_short"]


def test_report_and_inspection(curated, tmp_path, capsys):
    from kinema.cli import main

    out, rows = curated
    main(["data", "report", str(out), "--list"])
    printed = capsys.readouterr().out
    assert "frozen: " in printed
    page = (out / "report.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "kinema data filter" in page
    good = by_name(rows)["good_1"]
    main(["data", "inspect", str(out), "--out", str(tmp_path), "--clip", good.clip_id[:10]])
    video = read_video(tmp_path / f"{good.clip_id[:12]}-96x64x17.mp4")
    ((_, frames),) = read_requests([ClipRequest(row=good, size=(96, 64))])
    assert video.fps == 12
    assert np.abs(video.frames.astype(int) - frames).mean() < 4
    assert (tmp_path / f"{good.clip_id[:12]}-96x64x17.txt").read_text() == "caption of good_1\n"


def test_options_are_read_back(curated):
    out, _ = curated
    assert load_options(out) == OPTIONS
    assert json.loads((out / "set.json").read_text())["version"] == 1


def test_rows_name_their_source():
    row = ClipRow(clip_id="0", source="a.tar::b.mp4", path="a.tar", member="b.mp4")
    assert row.item.name == "a.tar::b.mp4"
    assert row.item.stem == "b"
