"""Writing GIF, one frame at a time.

Pillow collects a whole animation before it writes, and drops repeated frames. Here every frame is cropped to
the rectangle that changed, reduced to 256 colours and appended, with constant memory and all frames kept.
Format: https://www.w3.org/Graphics/GIF/spec-gif89a.txt
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinema.errors import UserError
from kinema.media.encode import WriteFrame
from kinema.media.frame_diff import KEYFRAME_INTERVAL, dirty_rect, frame_duration

PALETTE_SAMPLE_SIZE = 96
"""Rows and columns of the sample that palettes are computed from; more is slower and no better."""


@contextlib.contextmanager
def gif_encoder(path: Path, *, rate: Fraction, size: tuple[int, int], comment: str) -> Generator[WriteFrame]:
    """Yield a function that takes the next frame. The animation loops.

    A frame of at most 256 colours is stored exactly. Other frames are dithered and share a palette until its
    error is too large, because a new palette for every frame flickers.

    Raises:
        UserError: more than 50 frames per second, which browsers do not show.
    """
    if rate > 50:
        raise UserError(f"GIF shows at most 50 frames per second, not {float(rate):g}; write .mp4 or .webp")
    with path.open("wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0, 0, 0))
        file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
        if comment:
            file.write(b"\x21\xfe" + _sub_blocks(comment.encode()))
        previous: np.ndarray | None = None
        shared: tuple[Image.Image, float] | None = None
        number = 0

        def write(image: UInt8[np.ndarray, "h w 3"]) -> None:
            nonlocal previous, shared, number
            left, top, right, bottom = dirty_rect(previous if number % KEYFRAME_INTERVAL else None, image)
            changed = np.ascontiguousarray(image[top:bottom, left:right])
            indexed = to_palette(changed)
            if indexed is None:
                indexed, shared = _dither(changed, image, shared)
            control = 1 << 2  # keep the frame below the next one
            file.write(
                struct.pack("<BBBBHBB", 0x21, 0xF9, 4, control, frame_duration(number, rate, 100), 0, 0)
            )
            file.write(_image_block(*indexed, left, top))
            previous, number = image.copy(), number + 1

        yield write
        file.write(b"\x3b")


def to_palette(
    image: UInt8[np.ndarray, "h w 3"],
) -> tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "k 3"]] | None:
    """Indices and palette of an image with at most 256 colours; None for other images."""
    if Image.fromarray(image).getcolors(256) is None:
        return None
    values = image.astype(np.uint32)
    packed = values[..., 0] << 16 | values[..., 1] << 8 | values[..., 2]
    colours, indices = np.unique(packed, return_inverse=True)
    palette = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8)
    return indices.reshape(packed.shape).astype(np.uint8), palette


def _dither(
    changed: UInt8[np.ndarray, "h w 3"],
    image: UInt8[np.ndarray, "H W 3"],
    shared_palette: tuple[Image.Image, float] | None,
) -> tuple[tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "k 3"]], tuple[Image.Image, float]]:
    """Indices and palette of `changed`, and the shared palette with its error for the next frame.

    The error is the mean square over a sample of `image` before dithering. A palette is replaced when its
    error exceeds 1.5 times that of its own frame, plus 4.
    """
    rows = np.linspace(0, image.shape[0] - 1, min(PALETTE_SAMPLE_SIZE, image.shape[0])).astype(int)
    columns = np.linspace(0, image.shape[1] - 1, min(PALETTE_SAMPLE_SIZE, image.shape[1])).astype(int)
    sample = Image.fromarray(np.ascontiguousarray(image[np.ix_(rows, columns)]))
    if shared_palette is None or _palette_error(sample, shared_palette[0]) > 1.5 * shared_palette[1] + 4:
        palette = sample.quantize(256, method=Image.Quantize.MEDIANCUT)
        shared_palette = palette, _palette_error(sample, palette)
    quantized = Image.fromarray(changed).quantize(
        palette=shared_palette[0], dither=Image.Dither.FLOYDSTEINBERG
    )
    colours = np.array(shared_palette[0].getpalette(), dtype=np.uint8).reshape(-1, 3)
    return (np.asarray(quantized), colours), shared_palette


def _palette_error(sample: Image.Image, palette: Image.Image) -> float:
    matched = sample.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")
    return float(np.square(np.asarray(matched, np.float32) - np.asarray(sample, np.float32)).mean())


def _image_block(
    indices: UInt8[np.ndarray, "h w"], palette: UInt8[np.ndarray, "k 3"], left: int, top: int
) -> bytes:
    """An image descriptor with a local palette, and the pixels."""
    height, width = indices.shape
    bits = max(1, (len(palette) - 1).bit_length())
    table = np.zeros((2**bits, 3), np.uint8)
    table[: len(palette)] = palette
    local_palette = 0x80
    head = struct.pack("<BHHHHB", 0x2C, left, top, width, height, local_palette | bits - 1)
    return head + table.tobytes() + _lzw_data(indices)


def _lzw_data(indices: UInt8[np.ndarray, "h w"]) -> bytes:
    """The pixels in GIF's LZW encoding, extracted from a still GIF of Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(indices, "P").save(buffer, "GIF", optimize=False, interlace=False)
    data = buffer.getvalue()
    position = 13 + _table_bytes(data[10])
    while data[position] == 0x21:  # an extension: a label, then sub-blocks
        position += 2
        while data[position]:
            position += 1 + data[position]
        position += 1
    return data[position + 10 + _table_bytes(data[position + 9]) : -1]


def _table_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _sub_blocks(data: bytes) -> bytes:
    pieces = [data[start : start + 255] for start in range(0, len(data), 255)]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"
