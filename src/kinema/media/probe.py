"""Metadata of a file, without reading all of it."""

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
    """Metadata of a video or image; None where the file does not declare it."""

    width: int
    height: int
    """Size of the frames that are read: upright, with square pixels."""
    fps: float | None
    """Nominal frames per second; None for still images and animations with durations only."""
    num_frames: int | None
    duration: float | None
    """Seconds."""
    codec: str
    """`h264`, `av1`, `vp9`, ...; `png`, `gif`, `webp`, ... for images and animations."""
    comment: str
    """The text a writer stored in the file, or an empty string."""


def existing_path(path: str | os.PathLike[str]) -> Path:
    """The path, if there is a file, or a folder of PNG images.

    Raises:
        UserError: there is neither, or the file is empty or can't be read.
    """
    source = require_readable(path)
    if source.is_dir() and not image_sequence.is_sequence(source):
        raise UserError(f"{source} is a folder without PNG images; give a video, or a folder of PNG images")
    return source


def probe(path: str | os.PathLike[str], *, limits: Limits | None = None) -> MediaInfo:
    """The metadata of a video or image.

    Raises:
        UserError: as `kinema.media.frames`.
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
    stream = container.probe_stream(source, limits)
    return MediaInfo(
        width=stream.width,
        height=stream.height,
        fps=stream.fps,
        num_frames=stream.num_frames,
        duration=stream.duration,
        codec=stream.codec,
        comment=stream.comment,
    )
