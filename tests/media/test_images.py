"""Still images: orientation, bit depth, palettes, saving and resizing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kinema.errors import UserError
from kinema.media import probe, psnr, read_image, resize, save_image, save_png, thumbnail
from tests.fixtures.media_videos import noise_video, smooth_video


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_png_is_exact(height, width, tmp_path):
    image = noise_video(1, height, width)[0]
    save_png(tmp_path / "a.png", image)
    assert np.array_equal(read_image(tmp_path / "a.png"), image)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.jpeg", "a.webp"])
def test_images_are_saved_by_their_suffix(name, tmp_path):
    image = smooth_video(1, 60, 80)[0]
    save_image(tmp_path / name, image)
    back = read_image(tmp_path / name)
    assert psnr(back, image) > 38
    assert (probe(tmp_path / name).width, probe(tmp_path / name).height) == (80, 60)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"\.png, \.jpg"):
        save_image(tmp_path / "a.pgn", smooth_video(1, 8, 8)[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, tmp_path):
    image = Image.fromarray(noise_video(1, 10, 16)[0])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    # The eight cases of the EXIF standard, as transpositions.
    transposition = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
    }[orientation]  # fmt: skip
    expected = np.asarray(image if transposition is None else image.transpose(transposition))
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)
    assert (probe(tmp_path / "a.png").height, probe(tmp_path / "a.png").width) == expected.shape[:2]


def test_sixteen_bits_grey_palette_and_black_and_white(tmp_path):
    grey = noise_video(1, 12, 12)[0, ..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.repeat(grey[..., None], 3, axis=2))
    Image.fromarray(grey).save(tmp_path / "b.png")
    assert np.array_equal(read_image(tmp_path / "b.png"), np.repeat(grey[..., None], 3, axis=2))
    Image.fromarray(grey > 99).save(tmp_path / "c.png")
    assert np.array_equal(read_image(tmp_path / "c.png")[..., 1], (grey > 99) * np.uint8(255))
    palette = Image.fromarray(grey // 16).convert("P")
    palette.save(tmp_path / "d.png")
    assert np.array_equal(read_image(tmp_path / "d.png")[..., 0], grey // 16)


def test_cmyk(tmp_path):
    image = Image.fromarray(smooth_video(1, 16, 16)[0])
    image.convert("CMYK").save(tmp_path / "a.tiff")
    assert psnr(read_image(tmp_path / "a.tiff"), np.asarray(image)) > 40


@pytest.mark.parametrize("kind", ["webp", "jpeg", "png"])
@pytest.mark.parametrize(("height", "width"), [(300, 200), (90, 400), (20, 30)])
def test_thumbnails_keep_the_aspect(kind, height, width):
    image = smooth_video(1, height, width)[0]
    with Image.open(io.BytesIO(thumbnail(image, 100, kind))) as small:
        assert small.format == kind.upper()
        scale = min(1, 100 / max(height, width))
        assert np.abs(np.array(small.size) - (width * scale, height * scale)).max() <= 0.5
        assert psnr(np.asarray(small.convert("RGB")), resize(image, small.size)) > 30


def test_resizing_to_the_same_size_changes_nothing():
    image = noise_video(1, 9, 7)[0]
    assert resize(image, (7, 9)) is image
    assert resize(image, (14, 3)).shape == (3, 14, 3)
