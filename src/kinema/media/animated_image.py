"""Reading animated images (GIF, WebP, APNG, AVIF) through Pillow."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from xml.sax.saxutils import unescape

from PIL import Image

from kinema.errors import UserError
from kinema.media.images import DECODE_ERRORS, check_pixels, resize, to_rgb
from kinema.media.types import Frame, Limits, ReadResult
from kinema.media.webp import is_complete

ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose pages are frames; the pages of a TIFF or of a phone's JPEG are not."""

DEFAULT_FRAME_MS = 100
"""Milliseconds for which browsers show a GIF frame without a duration."""


def read_comment(image: Image.Image) -> str:
    """The text that our writers store: a GIF comment, or the description in a WebP's XMP."""
    plain = image.info.get("comment")
    if isinstance(plain, bytes):
        return plain.decode("utf-8", "replace")
    packet = image.info.get("xmp")
    if isinstance(packet, bytes):
        found = re.search(
            r'<rdf:li xml:lang="x-default">(.*?)</rdf:li>', packet.decode("utf-8", "replace"), re.DOTALL
        )
        return unescape(found[1]) if found else ""
    return ""


def frames(
    path: Path, image: Image.Image, size: tuple[int, int] | None, limits: Limits
) -> Generator[Frame, None, ReadResult]:
    """Yield the frames of an opened image; a still image is one frame of one second.

    Raises:
        UserError: no frame can be decoded, or a frame exceeds the limit.
    """
    count = frame_count(image)
    first: tuple[int, int] | None = None
    time = 0  # in milliseconds, as in files, so that sums are exact
    complete = _is_complete(path, image)
    number = 0
    while number < min(count, limits.max_frames or count):
        try:
            image.seek(number)
            check_pixels(path, image.width, image.height, limits)
            pixels = to_rgb(image)
        except DECODE_ERRORS:
            complete = False
            break
        first = first or (pixels.shape[1], pixels.shape[0])
        duration = image.info.get("duration") or (DEFAULT_FRAME_MS if count > 1 else 1000)
        yield Frame(image=resize(pixels, size or first), time=time / 1000, duration=duration / 1000)
        time += duration
        number += 1
    if not number:
        raise UserError(f"{path} has no frame that can be decoded; the file is truncated or damaged")
    return ReadResult(num_frames=number, complete=complete)


def frame_count(image: Image.Image) -> int:
    """The number of frames of an opened image, as far as they can be found."""
    if image.format not in ANIMATED_FORMATS:
        return 1
    try:
        return max(1, getattr(image, "n_frames", 1))
    except DECODE_ERRORS:
        return 1


def _is_complete(path: Path, image: Image.Image) -> bool:
    """Whether a GIF or WebP is complete; for other formats, Pillow raises an error."""
    if image.format == "GIF":
        with path.open("rb") as file:
            file.seek(-min(64, path.stat().st_size), 2)
            return file.read().rstrip(b"\0").endswith(b"\x3b")
    if image.format == "WEBP":
        with path.open("rb") as file:
            return is_complete(file.read(8), path.stat().st_size)
    return True


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) after the orientation in EXIF is applied."""
    try:
        rotated = image.getexif().get(0x0112, 1) >= 5
    except DECODE_ERRORS:
        rotated = False
    return (image.height, image.width) if rotated else (image.width, image.height)
