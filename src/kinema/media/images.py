"""Still images: reading with orientation and colour profile, writing, resizing."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps

from kinema.atomic_io import write_bytes
from kinema.errors import UserError, did_you_mean
from kinema.media.colour import composite_on_black
from kinema.media.types import Limits
from kinema.media.webp import is_complete, repair_truncated

READABLE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
"""Formats that Pillow may read: none that runs other programs (EPS), and no videos (MPEG, FLI)."""

DECODE_ERRORS = (
    OSError, EOFError, ValueError, SyntaxError, TypeError, LookupError, AttributeError, ArithmeticError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""Errors that Pillow raises for damaged images."""

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def check_pixels(path: Path, width: int, height: int, limits: Limits) -> None:
    """Check the size of a frame.

    Raises:
        UserError: width times height exceeds `limits.max_pixels`.
    """
    if width * height > limits.max_pixels:
        raise UserError(
            f"{path} has frames of {width}x{height}, more than the {limits.max_pixels} pixels allowed; "
            "scale it down first"
        )


def open_image(source: Path | io.BytesIO, formats: tuple[str, ...]) -> Image.Image:
    """`Image.open` without Pillow's warning about large images; `check_pixels` has our limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(source, formats=formats)


@contextmanager
def try_open_image(path: Path, limits: Limits) -> Generator[Image.Image | None]:
    """The file opened by Pillow, or None if its format is not in `READABLE_FORMATS`.

    Raises:
        UserError: the image exceeds the limit.
    """
    try:
        opened = open_image(_repaired_source(path), READABLE_FORMATS)
    except Image.DecompressionBombError:
        raise UserError(f"{path} has more than {limits.max_pixels} pixels; scale it down first") from None
    except DECODE_ERRORS:
        yield None
        return
    with opened:
        check_pixels(path, opened.width, opened.height, limits)
        yield opened


def _repaired_source(path: Path) -> Path | io.BytesIO:
    """The file, or the readable part of a truncated WebP, which Pillow refuses otherwise."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WEBP" or is_complete(head, path.stat().st_size):
            return path
        return io.BytesIO(repair_truncated(head + file.read()))


def to_rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """An image of Pillow as upright sRGB, with alpha composited over black."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image)
        grey = (values / (1 if image.mode == "F" else 257)).round().clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    profile = image.info.get("icc_profile")
    if "A" in image.getbands() or "transparency" in image.info:
        return composite_on_black(np.asarray(_to_srgb(image.convert("RGBA"), profile, "RGBA")))
    return np.asarray(_to_srgb(image, profile, "RGB")).copy()


def _to_srgb(image: Image.Image, profile: bytes | None, mode: str) -> Image.Image:
    """Convert from the image's colour profile; an invalid profile is ignored."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode=mode
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None
        if converted is not None:
            return converted
    return image.convert(mode)


def resize(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image resized to (width, height) `size` with a Lanczos filter; the aspect ratio is not kept."""
    if image.shape[:2] == size[::-1]:
        return image
    source = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(source.resize(size, Image.Resampling.LANCZOS)).copy()


def save_image(path: str | os.PathLike[str], image: UInt8[np.ndarray, "h w 3"], *, quality: int = 90) -> None:
    """Write an image as `.png`, `.jpg`, `.jpeg` or `.webp`, by the suffix.

    Args:
        path: the file to write.
        image: uint8 RGB.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        UserError: the suffix is another one, or the folder can't be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{Path(path).name} has no suffix of an image format{did_you_mean(suffix, SUFFIXES)}; "
            f"use {', '.join(SUFFIXES)}"
        )
    buffer = io.BytesIO()
    # JPEG with full-resolution chroma, which preserves thin coloured lines.
    Image.fromarray(np.ascontiguousarray(image)).save(
        buffer, SUFFIXES[suffix], quality=quality, subsampling=0
    )
    write_bytes(path, buffer.getvalue())


def save_png(path: str | os.PathLike[str], image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write an image as PNG, with any suffix.

    Raises:
        UserError: the folder can't be written.
    """
    write_bytes(path, encode_png(image))


def encode_png(image: UInt8[np.ndarray, "h w 3"], *, compress_level: int = -1) -> bytes:
    """The image as PNG; `compress_level` is 0 to 9, and -1 is zlib's default."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


def thumbnail(
    image: UInt8[np.ndarray, "h w 3"], max_side: int = 256, kind: Literal["webp", "jpeg", "png"] = "webp"
) -> bytes:
    """A small image file whose longest side is at most `max_side` pixels; the aspect ratio is kept."""
    small = Image.fromarray(np.ascontiguousarray(image))
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, kind.upper(), quality=80)
    return buffer.getvalue()
