"""Writing films of any length, frame by frame, beside the target and renamed when whole."""

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
    """What `open_writer` yields: takes frames one by one or in chunks."""

    def __init__(self, write_frame: WriteFrame, path: Path, size: tuple[int, int]) -> None:
        self._write_frame = write_frame
        self._path = path
        self._size = size
        self.num_frames = 0
        """How many frames were written so far."""

    def write(self, images: np.ndarray) -> None:
        """Append one frame `h w 3` or a chunk of them `f h w 3`, uint8. Checked here, not by its type.

        Raises:
            UserError: another size or type than the film's, or the disk is full.
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
    """Open a film for writing; it appears under its name when the block ends, or not at all.

        with writer("film.mp4", fps=24, size=(832, 480), comment=request) as film:
            for chunk in chunks:
                film.write(chunk)

    Memory does not grow with the length. The suffix chooses the format unless `kind` does.

    Args:
        path: `.mp4` (H.264), `.webm` (VP9), `.gif`, `.webp`, `.zip` (PNG pictures) or no suffix (a folder of
            PNG pictures, new or empty). An existing file is replaced.
        fps: Frames per second. GIF counts time in hundredths of a second and WebP and WebM in thousandths:
            there each frame is shown at the nearest such moment, and errors do not add up.
        size: (width, height) in pixels.
        quality: See `kinema.media.formats.Quality`.
        kind: Overrides the suffix; `"av1"` writes AV1 in MP4.
        comment: Kept in the file and given back by `probe` and `read_video`.

    Raises:
        UserError: unknown format, impossible size or rate, no frame written, or the disk is full.
    """
    target = Path(path)
    chosen = resolve_format(target, kind, quality)
    width, height = size
    if not 0 < fps <= 1000:
        raise UserError(f"{fps} frames per second can't be written; choose a rate above 0 and at most 1000")
    rate = Fraction(fps).limit_denominator(100_000)
    if min(size) < 1 or max(size) > 16383:
        raise UserError(f"a film of {width}x{height} can't be written; sides are 1 to 16383 pixels")
    if chosen == "av1" and min(size) < 4:
        raise UserError(f"AV1 needs sides of at least 4 pixels, not {width}x{height}; write .webm or .zip")
    beside_target = atomic_folder(target) if chosen == "folder" else atomic_write(target)
    with beside_target as beside:
        if chosen == "gif":
            opened = gif_encoder(beside, rate=rate, size=size, comment=comment)
        elif chosen == "webp":
            opened = webp_encoder(beside, rate=rate, size=size, quality=quality, comment=comment)
        elif chosen == "zip":
            opened = zip_encoder(beside, rate=rate, comment=comment)
        elif chosen == "folder":
            opened = folder_encoder(beside, rate=rate, comment=comment)
        else:
            opened = video_encoder(
                beside, kind=chosen, rate=rate, size=size, quality=quality, comment=comment
            )
        with _report_write_errors(target):
            write = opened.__enter__()
        try:
            film = VideoWriter(write, target, size)
            yield film
            if not film.num_frames:
                raise UserError(f"{target} was not written: the film has no frames")
        except BaseException as failure:
            # What closing the unfinished file complains of would only hide the failure.
            with contextlib.suppress(OSError, av.FFmpegError):
                opened.__exit__(type(failure), failure, failure.__traceback__)
            raise
        with _report_write_errors(target):
            opened.__exit__(None, None, None)


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    fps: Rate,
    *,
    quality: Quality = "good",
    kind: Format | None = None,
    comment: str = "",
) -> None:
    """Write a whole film: an array `f h w 3`, or anything that yields frames `h w 3`, uint8.

    Raises:
        UserError: as `open_writer`.
    """
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise UserError(f"{path} was not written: the film has no frames")
    if first.ndim != 3:
        raise UserError(f"{path} was not written: frames are height x width x 3, not of {first.ndim} axes")
    height, width = first.shape[:2]
    with open_writer(
        path, fps=fps, size=(width, height), quality=quality, kind=kind, comment=comment
    ) as film:
        for frame in itertools.chain([first], rest):
            film.write(frame)


@contextlib.contextmanager
def _report_write_errors(path: Path) -> Generator[None]:
    """Turn what the operating system or an encoder says while writing into one line."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"can't write {path}: {error.strerror or error}; nothing was kept") from error
