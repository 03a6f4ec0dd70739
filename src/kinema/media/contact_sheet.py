"""Contact sheets with captions, and sprite sheets for scrubbing on a web page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from kinema.media.images import resize

GAP = 4
"""Pixels between images."""
FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")
"""Fonts for captions beyond ASCII; the first that is installed is used."""
BACKGROUND_COLOUR = (24, 24, 27)
TEXT_COLOUR = (228, 228, 231)


def evenly_spaced(num_frames: int, count: int) -> list[int]:
    """`count` evenly spaced frame indices, first and last included; all indices if there are fewer."""
    if count >= num_frames:
        return list(range(num_frames))
    if count == 1:
        return [0]
    return [round(index * (num_frames - 1) / (count - 1)) for index in range(count)]


def contact_sheet(
    rows: Sequence[tuple[str, UInt8[np.ndarray, "_ _ _ 3"]]],
    *,
    columns: int = 8,
    height: int = 128,
    font_size: int = 14,
) -> UInt8[np.ndarray, "H W 3"]:
    """One row of evenly spaced frames for each video, below its wrapped caption.

    Args:
        rows: caption and frames `f h w 3` of each video; sizes may differ, an empty caption needs no space.
        columns: maximum number of frames of each video.
        height: height of each frame on the sheet, in pixels; the aspect ratio is kept.
        font_size: size of the captions, in pixels.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    font = _load_font(font_size, "".join(caption for caption, _ in rows))
    strips = [_frame_strip(frames, columns, height) for _, frames in rows]
    width = max(strip.shape[1] for strip in strips) + 2 * GAP
    blocks = [wrap_text(caption, font, width - 2 * GAP) for caption, _ in rows]
    line = math.ceil(font_size * 1.35)
    total = GAP + sum(
        len(block) * line + strip.shape[0] + 2 * GAP for block, strip in zip(blocks, strips, strict=True)
    )
    sheet = Image.new("RGB", (width, total), BACKGROUND_COLOUR)
    pen = ImageDraw.Draw(sheet)
    top = GAP
    for block, strip in zip(blocks, strips, strict=True):
        for text in block:
            pen.text((GAP, top), text, font=font, fill=TEXT_COLOUR)
            top += line
        sheet.paste(Image.fromarray(strip), (GAP, top))
        top += strip.shape[0] + 2 * GAP
    return np.asarray(sheet).copy()


@dataclass(frozen=True, kw_only=True, eq=False)
class SpriteSheet:
    """A grid of small frames, read left to right and top to bottom."""

    image: UInt8[np.ndarray, "H W 3"]
    columns: int
    frame_indices: tuple[int, ...]
    """The frame of the video in each cell."""
    width: int
    height: int
    """Width and height of a cell, in pixels."""


def sprite_sheet(frames: UInt8[np.ndarray, "f h w 3"], *, count: int = 25, height: int = 90) -> SpriteSheet:
    """At most `count` evenly spaced frames in a nearly square grid; empty cells are black."""
    chosen = evenly_spaced(len(frames), count)
    width = max(1, round(height * frames.shape[2] / frames.shape[1]))
    columns = math.ceil(math.sqrt(len(chosen)))
    grid = np.zeros((math.ceil(len(chosen) / columns) * height, columns * width, 3), np.uint8)
    for cell, number in enumerate(chosen):
        top, left = cell // columns * height, cell % columns * width
        grid[top : top + height, left : left + width] = resize(frames[number], (width, height))
    return SpriteSheet(image=grid, columns=columns, frame_indices=tuple(chosen), width=width, height=height)


def _frame_strip(
    frames: UInt8[np.ndarray, "f h w 3"], columns: int, height: int
) -> UInt8[np.ndarray, "h2 w2 3"]:
    width = max(1, round(height * frames.shape[2] / frames.shape[1]))
    cells: list[np.ndarray] = []
    for number in evenly_spaced(len(frames), columns):
        if cells:
            cells.append(np.full((height, GAP, 3), BACKGROUND_COLOUR, np.uint8))
        cells.append(resize(frames[number], (width, height)))
    return np.concatenate(cells, axis=1)


def _load_font(size: int, text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's font for ASCII, the same on every machine; for other characters a system font."""
    for name in () if text.isascii() else FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def wrap_text(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The caption in lines of at most `width` pixels; wider words are broken."""
    lines: list[str] = []
    for paragraph in caption.split("\n") if caption else []:
        line = ""
        for word in paragraph.split():
            trial = f"{line} {word}" if line else word
            if font.getlength(trial) <= width:
                line = trial
                continue
            if line:
                lines.append(line)
            line = word
            while font.getlength(line) > width and len(line) > 1:
                fits = len(line) - 1
                while fits > 1 and font.getlength(line[:fits]) > width:
                    fits -= 1
                lines.append(line[:fits])
                line = line[fits:]
        lines.append(line)
    return lines
