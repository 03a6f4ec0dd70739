"""Writing GIF and animated WebP, one frame at a time.

Pillow and libwebp both gather a whole animation before they write it, and both drop repeated frames. Here
every frame is encoded as a still picture by Pillow, cut to the rectangle that changed, and its block is
appended to the file: constant memory, and as many frames come back as went in.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import escape

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinema.errors import UserError
from kinema.media.encode import Write
from kinema.media.formats import Quality

LONGEST_KEY = 48
"""A whole frame at least this often, so that an error in one rectangle does not stay for ever."""


def changed(
    before: UInt8[np.ndarray, "h w 3"] | None, image: UInt8[np.ndarray, "h w 3"]
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of what differs; left and top even, never empty."""
    height, width = image.shape[:2]
    if before is None:
        return 0, 0, width, height
    differs = (before != image).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(columns[0]) & ~1, int(rows[0]) & ~1, int(columns[-1]) + 1, int(rows[-1]) + 1


def ticks(number: int, rate: Fraction, unit: int) -> int:
    """How long frame `number` lasts, in 1/`unit` seconds, such that rounding errors never add up."""
    return round((number + 1) * unit / rate) - round(number * unit / rate)


@contextlib.contextmanager
def webp_encoder(
    path: Path, *, rate: Fraction, size: tuple[int, int], quality: Quality, comment: str
) -> Iterator[Write]:
    """Animated WebP, looping for ever. The comment is kept as an XMP packet (dc:description)."""
    width, height = size
    with path.open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBP")
        flags = 0b00000010 | (0b00000100 if comment else 0)
        file.write(_chunk(b"VP8X", struct.pack("<I", flags) + _three(width - 1) + _three(height - 1)))
        file.write(_chunk(b"ANIM", struct.pack("<IH", 0xFF000000, 0)))
        before: np.ndarray | None = None
        number = 0

        def write(image: UInt8[np.ndarray, "h w 3"]) -> None:
            nonlocal before, number
            left, top, right, bottom = changed(None if number % LONGEST_KEY == 0 else before, image)
            payload = _webp_payload(image[top:bottom, left:right], quality)
            head = (
                _three(left // 2) + _three(top // 2) + _three(right - left - 1) + _three(bottom - top - 1)
                + _three(ticks(number, rate, 1000))
                + b"\x02"
            )  # fmt: skip
            file.write(_chunk(b"ANMF", head + payload))
            before, number = image.copy(), number + 1

        yield write
        if comment:
            file.write(_chunk(b"XMP ", _xmp(comment)))
        length = file.tell() - 8
        if length >= 1 << 32:
            raise UserError("the film is too long for WebP, which ends at 4 GB; write .mp4 or .webm")
        file.seek(4)
        file.write(struct.pack("<I", length))


@contextlib.contextmanager
def gif_encoder(path: Path, *, rate: Fraction, size: tuple[int, int], comment: str) -> Iterator[Write]:
    """GIF, looping for ever, a palette of 256 colours for each frame (exact where a frame has no more).

    Raises:
        UserError: more than 50 frames per second, which no browser shows.
    """
    if rate > 50:
        raise UserError(f"GIF shows at most 50 frames per second, not {float(rate):g}; write .mp4 or .webp")
    with path.open("wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0, 0, 0))
        file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
        if comment:
            file.write(b"\x21\xfe" + _sub_blocks(comment.encode()))
        before: np.ndarray | None = None
        number = 0

        def write(image: UInt8[np.ndarray, "h w 3"]) -> None:
            nonlocal before, number
            left, top, right, bottom = changed(None if number % LONGEST_KEY == 0 else before, image)
            file.write(struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 1 << 2, ticks(number, rate, 100), 0, 0))
            _gif_picture(file, image[top:bottom, left:right], left, top)
            before, number = image.copy(), number + 1

        yield write
        file.write(b"\x3b")


def _three(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _webp_payload(image: UInt8[np.ndarray, "h w 3"], quality: Quality) -> bytes:
    """The chunks of a still WebP, without its file header."""
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    if quality == "lossless":
        picture.save(buffer, "WEBP", lossless=True, quality=40, method=3)
    else:
        level = {"small": 60, "good": 85, "best": 95}[quality]
        picture.save(buffer, "WEBP", quality=level, method=3)
    return buffer.getvalue()[12:]


def _xmp(comment: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
        f'<rdf:li xml:lang="x-default">{escape(comment)}</rdf:li>'
        "</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def _sub_blocks(data: bytes) -> bytes:
    pieces = [data[start : start + 255] for start in range(0, len(data), 255)]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"


def _gif_picture(file: BinaryIO, image: UInt8[np.ndarray, "h w 3"], left: int, top: int) -> None:
    """An image descriptor, its own palette, and the pixels."""
    height, width = image.shape[:2]
    wide = image.astype(np.uint32)
    packed = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    colours, indices = np.unique(packed, return_inverse=True)
    if len(colours) <= 256:
        palette = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8)
        picture = Image.fromarray(indices.reshape(height, width).astype(np.uint8), "P")
    else:
        picture = Image.fromarray(np.ascontiguousarray(image)).quantize(
            256, dither=Image.Dither.FLOYDSTEINBERG
        )
        palette = np.array(picture.getpalette(), dtype=np.uint8).reshape(-1, 3)
    bits = max(1, (len(palette) - 1).bit_length())
    table = np.zeros((2**bits, 3), np.uint8)
    table[: len(palette)] = palette
    file.write(struct.pack("<BHHHHB", 0x2C, left, top, width, height, 0x80 | bits - 1))
    file.write(table.tobytes())
    file.write(_lzw(picture))


def _lzw(picture: Image.Image) -> bytes:
    """The compressed pixels of a palette picture, taken from a GIF that Pillow writes."""
    buffer = io.BytesIO()
    picture.save(buffer, "GIF", optimize=False, interlace=False)
    data = buffer.getvalue()
    table = 3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0
    at = 13 + table
    while data[at] == 0x21:  # an extension: a label, then sub-blocks
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    local = 3 * 2 ** ((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0
    return data[at + 10 + local : -1]
