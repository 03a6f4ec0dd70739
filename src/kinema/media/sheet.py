"""Many pictures in one: contact sheets with captions, and sprite sheets for scrubbing on a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from kinema.media.still import resized

GAP = 4
"""Pixels between pictures."""
FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")
"""Tried in turn for captions beyond ASCII."""
PAPER = (24, 24, 27)
INK = (228, 228, 231)


def evenly(frames: int, wanted: int) -> list[int]:
    """`wanted` frame numbers from the first to the last, evenly spread; all of them if there are fewer."""
    if wanted >= frames:
        return list(range(frames))
    if wanted == 1:
        return [0]
    return [round(at * (frames - 1) / (wanted - 1)) for at in range(wanted)]


def contact_sheet(
    rows: Sequence[tuple[str, UInt8[np.ndarray, "_ _ _ 3"]]],
    *,
    columns: int = 8,
    height: int = 128,
    text: int = 14,
) -> UInt8[np.ndarray, "H W 3"]:
    """One row of evenly spread frames for each film, its caption above it, wrapped to the row.

    Args:
        rows: (caption, frames `f h w 3`) of each film; sizes may differ, an empty caption takes no room.
        columns: Frames shown of each film, at most.
        height: Of each frame on the sheet, in pixels; the aspect is kept.
        text: Size of the captions, in pixels.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    font = _font(text, "".join(caption for caption, _ in rows))
    strips = [_strip(frames, columns, height) for _, frames in rows]
    width = max(strip.shape[1] for strip in strips) + 2 * GAP
    blocks = [wrapped(caption, font, width - 2 * GAP) for caption, _ in rows]
    line = math.ceil(text * 1.35)
    total = GAP + sum(
        len(block) * line + strip.shape[0] + 2 * GAP for block, strip in zip(blocks, strips, strict=True)
    )
    sheet = Image.new("RGB", (width, total), PAPER)
    pen = ImageDraw.Draw(sheet)
    top = GAP
    for block, strip in zip(blocks, strips, strict=True):
        for words in block:
            pen.text((GAP, top), words, font=font, fill=INK)
            top += line
        sheet.paste(Image.fromarray(strip), (GAP, top))
        top += strip.shape[0] + 2 * GAP
    return np.asarray(sheet).copy()


@dataclass(frozen=True, kw_only=True, eq=False)
class Sprites:
    """A grid of small frames, read left to right and top to bottom."""

    image: UInt8[np.ndarray, "H W 3"]
    columns: int
    frames: tuple[int, ...]
    """Which frame of the film stands in each cell."""
    width: int
    height: int
    """Of one cell, in pixels."""


def sprites(frames: UInt8[np.ndarray, "f h w 3"], *, count: int = 25, height: int = 90) -> Sprites:
    """At most `count` evenly spread frames in a nearly square grid; empty cells are black."""
    chosen = evenly(len(frames), count)
    width = max(1, round(height * frames.shape[2] / frames.shape[1]))
    columns = math.ceil(math.sqrt(len(chosen)))
    grid = np.zeros((math.ceil(len(chosen) / columns) * height, columns * width, 3), np.uint8)
    for cell, number in enumerate(chosen):
        top, left = cell // columns * height, cell % columns * width
        grid[top : top + height, left : left + width] = resized(frames[number], (width, height))
    return Sprites(image=grid, columns=columns, frames=tuple(chosen), width=width, height=height)


def _strip(frames: UInt8[np.ndarray, "f h w 3"], columns: int, height: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    width = max(1, round(height * frames.shape[2] / frames.shape[1]))
    cells: list[np.ndarray] = []
    for number in evenly(len(frames), columns):
        if cells:
            cells.append(np.full((height, GAP, 3), PAPER, np.uint8))
        cells.append(resized(frames[number], (width, height)))
    return np.concatenate(cells, axis=1)


def _font(size: int, words: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, the same everywhere but ASCII only; for other letters one of the system's."""
    for name in () if words.isascii() else FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def wrapped(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The caption in lines no wider than `width` pixels; a word that is wider on its own is broken."""
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
