"""Reading files of other programs: varying rates, rotations, pixel aspects, alpha, damage, other formats."""

from __future__ import annotations

import struct
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kinema.errors import UserError
from kinema.media import (
    Limits,
    frames,
    probe,
    psnr,
    read_image,
    read_video,
    save_png,
    write_video,
)
from tests.fixtures.media_videos import noise_video, smooth_video, write_with_pyav


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gaps=st.lists(st.integers(1, 900), min_size=1, max_size=12), suffix=st.sampled_from(["mkv", "mp4"]))
def test_varying_rate_comes_back_exactly(gaps, suffix, tmp_path):
    times = [0, *np.cumsum(gaps).tolist()]
    video = smooth_video(len(times), 32, 32)
    path = tmp_path / f"vfr.{suffix}"
    write_with_pyav(path, video, pts=times, time_base=Fraction(1, 1000))
    back = read_video(path)
    assert len(back.frames) == len(video)
    assert np.allclose(back.times, np.array(times) / 1000, atol=1e-9, rtol=0)
    assert back.complete


MATRICES = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
MIRRORED = [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]


@pytest.mark.parametrize("matrix", MATRICES + MIRRORED)
@pytest.mark.parametrize("size", [None, (40, 24)])
def test_rotation_and_mirroring_are_applied(matrix, size, tmp_path):
    video = np.zeros((2, 32, 48, 3), np.uint8)
    corners = {(-1, -1): (255, 0, 0), (1, -1): (0, 255, 0), (-1, 1): (0, 0, 255), (1, 1): (255, 255, 255)}
    for (x, y), colour in corners.items():
        video[:, 16 * (y > 0) : 16 + 16 * (y > 0), 24 * (x > 0) : 24 + 24 * (x > 0)] = colour
    path = tmp_path / "rotated.mp4"
    write_with_pyav(path, video, matrix=matrix)
    image = read_video(path, size=size).frames[0]
    height, width = image.shape[:2]
    a, b, c, d = matrix
    assert (width, height) == (size or ((48, 32) if a else (32, 48)))
    assert size or (probe(path).width, probe(path).height) == (width, height)
    for (x, y), colour in corners.items():
        # ISO/IEC 14496-12, 8.3.2: (x, y) is image at (a·x + c·y, b·x + d·y).
        displayed_x, displayed_y = a * x + c * y, b * x + d * y
        pixel = image[height // 2 + displayed_y * height // 4, width // 2 + displayed_x * width // 4]
        assert np.abs(pixel.astype(int) - colour).max() < 40


def test_pixels_come_out_square(tmp_path):
    write_with_pyav(tmp_path / "wide.mp4", smooth_video(2, 36, 40), sample_aspect_ratio=Fraction(3, 2))
    assert read_video(tmp_path / "wide.mp4").frames.shape == (2, 36, 60, 3)
    assert (probe(tmp_path / "wide.mp4").width, probe(tmp_path / "wide.mp4").height) == (60, 36)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.mkv", "ffv1", "bgr0"), ("a.avi", "mpeg4", "yuv420p"), ("a.mov", "libx264", "yuv444p"),
        ("a.ts", "mpeg2video", "yuv420p"), ("a.mkv", "libx265", "yuv420p10le"), ("a.flv", "flv1", "yuv420p"),
        ("b.mkv", "ffv1", "gray"), ("c.mkv", "ffv1", "gbrp16le"), ("b.avi", "mjpeg", "yuvj420p"),
        ("c.webm", "libvpx", "yuv420p"), ("e.wmv", "wmv2", "yuv420p"), ("f.mpg", "mpeg2video", "yuv420p"),
        ("d.mov", "prores_ks", "yuv422p10le"),
    ],
)  # fmt: skip
def test_other_codecs_and_containers(name, codec, pixel_format, tmp_path):
    video = smooth_video(6, 48, 64)
    if pixel_format == "gray":
        video = np.repeat(video[..., :1], 3, axis=3)
    write_with_pyav(tmp_path / name, video, codec=codec, pixel_format=pixel_format, time_base=Fraction(1, 25))
    back = read_video(tmp_path / name)
    assert back.frames.shape == video.shape
    assert psnr(back.frames, video) > 29
    assert back.complete
    assert np.allclose(back.times, np.arange(6) / 25, atol=1e-3)


