"""Every format returns what was written: frames, size, times, rate and comment."""

from __future__ import annotations

import struct
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.media import frames, open_writer, probe, psnr, read_video, write_video
from tests.fixtures.media_videos import noise_video, smooth_video

few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
sides = st.integers(1, 41)
lengths = st.integers(1, 6)
texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60)


def roundtrip(name: str, video: np.ndarray, fps: float = 24.0, **options: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write_video(path, video, fps, **options)
        return read_video(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("video.webm", {"quality": "lossless"}),
        ("video.webp", {"quality": "lossless"}),
        ("video.zip", {}),
        ("video", {}),
    ],
)
@few
@given(height=sides, width=sides, length=lengths, comment=texts)
def test_lossless_formats_are_exact(name, options, height, width, length, comment):
    video = noise_video(length, height, width)
    back = roundtrip(name, video, comment=comment, **options)
    assert np.array_equal(back.frames, video)
    assert back.comment == comment
    assert back.complete


@few
@given(height=sides, width=sides, length=lengths, colours=st.integers(1, 256), comment=texts)
def test_gif_of_few_colours_is_exact(height, width, length, colours, comment):
    random = np.random.default_rng(colours)
    palette = random.integers(0, 256, (colours, 3), np.uint8)
    video = palette[random.integers(0, colours, (length, height, width))]
    back = roundtrip("video.gif", video, comment=comment)
    assert np.array_equal(back.frames, video)
    assert back.comment == comment


MIN_PSNR = {"video.mp4": 34.0, "av1.mp4": 34.0, "video.webm": 34.0, "video.webp": 34.0, "video.gif": 32.0}


@pytest.mark.parametrize("name", list(MIN_PSNR))
@few
@given(height=sides, width=sides, length=lengths, seed=st.integers(0, 99), comment=texts)
def test_lossy_formats_keep_size_length_and_content(name, height, width, length, seed, comment):
    options = {"kind": "av1"} if name == "av1.mp4" else {}
    if options:
        height, width = max(4, height), max(4, width)
    video = smooth_video(length, height, width, seed)
    back = roundtrip(name, video, comment=comment, **options)
    assert back.frames.shape == video.shape
    assert psnr(back.frames, video) > MIN_PSNR[name]
    assert back.comment == comment
    assert back.complete


@pytest.mark.parametrize(
    ("name", "time_unit"), [("a.mp4", 0), ("a.webm", 1e-3), ("a.gif", 1e-2), ("a.webp", 1e-3), ("a.zip", 0)]
)
@pytest.mark.parametrize("fps", [24.0, Fraction(30000, 1001), 12.5, 7, 50])
def test_times_are_those_of_the_rate(name, time_unit, fps):
    video = smooth_video(40, 16, 16)
    back = roundtrip(name, video, fps)
    exact = np.arange(40) / float(fps)
    # Rounded to the format's unit of time; errors do not add up.
    assert np.abs(back.times - exact).max() <= time_unit / 2 + 1e-9
    # The last time and the last duration are each rounded.
    assert abs(back.duration - 40 / float(fps)) <= 2 * time_unit + 1e-9
    assert back.fps == pytest.approx(float(fps), rel=0 if time_unit == 0 else 0.02)


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a.webp", "a.zip"])
def test_repeated_frames_are_kept(name):
    video = np.repeat(smooth_video(2, 24, 24), 5, axis=0)
    assert len(roundtrip(name, video).frames) == 10


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_keyframes_are_written_and_small_changes_are_small(name, tmp_path):
    still = noise_video(1, 64, 64)[0] // 32 * 32
    video = np.repeat(still[None], 100, axis=0)
    video[np.arange(100), 10, np.arange(100) % 64] = 7
    path = tmp_path / name
    write_video(path, video, 25, quality="lossless" if name == "a.webp" else "good")
    if name == "a.webp":
        assert np.array_equal(read_video(path).frames, video)
    one = tmp_path / f"one{name}"
    write_video(one, video[:1], 25, quality="lossless" if name == "a.webp" else "good")
    assert path.stat().st_size < 20 * one.stat().st_size
    whole = {
        "a.gif": b"\x2c" + struct.pack("<4H", 0, 0, 64, 64),
        "a.webp": b"\0\0\0" * 2 + b"\x3f\0\0" * 2 + b"\x28\0\0",
    }[name]
    assert path.read_bytes().count(whole) == 3  # frames 0, 48 and 96


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a.webp", "a.zip", "a"])
def test_streamed_frames_equal_read_video(name, tmp_path):
    video = smooth_video(9, 33, 27)
    with open_writer(tmp_path / name, fps=24, size=(27, 33)) as out:
        out.write(video[0])
        out.write(video[1:6])
        out.write(video[6:])
        assert out.num_frames == 9
    whole = read_video(tmp_path / name)
    singles = list(frames(tmp_path / name))
    assert np.array_equal(np.stack([one.image for one in singles]), whole.frames)
    assert [one.time for one in singles] == list(whole.times)
    gaps = np.diff(np.append(whole.times, whole.duration))
    assert np.allclose([one.duration for one in singles], gaps)
    info = probe(tmp_path / name)
    assert (info.width, info.height) == (27, 33)


def test_quality_levels_are_ordered(tmp_path):
    video = np.clip(smooth_video(8, 96, 96).astype(int) + noise_video(8, 96, 96) // 16, 0, 255).astype(
        np.uint8
    )
    for name, kind in (("a.mp4", None), ("b.mp4", "av1"), ("a.webm", None), ("a.webp", None)):
        found = []
        for quality in ("small", "good", "best"):
            write_video(tmp_path / name, video, 24, quality=quality, kind=kind)
            found.append((psnr(read_video(tmp_path / name).frames, video), (tmp_path / name).stat().st_size))
        assert found == sorted(found)
        assert len({size for _, size in found}) == 3
