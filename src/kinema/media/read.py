"""Reading any film or picture: frame by frame, or whole."""

from __future__ import annotations

import os
from collections.abc import Generator

import numpy as np
from jaxtyping import UInt8

from kinema.errors import UserError
from kinema.media import animated_image, container, image_sequence
from kinema.media.images import try_open_image
from kinema.media.probe import existing_path, probe
from kinema.media.types import DecodedVideo, Frame, Limits, ReadResult


def frames(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None, limits: Limits | None = None
) -> Generator[Frame, None, ReadResult]:
    """Yield the frames of a film one by one, with exact times, in constant memory.

    Reads every film PyAV reads, GIF, WebP, APNG and AVIF animations, still pictures (one frame of one
    second), and zips and folders of PNG pictures. Frames come upright (rotation and mirroring applied), with
    square pixels, alpha composited over black, all in the size of the first one. Times are those in the
    file, from the first frame on; a varying rate stays as it is. What the generator returns (`yield from`,
    or `StopIteration.value`) says whether the file was whole.

    Args:
        path: A file, or a folder of PNG pictures.
        size: Scale to this (width, height), without keeping the aspect.
        limits: What to refuse; see `Limits`.

    Raises:
        UserError: missing, empty, no film, too large, or cut off before its first frame; at the first `next`.
    """
    limits = limits or Limits()
    source = existing_path(path)
    if image_sequence.is_sequence(source):
        return (yield from image_sequence.frames(source, size, limits))
    with try_open_image(source, limits) as image:
        if image is not None:
            return (yield from animated_image.frames(source, image, size, limits))
    return (yield from container.frames(source, size, limits))


def read_video(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None, limits: Limits | None = None
) -> DecodedVideo:
    """Read a whole film into memory; see `frames`.

    Raises:
        UserError: as `frames`, or more bytes than `limits.memory`.
    """
    limits = limits or Limits()
    told = probe(path, limits=limits)
    images: list[np.ndarray] = []
    times: list[float] = []
    end = 0.0
    gathered = 0
    stream = frames(path, size=size, limits=limits)
    while True:
        try:
            frame = next(stream)
        except StopIteration as stop:
            ending: ReadResult = stop.value
            break
        gathered += frame.image.nbytes
        if gathered > limits.max_bytes:
            raise UserError(
                f"{path} does not fit in {limits.max_bytes >> 20} MB of memory; "
                "read fewer frames, a smaller size, or stream it"
            )
        images.append(frame.image)
        times.append(frame.time)
        end = frame.time + frame.duration
    return DecodedVideo(
        frames=np.stack(images),
        times=np.array(times),
        duration=end,
        fps=told.fps or len(images) / end,
        source=str(path),
        complete=ending.complete,
        comment=told.comment,
    )


def read_image(path: str | os.PathLike[str], *, limits: Limits | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """One picture: a still, or the first frame of a film.

    Orientation from EXIF is applied, colours are brought to sRGB, alpha is composited over black.

    Raises:
        UserError: as `frames`.
    """
    limits = limits or Limits()
    return next(frames(path, limits=Limits(max_pixels=limits.max_pixels, max_frames=1))).image
