"""Writing animated WebP, one frame at a time, and saving what is left of one that was cut off.

libwebp's own animation encoder keeps the whole film in memory and merges repeated frames. Here every frame
is a still WebP by Pillow, cut to the rectangle that changed and appended to the container: constant memory,
and as many frames come back as went in. Container: https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinema.errors import UserError
from kinema.media.encode import WriteFrame
from kinema.media.formats import Quality
from kinema.media.frame_diff import KEYFRAME_INTERVAL, dirty_rect, frame_duration

ANIMATED, HAS_XMP = 0b10, 0b100
OVERWRITE_FLAG = b"\x02"
"""Frame flags: don't blend with what is below, and leave the frame there for the next."""


@contextlib.contextmanager
def webp_encoder(
    path: Path, *, rate: Fraction, size: tuple[int, int], quality: Quality, comment: str
) -> Generator[WriteFrame]:
    """Yield a function that takes the next frame. The film loops; the comment is an XMP description.

    Raises:
        UserError: the file passes 4 GB, where the format ends.
    """
    width, height = size
    with path.open("wb") as file:
        flags = ANIMATED | (HAS_XMP if comment else 0)
        file.write(b"RIFF\0\0\0\0WEBP")
        file.write(_chunk(b"VP8X", struct.pack("<I", flags) + _uint24(width - 1) + _uint24(height - 1)))
        file.write(_chunk(b"ANIM", struct.pack("<IH", 0xFF000000, 0)))
        before: np.ndarray | None = None
        number = 0

        def write(image: UInt8[np.ndarray, "h w 3"]) -> None:
            nonlocal before, number
            left, top, right, bottom = dirty_rect(before if number % KEYFRAME_INTERVAL else None, image)
            place = (
                left // 2,
                top // 2,
                right - left - 1,
                bottom - top - 1,
                frame_duration(number, rate, 1000),
            )
            head = b"".join(map(_uint24, place)) + OVERWRITE_FLAG
            file.write(_chunk(b"ANMF", head + _encode_frame(image[top:bottom, left:right], quality)))
            if file.tell() >= 1 << 32:
                raise UserError("WebP ends at 4 GB, and the film is longer; write .mp4 or .webm")
            before, number = image.copy(), number + 1

        yield write
        if comment:
            file.write(_chunk(b"XMP ", _xmp_packet(comment)))
        length = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", length))


def is_complete(head: bytes, length: int) -> bool:
    """Whether a WebP whose first 8 bytes are `head` is as long as it promises."""
    return length >= 8 + int.from_bytes(head[4:8], "little")


def repair_truncated(data: bytes) -> bytes:
    """A WebP that was cut off, ended after its last whole chunk, so that the frames up to there are read."""
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        following = at + 8 + length + length % 2
        if following > len(data):
            break
        at = following
    return data[:4] + struct.pack("<I", at - 8) + data[8:at]


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _encode_frame(image: UInt8[np.ndarray, "h w 3"], quality: Quality) -> bytes:
    """The chunks of a still WebP, without its file header."""
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    if quality == "lossless":
        picture.save(buffer, "WEBP", lossless=True, quality=40, method=3)
    else:
        level = {"small": 60, "good": 85, "best": 95}[quality]
        picture.save(buffer, "WEBP", quality=level, method=3)
    return buffer.getvalue()[12:]


def _xmp_packet(comment: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
        f'<rdf:li xml:lang="x-default">{escape(comment)}</rdf:li>'
        "</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
