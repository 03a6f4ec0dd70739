"""Still pictures: reading them with their orientation and colours, writing them, scaling them."""

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
"""Nothing that runs other programs (EPS) or that is a film to PyAV (MPEG, FLI)."""

DECODE_ERRORS = (
    OSError, EOFError, ValueError, SyntaxError, TypeError, LookupError, AttributeError, ArithmeticError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's parsers raise on damaged pictures."""

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def check_pixels(path: Path, width: int, height: int, limits: Limits) -> None:
    """Refuse frames beyond the limit.

    Raises:
        UserError: width times height is more than `limits.to_rgb`.
    """
    if width * height > limits.max_pixels:
        raise UserError(
            f"{path} has frames of {width}x{height}, more than the {limits.max_pixels} pixels allowed; "
            "scale it down first, or allow more"
        )


def open_image(source: Path | io.BytesIO, formats: tuple[str, ...]) -> Image.Image:
    """`Image.open` without Pillow's warning of large pictures: `check_pixels` has our own limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(source, formats=formats)


@contextmanager
def try_open_image(path: Path, limits: Limits) -> Generator[Image.Image | None]:
    """The file opened by Pillow, or None if it is no kind of picture Pillow is asked to read.

    Raises:
        UserError: more pixels than allowed.
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
    """The file itself, or what is left of a WebP that was cut off: Pillow refuses it as it is."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WEBP" or is_complete(head, path.stat().st_size):
            return path
        return io.BytesIO(repair_truncated(head + file.read()))


def to_rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """What Pillow holds as upright RGB: orientation applied, sRGB, alpha composited over black."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        deep = np.asarray(image)
        grey = (deep / (1 if image.mode == "F" else 257)).round().clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    profile = image.info.get("icc_profile")
    if "A" in image.getbands() or "transparency" in image.info:
        return composite_on_black(np.asarray(_to_srgb(image.convert("RGBA"), profile, "RGBA")))
    return np.asarray(_to_srgb(image, profile, "RGB")).copy()


def _to_srgb(image: Image.Image, profile: bytes | None, mode: str) -> Image.Image:
    """Convert from the picture's own colour profile; a profile that can't be used is passed over."""
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode=mode)
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None
        if converted is not None:
            return converted
    return image.convert(mode)


def resize(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The picture at (width, height) `size`, filtered (Lanczos), the aspect not kept."""
    if image.shape[:2] == size[::-1]:
        return image
    whole = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(whole.resize(size, Image.Resampling.LANCZOS)).copy()


def save_image(path: str | os.PathLike[str], image: UInt8[np.ndarray, "h w 3"], *, quality: int = 90) -> None:
    """Write one picture: `.png`, `.jpg`, `.jpeg` or `.webp`, by the suffix. `quality` is JPEG's and WebP's.

    Raises:
        UserError: another suffix, or the folder can't be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{Path(path).name} names no picture format{did_you_mean(suffix, SUFFIXES)}; "
            f"end it in {', '.join(SUFFIXES)}"
        )
    buffer = io.BytesIO()
    # Full-resolution chroma, which only JPEG lets us ask for: thin coloured lines survive.
    Image.fromarray(np.ascontiguousarray(image)).save(
        buffer, SUFFIXES[suffix], quality=quality, subsampling=0
    )
    write_bytes(path, buffer.getvalue())


def save_png(path: str | os.PathLike[str], image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write one picture as PNG, whatever the suffix.

    Raises:
        UserError: the folder can't be written.
    """
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def thumbnail(
    image: UInt8[np.ndarray, "h w 3"], max_side: int = 256, kind: Literal["webp", "jpeg", "png"] = "webp"
) -> bytes:
    """The picture as a small file, its longest side at most `max_side` pixels, the aspect kept."""
    small = Image.fromarray(np.ascontiguousarray(image))
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, kind.upper(), quality=80)
    return buffer.getvalue()