def test_alpha_is_composited_over_black(tmp_path):
    video = noise_video(2, 16, 16)
    alpha = noise_video(2, 16, 16, seed=1)[..., :1]
    write_with_pyav(
        tmp_path / "a.mkv", np.concatenate([video, alpha], axis=3), codec="ffv1", pixel_format="bgra"
    )
    expected = np.round(video * (alpha / 255.0)).astype(np.uint8)
    assert np.array_equal(read_video(tmp_path / "a.mkv").frames, expected)
    for name in ("a.png", "a.webp", "a.tiff"):
        Image.fromarray(np.concatenate([video[0], alpha[0]], axis=2)).save(
            tmp_path / name, lossless=True, exact=True
        )
        assert np.array_equal(read_image(tmp_path / name), expected[0])


def test_a_video_that_changes_its_size_keeps_the_first(tmp_path):
    chunks = []
    for number, side in enumerate((32, 64)):
        write_with_pyav(tmp_path / f"{number}.h264", smooth_video(3, side, side), options={"bf": "0"})
        chunks.append((tmp_path / f"{number}.h264").read_bytes())
    (tmp_path / "both.h264").write_bytes(b"".join(chunks))
    assert read_video(tmp_path / "both.h264").frames.shape == (6, 32, 32, 3)


def test_scaling_while_reading(tmp_path):
    video = smooth_video(3, 64, 96)
    write_video(tmp_path / "a.mp4", video, 24)
    small = read_video(tmp_path / "a.mp4", size=(48, 32)).frames
    assert small.shape == (3, 32, 48, 3)
    boxes = video.reshape(3, 32, 2, 48, 2, 3).mean(axis=(2, 4))
    assert psnr(small, boxes.round().astype(np.uint8)) > 34
    write_video(tmp_path / "odd.mp4", video[:, :63, :95], 24)
    assert read_video(tmp_path / "odd.mp4", size=(48, 32)).frames.shape == (3, 32, 48, 3)


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a.webp", "a.zip", "a"])
def test_limits(name, tmp_path):
    write_video(tmp_path / name, smooth_video(6, 40, 50), 24)
    video = read_video(tmp_path / name, limits=Limits(max_frames=4))
    assert len(video.frames) == 4
    assert video.complete
    assert video.duration == pytest.approx(4 / 24, abs=0.01)
    with pytest.raises(UserError, match=r"50x40.*1999 pixels"):
        read_video(tmp_path / name, limits=Limits(max_pixels=1999))
    with pytest.raises(UserError, match="memory"):
        read_video(tmp_path / name, limits=Limits(max_bytes=5 * 40 * 50 * 3))
    read_video(tmp_path / name, limits=Limits(max_bytes=6 * 40 * 50 * 3))


def test_a_png_that_declares_too_many_pixels_is_refused_before_decoding(tmp_path):
    save_png(tmp_path / "a.png", noise_video(1, 8, 8)[0])
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[16:24] = struct.pack(">II", 30000, 30000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UserError, match="pixels"):
        read_image(tmp_path / "a.png")


