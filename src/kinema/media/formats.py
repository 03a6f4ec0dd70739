"""File formats of written videos, and the choice of one by a file name."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

from kinema.errors import UserError, did_you_mean

Format = Literal["mp4", "av1", "webm", "gif", "webp", "zip", "folder"]
"""`mp4` is H.264 in MP4, `av1` AV1 in MP4, `webm` VP9 in WebM, `zip` PNG images in a zip, `folder` PNG
images in a folder."""

Rate = int | float | Fraction
"""Frames per second. Write 24000/1001 as a Fraction; 23.976 means exactly 23.976."""

Quality = Literal["small", "good", "best", "lossless"]
"""`lossless` keeps every pixel; MP4 and GIF do not support it."""

SUFFIXES: dict[str, Format] = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".webm": "webm",
    ".gif": "gif",
    ".webp": "webp",
    ".zip": "zip",
    "": "folder",
}

ALLOWED_SUFFIXES = ".mp4, .webm, .gif, .webp, .zip (PNG images) or no suffix (a folder of PNG images)"


def resolve_format(path: str | os.PathLike[str], requested: Format | None, quality: Quality) -> Format:
    """The format to write `path` in: `requested`, or else the one of its suffix.

    Raises:
        UserError: the suffix has no format, or the format does not support the quality.
    """
    suffix = Path(path).suffix.lower()
    if requested is not None and requested not in get_args(Format):
        raise UserError(
            f"{requested!r} is not a video format{did_you_mean(requested, get_args(Format))}; "
            f"choose {', '.join(get_args(Format))}"
        )
    if quality not in get_args(Quality):
        raise UserError(
            f"{quality!r} is not a quality{did_you_mean(quality, get_args(Quality))}; "
            f"choose {', '.join(get_args(Quality))}"
        )
    if requested is None and suffix not in SUFFIXES:
        raise UserError(f"{Path(path).name} has no suffix of a video format; use {ALLOWED_SUFFIXES}")
    found: Format = requested if requested is not None else SUFFIXES[suffix]
    if quality == "lossless" and found in ("mp4", "av1", "gif"):
        raise UserError(f"{found} has no lossless quality; write .webm, .webp or .zip, or choose 'best'")
    return found
