"""What a file is, before reading it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import UserError
from kinema.media import container, moving, sequence
from kinema.media.footage import Limits
from kinema.media.still import picture


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a film or picture says of itself; None where it doesn't."""

    width: int
    height: int
    """As its frames will come: upright, square pixels."""
    fps: float | None
    """Nominal; None for stills and for animations that only give durations."""
    frames: int | None
    duration: float | None
    """Seconds."""
    codec: str
    """`h264`, `av1`, `vp9`, ...; `png`, `gif`, `webp` and so on for pictures and animations."""
    comment: str
    """The text a writer stored in the file, or an empty string."""


def checked(path: str | os.PathLike[str]) -> Path:
    """The path, if something is there to be read.

    Raises:
        UserError: nothing there, an empty file, or a folder without pictures.
    """
    source = Path(path)
    if not source.exists():
        raise UserError(f"{source} does not exist; check the name")
    if source.is_dir():
        if not sequence.is_sequence(source):
            raise UserError(
                f"{source} is a folder without PNG pictures; give a film, or a folder of pictures"
            )
    elif not source.is_file():
        raise UserError(f"{source} is not a file; give a film or a picture")
    elif not source.stat().st_size:
        raise UserError(f"{source} is empty (0 bytes); make or download it again")
    elif not os.access(source, os.R_OK):
        raise UserError(f"{source} may not be read; change its permissions")
    return source


def probe(path: str | os.PathLike[str], *, limits: Limits | None = None) -> Probe:
    """Look at a film or picture without reading all of it.

    Raises:
        UserError: as `kinema.media.frames`.
    """
    limits = limits or Limits()
    source = checked(path)
    if sequence.is_sequence(source):
        index = sequence.index(source)
        return Probe(
            width=index.width,
            height=index.height,
            fps=float(index.rate),
            frames=index.frames,
            duration=float(index.frames / index.rate),
            codec="png",
            comment=index.comment,
        )
    with picture(source, limits) as image:
        if image is not None:
            count = moving.count_of(image)
            width, height = moving.upright_size(image)
            return Probe(
                width=width,
                height=height,
                fps=None,
                frames=count,
                duration=None if count > 1 else 1.0,
                codec=(image.format or "").lower(),
                comment=moving.comment_of(image),
            )
    told = container.declared(source, limits)
    return Probe(
        width=told.width,
        height=told.height,
        fps=told.fps,
        frames=told.frames,
        duration=told.duration,
        codec=told.codec,
        comment=told.comment,
    )