def one_line(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_video(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    with pytest.raises(UserError):
        read_image(path)
    return message


def test_files_that_are_not_videos_give_one_line(tmp_path):
    assert "does not exist" in one_line(tmp_path / "missing.mp4")
    assert "folder without PNG" in one_line(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert "empty (0 bytes)" in one_line(tmp_path / "empty.mp4")
    # FFmpeg reads text files as videos, and opens the addresses in playlists.
    write_video(tmp_path / "a.mp4", smooth_video(2, 16, 16), 24)
    for name, text in {
        "notes.txt": "a red ball rolls\n" * 100,
        "list.m3u8": f"#EXTM3U\n#EXTINF:1,\n{tmp_path / 'a.mp4'}\n#EXT-X-ENDLIST\n",
        "list.txt": f"ffconcat version 1.0\nfile '{tmp_path / 'a.mp4'}'\n",
        "page.mp4": "<html><body>Not found</body></html>",
    }.items():
        (tmp_path / name).write_text(text)
        assert "is not a video" in one_line(tmp_path / name)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 48000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    assert "has no video stream" in one_line(tmp_path / "sound.mp4")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("notes.txt", "hello")
    assert "is not a video" in one_line(tmp_path / "other.zip")


def test_one_frame_and_stills(tmp_path):
    video = smooth_video(1, 20, 30)
    for name in ("a.mp4", "a.webm", "a.gif", "a.webp", "a.zip"):
        write_video(tmp_path / name, video, 24)
        back = read_video(tmp_path / name)
        assert back.frames.shape == (1, 20, 30, 3)
        assert list(back.times) == [0.0]
        assert back.duration == pytest.approx(1 / 24, abs=0.01)
    save_png(tmp_path / "a.png", video[0])
    still = read_video(tmp_path / "a.png")
    assert np.array_equal(still.frames, video)
    assert (still.duration, still.fps) == (1.0, 1.0)


@pytest.mark.parametrize("name", ["a.mp4", "av1.mp4", "a.webm", "a.gif", "a.webp", "a.mkv", "a.avi", "a.ts"])
def test_a_truncated_video_gives_its_beginning(name, tmp_path):
    video = np.clip(smooth_video(40, 48, 64).astype(int) + noise_video(40, 48, 64) // 16, 0, 255).astype(
        np.uint8
    )
    path, cut = tmp_path / name, tmp_path / f"cut{name}"
    if name in ("a.mkv", "a.avi", "a.ts"):
        write_with_pyav(path, video, codec="ffv1" if name == "a.mkv" else "mpeg4", pixel_format="yuv420p")
    else:
        write_video(path, video, 24, kind="av1" if name == "av1.mp4" else None)
    whole = read_video(path)
    assert whole.complete
    image_at = {round(time, 6): image for time, image in zip(whole.times.tolist(), whole.frames, strict=True)}
    data = path.read_bytes()
    cut.write_bytes(data[: len(data) * 4 // 5])
    back = read_video(cut)
    assert 0 < len(back.frames) < 40
    # A transport stream does not declare its end.
    assert not back.complete or name == "a.ts"
    for time, image in zip(back.times.tolist(), back.frames, strict=True):
        assert np.array_equal(image, image_at[round(time, 6)])
    cut.write_bytes(data[: len(data) // 100])
    one_line(cut)


def test_missing_or_damaged_images_of_a_sequence(tmp_path):
    write_video(tmp_path / "video", noise_video(5, 8, 8), 10)
    (tmp_path / "video" / "000003.png").write_bytes(b"\x89PNG")
    back = read_video(tmp_path / "video")
    assert len(back.frames) == 3
    assert not back.complete
    (tmp_path / "video" / "000003.png").unlink()
    (tmp_path / "video" / "000004.png").unlink()
    assert not read_video(tmp_path / "video").complete
    (tmp_path / "video" / "video.json").unlink()
    loose = read_video(tmp_path / "video")
    assert (len(loose.frames), loose.fps, loose.complete) == (3, 24.0, True)
    (tmp_path / "video" / "video.json").write_text('{"rate": "1/0"}')
    assert "video.json is damaged" in one_line(tmp_path / "video")


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    video = smooth_video(8, 32, 32)
    for name in ("a.mp4", "a.webm", "a.gif", "a.webp", "a.zip"):
        write_video(folder / name, video, 24, comment="text")
    for name, codec in (("b.avi", "mpeg4"), ("b.ts", "mpeg2video"), ("b.flv", "flv1"), ("b.mkv", "libx264")):
        write_with_pyav(folder / name, video, codec=codec)
    for name in ("c.png", "c.jpg", "c.webp", "c.tiff", "c.bmp"):
        Image.fromarray(video[0]).save(folder / name)
    return folder


# Pillow may warn about damaged EXIF in addition to the error or the image.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_damage_gives_a_video_or_one_line(seed, samples, tmp_path):
    random = np.random.default_rng(seed)
    files = sorted(samples.iterdir())
    source = files[random.integers(len(files))]
    content = np.frombuffer(source.read_bytes(), np.uint8).copy()
    num_changed = random.integers(0, 13)
    content[random.integers(0, len(content), num_changed)] = random.integers(0, 256, num_changed)
    keep = random.integers(1, len(content) + 1) if random.random() < 0.3 else len(content)
    path = tmp_path / source.name
    path.write_bytes(content[:keep].tobytes())
    try:
        video = read_video(path, limits=Limits(max_pixels=10**6, max_bytes=10**8))
    except UserError as error:
        message = str(error)
    else:
        message = ""
        assert len(video.frames) == len(video.times)
        assert video.frames.dtype == np.uint8
    assert "\n" not in message


def test_reading_is_lazy(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_video(30, 32, 32), 24)
    stream = frames(tmp_path / "a.mp4")
    assert next(stream).time == 0.0
    stream.close()
    (tmp_path / "a.mp4").unlink()
