"""A fragmented MP4, which can be played while it is written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from kinema.errors import UserError
from kinema.media import colour
from kinema.media.encode import THREADS, select_codec
from kinema.media.formats import Rate


class FragmentedWriter:
    """Writes the next frames; they are in the file when `write` returns. See `open_fragmented`."""

    def __init__(
        self, container: av.container.OutputContainer, stream: av.VideoStream, rate: Fraction
    ) -> None:
        self._container, self._stream, self._rate = container, stream, rate
        self.num_frames = 0
        """Number of frames written so far."""

    def write(self, images: np.ndarray) -> None:
        """Append frames `f h w 3`, uint8, in the size of the video; they are cropped to even sides."""
        height, width = self._stream.height, self._stream.width
        for image in images[:, :height, :width]:
            frame = colour.rgb_to_frame(np.ascontiguousarray(image), "yuv420p")
            frame.pts, frame.time_base = self.num_frames, 1 / self._rate
            self._container.mux(self._stream.encode(frame))
            self.num_frames += 1


@contextlib.contextmanager
def open_fragmented(
    path: str | os.PathLike[str], *, fps: Rate, size: tuple[int, int]
) -> Generator[FragmentedWriter]:
    """Open a fragmented MP4 for writing. Players can open it after the first frames.

    The file exists under its name from the start and remains if the block raises. An odd last row or column
    is cropped.

    Args:
        path: `.mp4`; an existing file is replaced.
        fps: frames per second.
        size: (width, height) in pixels, at least 2 each.

    Raises:
        UserError: the suffix is not `.mp4`, the size is too small, or the file can't be written.
    """
    target = Path(path)
    if target.suffix != ".mp4" or min(size) < 2:
        raise UserError(f"a preview is an .mp4 of at least 2x2 pixels, not {target.name}")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a folder; create it first, or choose another preview")
    rate = Fraction(fps).limit_denominator(100_000)
    codec = select_codec("mp4", "small")
    try:
        container = av.open(
            f"file:{target}",
            "w",
            format="mp4",
            options={"movflags": "frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"},
        )
    except OSError as error:
        raise UserError(f"can't write {target}: {error.strerror or error}") from None
    with container:
        # Without lookahead, the encoder returns every frame at once.
        stream = container.add_stream("libx264", rate=rate, options=codec.options | {"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = size[0] // 2 * 2, size[1] // 2 * 2, "yuv420p"
        stream.codec_context.thread_count = THREADS["libx264"]
        colour.tag_stream(stream)
        yield FragmentedWriter(container, stream, rate)
        container.mux(stream.encode())
