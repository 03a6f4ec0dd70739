"""Writing videos of any length, frame by frame, atomically."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Generator, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from kinema.atomic_io import atomic_write
from kinema.errors import UserError
from kinema.media.encode import WriteFrame, video_encoder
from kinema.media.formats import Format, Quality, Rate, resolve_format
from kinema.media.gif import gif_encoder
from kinema.media.image_sequence import atomic_folder, folder_encoder, zip_encoder
from kinema.media.webp import webp_encoder


class VideoWriter:
    """Writes frames one by one or in chunks; see `open_writer`."""

    def __init__(self, write_frame: WriteFrame, path: Path, size: tuple[int, int]) -> None:
        self._write_frame = write_frame
        self._path = path
        self._size = size
        self.num_frames = 0
        """Number of frames written so far."""

    def write(self, images: np.ndarray) -> None:
        """Append one frame `h w 3` or a chunk `f h w 3`, uint8.

        Raises:
            UserError: the size or type differs from the video's, or the disk is full.
        """
        width, height = self._size
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[-3:] != (height, width, 3):
            raise UserError(
                f"{self._path.name} takes uint8 frames of {height} x {width} x 3, "
                f"not {images.dtype} of {' x '.join(map(str, images.shape))}"
            )
        for image in images.reshape(-1, height, width, 3):
            with _report_write_errors(self._path):
                self._write_frame(image)
            self.num_frames += 1


@contextlib.contextmanager
def open_writer(
    path: str | os.PathLike[str],
    *,
    fps: Rate,
    size: tuple[int, int],
    quality: Quality = "good",
    kind: Format | None = None,
    comment: str = "",
) -> Generator[VideoWriter]:
    """Open a video for writing; the file is renamed to `path` when the block ends without an error.

        with open_writer("video.mp4", fps=24, size=(832, 480), comment=metadata) as writer:
            for chunk in chunks:
                writer.write(chunk)

    Memory does not grow with the length.

    Args:
        path: `.mp4` (H.264), `.webm` (VP9), `.gif`, `.webp`, `.zip` (PNG images) or no suffix (a folder of
            PNG images, new or empty). An existing file is replaced.
        fps: frames per second. GIF has times in hundredths of a second, WebP and WebM in thousandths: frame
            times are rounded to these, and errors do not add up.
        size: (width, height) in pixels.
        quality: see `kinema.media.formats.Quality`.
        kind: the format, instead of that of the suffix; `"av1"` writes AV1 in MP4.
        comment: text that is stored in the file and returned by `probe` and `read_video`.

    Raises:
        UserError: the format is unknown, the size or rate is not supported, no frame was written, or the disk
            is full.
    """
    target = Path(path)
    file_format = resolve_format(target, kind, quality)
    width, height = size
    if not 0 < fps <= 1000:
        raise UserError(f"{fps} frames per second can't be written; choose a rate above 0 and at most 1000")
    rate = Fraction(fps).limit_denominator(100_000)
    if min(size) < 1 or max(size) > 16383:
        raise UserError(f"a video of {width}x{height} can't be written; sides are 1 to 16383 pixels")
    if file_format == "av1" and min(size) < 4:
        raise UserError(f"AV1 needs sides of at least 4 pixels, not {width}x{height}; write .webm or .zip")
    target_context = atomic_folder(target) if file_format == "folder" else atomic_write(target)
    with target_context as temporary:
        if file_format == "gif":
            encoder = gif_encoder(temporary, rate=rate, size=size, comment=comment)
        elif file_format == "webp":
            encoder = webp_encoder(temporary, rate=rate, size=size, quality=quality, comment=comment)
        elif file_format == "zip":
            encoder = zip_encoder(temporary, rate=rate, comment=comment)
        elif file_format == "folder":
            encoder = folder_encoder(temporary, rate=rate, comment=comment)
        else:
            encoder = video_encoder(
                temporary, kind=file_format, rate=rate, size=size, quality=quality, comment=comment
            )
        with _report_write_errors(target):
            write = encoder.__enter__()
        try:
            writer = VideoWriter(write, target, size)
            yield writer
            if not writer.num_frames:
                raise UserError(f"{target} was not written: the video has no frames")
        except BaseException as failure:
            # Errors from closing the unfinished file would hide the cause.
            with contextlib.suppress(OSError, av.FFmpegError):
                encoder.__exit__(type(failure), failure, failure.__traceback__)
            raise
        with _report_write_errors(target):
            encoder.__exit__(None, None, None)


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    fps: Rate,
    *,
    quality: Quality = "good",
    kind: Format | None = None,
    comment: str = "",
) -> None:
    """Write a video: an array `f h w 3`, or an iterable of frames `h w 3`, uint8.

    Raises:
        UserError: as `open_writer`.
    """
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise UserError(f"{path} was not written: the video has no frames")
    if first.ndim != 3:
        raise UserError(f"{path} was not written: frames are height x width x 3, not of {first.ndim} axes")
    height, width = first.shape[:2]
    with open_writer(
        path, fps=fps, size=(width, height), quality=quality, kind=kind, comment=comment
    ) as writer:
        for frame in itertools.chain([first], rest):
            writer.write(frame)


@contextlib.contextmanager
def _report_write_errors(path: Path) -> Generator[None]:
    """Turn errors of the operating system or an encoder into a `UserError`."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"can't write {path}: {error.strerror or error}; the file was removed") from error
