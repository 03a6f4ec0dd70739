"""Writing animated WebP, one frame at a time, and repairing truncated files.

libwebp's animation encoder keeps the whole animation in memory and merges repeated frames. Here every frame
is a still WebP of Pillow, cropped to the rectangle that changed and appended to the container, with constant
memory and all frames kept. Container: https://developers.google.com/speed/webp/docs/riff_container
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
"""Frame flags: do not blend with the previous frame, and keep the frame below the next one."""


@contextlib.contextmanager
def webp_encoder(
    path: Path, *, rate: Fraction, size: tuple[int, int], quality: Quality, comment: str
) -> Generator[WriteFrame]:
    """Yield a function that takes the next frame. The animation loops; the comment is an XMP description.

    Raises:
        UserError: the file exceeds 4 GB, the limit of the format.
    """
    width, height = size
    with path.open("wb") as file:
        flags = ANIMATED | (HAS_XMP if comment else 0)
        file.write(b"RIFF\0\0\0\0WEBP")
        file.write(_chunk(b"VP8X", struct.pack("<I", flags) + _uint24(width - 1) + _uint24(height - 1)))
        file.write(_chunk(b"ANIM", struct.pack("<IH", 0xFF000000, 0)))
        previous: np.ndarray | None = None
        number = 0

        def write(image: UInt8[np.ndarray, "h w 3"]) -> None:
            nonlocal previous, number
            left, top, right, bottom = dirty_rect(previous if number % KEYFRAME_INTERVAL else None, image)
            rectangle = (
                left // 2,
                top // 2,
                right - left - 1,
                bottom - top - 1,
                frame_duration(number, rate, 1000),
            )
            head = b"".join(map(_uint24, rectangle)) + OVERWRITE_FLAG
            file.write(_chunk(b"ANMF", head + _encode_frame(image[top:bottom, left:right], quality)))
            if file.tell() >= 1 << 32:
                raise UserError("the video exceeds 4 GB, the limit of WebP; write .mp4 or .webm")
            previous, number = image.copy(), number + 1

        yield write
        if comment:
            file.write(_chunk(b"XMP ", _xmp_packet(comment)))
        length = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", length))


def is_complete(head: bytes, length: int) -> bool:
    """Whether a WebP with the first 8 bytes `head` has the length that it declares."""
    return length >= 8 + int.from_bytes(head[4:8], "little")


def repair_truncated(data: bytes) -> bytes:
    """A truncated WebP cut after its last complete chunk, so that the frames up to there can be read."""
    end = 12
    while end + 8 <= len(data):
        length = int.from_bytes(data[end + 4 : end + 8], "little")
        next_end = end + 8 + length + length % 2
        if next_end > len(data):
            break
        end = next_end
    return data[:4] + struct.pack("<I", end - 8) + data[8:end]


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _encode_frame(image: UInt8[np.ndarray, "h w 3"], quality: Quality) -> bytes:
    """The chunks of a still WebP, without its file header."""
    buffer = io.BytesIO()
    still = Image.fromarray(np.ascontiguousarray(image))
    if quality == "lossless":
        still.save(buffer, "WEBP", lossless=True, quality=40, method=3)
    else:
        webp_quality = {"small": 60, "good": 85, "best": 95}[quality]
        still.save(buffer, "WEBP", quality=webp_quality, method=3)
    return buffer.getvalue()[12:]


def _xmp_packet(comment: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
        f'<rdf:li xml:lang="x-default">{escape(comment)}</rdf:li>'
        "</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
