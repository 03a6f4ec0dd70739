"""Colours: solid colours are preserved, files are tagged with their matrix, and tags are read."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from kinema.media import read_image, read_video, write_video

PURE = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)]
GREYS = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (1, 1, 1), (254, 254, 254)]


@pytest.mark.parametrize("name", ["a.mp4", "av1.mp4", "a.webm", "a.gif", "a.webp"])
@pytest.mark.parametrize("colour", PURE + GREYS)
def test_a_solid_colour_is_preserved(name, colour, tmp_path):
    video = np.full((3, 34, 50, 3), colour, np.uint8)
    write_video(tmp_path / name, video, 24, kind="av1" if name == "av1.mp4" else None)
    back = read_video(tmp_path / name).frames.astype(int)
    assert np.abs(back - video).max() <= 3


def matrix_709(red: int, green: int, blue: int) -> np.ndarray:
    """ITU-R BT.709-6, items 3.2 and 3.4, for 8 bits."""
    r, g, b = red / 255, green / 255, blue / 255
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return np.array([16 + 219 * y, 128 + 224 * (b - y) / 1.8556, 128 + 224 * (r - y) / 1.5748])


@settings(max_examples=10, deadline=None)
@given(colour=st.tuples(*[st.integers(0, 255)] * 3))
def test_stored_values_are_those_of_bt_709(colour, tmp_path_factory):
    path = tmp_path_factory.mktemp("solid") / "a.mp4"
    write_video(path, np.full((2, 32, 32, 3), colour, np.uint8), 24, quality="best")
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    stored = [int(np.frombuffer(bytes(plane), np.uint8)[0]) for plane in frame.planes]
    assert np.abs(np.array(stored) - matrix_709(*colour)).max() <= 1.5


@pytest.mark.parametrize("name", ["a.mp4", "av1.mp4", "a.webm"])
def test_files_are_tagged_with_their_colour_space(name, tmp_path):
    video = np.zeros((2, 16, 16, 3), np.uint8)
    write_video(tmp_path / name, video, 24, kind="av1" if name == "av1.mp4" else None)
    with av.open(str(tmp_path / name)) as container:
        context = container.streams.video[0].codec_context
        assert context.color_range == ColorRange.MPEG
        # 1 is BT.709 in ISO/IEC 23091-2, for matrix, primaries and transfer.
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        assert context.pix_fmt == "yuv420p"


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", ["601", "709", "untagged"])
def test_colour_tags_are_read(matrix, full, wide, tmp_path):
    """Red in each standard is read as red; without a tag the size decides."""
    weights = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}
    standard = matrix if matrix != "untagged" else ("709" if wide else "601")
    red, blue = weights[standard]
    scale = (255, 255, 0) if full else (219, 224, 16)
    y = red * scale[0] + scale[2]
    u, v = 128 + scale[1] * (0 - red) / (2 - 2 * blue), 128 + scale[1] * (1 - red) / (2 - 2 * red)
    width, height = (1280, 16) if wide else (64, 16)
    frame = av.VideoFrame(width, height, "yuv444p")
    for plane, value in zip(frame.planes, (y, u, v), strict=True):
        plane.update(np.full(plane.buffer_size, round(min(value, 255)), np.uint8).tobytes())
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        stream.codec_context.color_range = int(ColorRange.JPEG if full else ColorRange.MPEG)
        if matrix != "untagged":
            stream.codec_context.colorspace = {"601": 6, "709": 1}[matrix]
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    back = read_video(tmp_path / "a.mkv").frames.astype(int)
    assert np.abs(back - (255, 0, 0)).max() <= 3


def test_a_colour_profile_is_converted_to_srgb(tmp_path):
    """Of the profiles that Pillow can create, Lab differs most from sRGB."""
    rgb = np.full((4, 4, 3), (200, 30, 60), np.uint8)
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(Image.fromarray(rgb), srgb, lab, outputMode="LAB")
    converted.save(tmp_path / "a.tiff", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    assert np.abs(read_image(tmp_path / "a.tiff").astype(int) - rgb).max() <= 3


def test_chroma_of_a_gradient_is_not_stepped(tmp_path):
    """Repeating every second chroma sample, as swscale does by default, has errors near 4 of 255."""
    ramp = np.linspace(0, 255, 64)
    video = np.zeros((2, 64, 64, 3), np.uint8)
    video[..., 0], video[..., 2] = ramp[None, :], 255 - ramp[None, :]
    write_video(tmp_path / "a.webm", video, 24, quality="best")
    back = read_video(tmp_path / "a.webm").frames.astype(float)
    assert np.abs(back - video)[:, 2:-2, 2:-2].mean() < 1.5
