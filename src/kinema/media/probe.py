"""What a file is, before reading it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kinema.atomic_io import require_readable
from kinema.errors import UserError
from kinema.media import animated_image, container, image_sequence
from kinema.media.images import try_open_image
from kinema.media.types import Limits


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """What a video or image says of itself; None where it doesn't."""

    width: int
    height: int
    """As its frames will come: upright, square pixels."""
    fps: float | None
    """Nominal; None for stills and for animations that only give durations."""
    num_frames: int | None
    duration: float | None
    """Seconds."""
    codec: str
    """`h264`, `av1`, `vp9`, ...; `png`, `gif`, `webp` and so on for images and animations."""
    comment: str
    """The text a writer stored in the file, or an empty string."""


def existing_path(path: str | os.PathLike[str]) -> Path:
    """The path, if something is there to be read.

    Raises:
        UserError: nothing there, an empty file, or a folder without images.
    """
    source = require_readable(path)
    if source.is_dir() and not image_sequence.is_sequence(source):
        raise UserError(f"{source} is a folder without PNG images; give a video, or a folder of PNG images")
    return source


def probe(path: str | os.PathLike[str], *, limits: Limits | None = None) -> MediaInfo:
    """Look at a video or image without reading all of it.

    Raises:
        UserError: as `kinema.media.num_frames`.
    """
    limits = limits or Limits()
    source = existing_path(path)
    if image_sequence.is_sequence(source):
        index = image_sequence.read_index(source)
        return MediaInfo(
            width=index.width,
            height=index.height,
            fps=float(index.rate),
            num_frames=index.num_frames,
            duration=float(index.num_frames / index.rate),
            codec="png",
            comment=index.comment,
        )
    with try_open_image(source, limits) as image:
        if image is not None:
            count = animated_image.frame_count(image)
            width, height = animated_image.upright_size(image)
            return MediaInfo(
                width=width,
                height=height,
                fps=None,
                num_frames=count,
                duration=None if count > 1 else 1.0,
                codec=(image.format or "").lower(),
                comment=animated_image.read_comment(image),
            )
    told = container.probe_stream(source, limits)
    return MediaInfo(
        width=told.width,
        height=told.height,
        fps=told.fps,
        num_frames=told.num_frames,
        duration=told.duration,
        codec=told.codec,
        comment=told.comment,
    )
