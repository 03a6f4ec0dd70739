"""Shape arithmetic: round trips, and one-line errors that name the nearest valid shape."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.shapes import LatentShape, Stride, VideoShape, parse_size

STRIDES = st.builds(Stride, temporal=st.integers(1, 8), spatial=st.sampled_from([1, 2, 4, 8, 16]))
SIDES = st.integers(1, 300)


@given(stride=STRIDES, frames=st.integers(1, 40), height=st.integers(1, 20), width=st.integers(1, 20))
def test_latent_shape_round_trip(stride, frames, height, width):
    latents = LatentShape(frames=frames, height=height, width=width)
    assert LatentShape.of(latents.video(stride), stride) == latents


@given(stride=STRIDES, frames=SIDES, height=SIDES, width=SIDES, patch=st.sampled_from([1, 2]))
def test_rounding_gives_the_nearest_shape_that_fits(stride, frames, height, width, patch):
    requested = VideoShape(frames=frames, height=height, width=width)
    nearest = requested.rounded(stride, patch)
    latents = LatentShape.of(nearest, stride)
    assert latents.height % patch == latents.width % patch == 0
    assert abs(nearest.frames - frames) <= stride.temporal / 2
    unit = stride.spatial * patch
    for rounded, side in ((nearest.height, height), (nearest.width, width)):
        assert rounded >= unit
        assert abs(rounded - side) <= unit / 2 or rounded == unit
    assert nearest.rounded(stride, patch) == nearest


@given(stride=STRIDES, frames=st.integers(1, 60))
def test_every_video_frame_maps_to_one_latent_frame(stride, frames):
    latents = LatentShape(frames=frames, height=1, width=1)
    video = latents.video(stride)
    indices = [latents.latent_frame_index(frame, stride) for frame in range(video.frames)]
    assert indices[0] == 0
    assert indices.count(0) == 1
    assert indices == sorted(indices)
    assert indices[-1] == frames - 1
    assert all(indices.count(k) == stride.temporal for k in range(1, frames))


def test_invalid_shape_names_the_nearest_valid_one():
    with pytest.raises(UserError, match=r"nearest is 81 frames at 832x480") as caught:
        LatentShape.of(VideoShape(frames=80, height=479, width=830), Stride(temporal=4, spatial=8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sides", [(0, 1, 1), (1, 0, 1), (1, 1, -4)])
def test_empty_video_is_rejected(sides):
    with pytest.raises(UserError, match="empty"):
        VideoShape(frames=sides[0], height=sides[1], width=sides[2])


@pytest.mark.parametrize(("text", "size"), [("832x480", (832, 480)), ("64X32", (64, 32)), ("8×9", (8, 9))])
def test_sizes_are_parsed(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "x", "832", "832x", "x480", "0x8", "8x0", "-8x8", "8x8x8", "a x b", "8.5x8"]
)
def test_invalid_size_is_a_user_error(text):
    with pytest.raises(UserError, match="832x480"):
        parse_size(text)


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_user_error(text):
    with contextlib.suppress(UserError):
        assert min(parse_size(text)) > 0
