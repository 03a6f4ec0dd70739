"""Reading any video or image: frame by frame, or all frames at once."""

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
    """Yield the frames of a video one by one, with exact times, in constant memory.

    Reads every video that PyAV reads, GIF, WebP, APNG and AVIF animations, still images (one frame of one
    second), and zips and folders of PNG images. Frames are upright (rotation and mirroring are applied), with
    square pixels and alpha composited over black, all in the size of the first one. Times are those in the
    file, relative to the first frame; the rate may vary. The return value of the generator (`yield from`, or
    `StopIteration.value`) says whether the file was complete.

    Args:
        path: a file, or a folder of PNG images.
        size: (width, height) to scale to; the aspect ratio is not kept.
        limits: what to refuse; see `Limits`.

    Raises:
        UserError: at the first `next`: the file is missing, empty, not a video, too large, or truncated
            before its first frame.
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
    """Read all frames of a video into memory; see `frames`.

    Raises:
        UserError: as `frames`, or the frames need more than `limits.max_bytes`.
    """
    limits = limits or Limits()
    info = probe(path, limits=limits)
    images: list[np.ndarray] = []
    times: list[float] = []
    end = 0.0
    num_bytes = 0
    stream = frames(path, size=size, limits=limits)
    while True:
        try:
            frame = next(stream)
        except StopIteration as stop:
            result: ReadResult = stop.value
            break
        num_bytes += frame.image.nbytes
        if num_bytes > limits.max_bytes:
            raise UserError(
                f"{path} does not fit in {limits.max_bytes >> 20} MB of memory; "
                "read fewer frames or a smaller size, or stream it"
            )
        images.append(frame.image)
        times.append(frame.time)
        end = frame.time + frame.duration
    return DecodedVideo(
        frames=np.stack(images),
        times=np.array(times),
        duration=end,
        fps=info.fps or len(images) / end,
        source=str(path),
        complete=result.complete,
        comment=info.comment,
    )


def read_image(path: str | os.PathLike[str], *, limits: Limits | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """A still image, or the first frame of a video.

    EXIF orientation is applied, colours are converted to sRGB, and alpha is composited over black.

    Raises:
        UserError: as `frames`.
    """
    limits = limits or Limits()
    return next(frames(path, limits=Limits(max_pixels=limits.max_pixels, max_frames=1))).image
