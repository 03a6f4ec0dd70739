"""Contact sheets and sprite sheets: positions of the frames, and captions that fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from kinema.media import contact_sheet, evenly_spaced, resize, sprite_sheet
from kinema.media.contact_sheet import BACKGROUND_COLOUR, GAP, TEXT_COLOUR, wrap_text
from tests.fixtures.media_videos import noise_video


@settings(deadline=None)
@given(frames=st.integers(1, 200), count=st.integers(1, 60))
def test_frames_are_evenly_spaced(frames, count):
    chosen = evenly_spaced(frames, count)
    assert len(chosen) == min(frames, count)
    assert chosen == sorted(set(chosen))
    assert chosen[0] == 0
    if len(chosen) > 1:
        assert chosen[-1] == frames - 1
        gaps = np.diff(chosen)
        assert gaps.max() - gaps.min() <= 1


def test_the_sheet_contains_the_frames_unchanged():
    first, second = noise_video(9, 32, 40), noise_video(3, 32, 20, seed=1)
    sheet = contact_sheet([("", first), ("", second)], columns=5, height=32)
    assert sheet.dtype == np.uint8
    for column, number in enumerate(evenly_spaced(9, 5)):
        left = GAP + column * (40 + GAP)
        assert np.array_equal(sheet[GAP : GAP + 32, left : left + 40], first[number])
    top = GAP + 32 + 2 * GAP
    for column in range(3):
        left = GAP + column * (20 + GAP)
        assert np.array_equal(sheet[top : top + 32, left : left + 20], second[column])
    assert sheet.shape == (top + 32 + 2 * GAP, 5 * 40 + 4 * GAP + 2 * GAP, 3)


def test_captions_are_drawn_above_their_row_and_inside_the_sheet():
    black = np.zeros((4, 40, 60, 3), np.uint8)
    caption = "a red ball rolls to the left and stops next to a tall blue cylinder on a wooden table"
    plain = contact_sheet([("", black)], columns=4, height=40)
    sheet = contact_sheet([(caption, black), ("", black)], columns=4, height=40)
    lines = (sheet.shape[0] - GAP - 2 * (40 + 2 * GAP)) / 19
    assert lines == int(lines) >= 2
    text = sheet[: GAP + 19 * int(lines)]
    inked = (text > (np.array(BACKGROUND_COLOUR) + 60)).all(axis=2)
    assert inked.sum() > 300
    assert np.abs(text.reshape(-1, 3)[inked.ravel()].max(axis=0).astype(int) - TEXT_COLOUR).max() < 30
    assert not inked[:, -1].any()
    assert np.array_equal(sheet[-(40 + 2 * GAP) :], plain[-(40 + 2 * GAP) :])


@settings(max_examples=60, deadline=None)
@given(
    caption=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=80)
    | st.lists(st.sampled_from(["a", "ball", "rolls", "W" * 30]), max_size=30).map(" ".join),
    width=st.integers(20, 200),
)
def test_wrapping_keeps_every_letter_within_the_width(caption, width):
    font = ImageFont.load_default(12)
    lines = wrap_text(caption, font, width)
    assert "".join("".join(lines).split()) == "".join(caption.split())
    for line in lines:
        assert font.getlength(line) <= width or len(line) == 1


@pytest.mark.parametrize(("frames", "count"), [(1, 25), (7, 25), (100, 25), (30, 10)])
def test_sprite_sheet_has_the_listed_frames(frames, count):
    video = noise_video(frames, 20, 30)
    grid = sprite_sheet(video, count=count, height=10)
    assert grid.width == 15
    for cell, number in enumerate(grid.frame_indices):
        top, left = cell // grid.columns * 10, cell % grid.columns * 15
        assert np.array_equal(grid.image[top : top + 10, left : left + 15], resize(video[number], (15, 10)))
    assert list(grid.frame_indices) == evenly_spaced(frames, count)


def test_an_empty_sheet_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([])
