"""An MP4 that can be watched while it is being written."""

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
    """What `open_fragmented` yields: takes the next frames, which are in the file when `write` returns."""

    def __init__(
        self, container: av.container.OutputContainer, stream: av.VideoStream, rate: Fraction
    ) -> None:
        self._container, self._stream, self._rate = container, stream, rate
        self.num_frames = 0
        """How many frames were written so far."""

    def write(self, images: np.ndarray) -> None:
        """Append frames `f h w 3`, uint8, of the film's size, cut to even sides."""
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
    """Open a preview: a fragmented MP4 that players can open and follow from its first frames on.

    It stands under its own name at once, is as good as it has come, and stays when the work is broken off.
    An odd last row or column is left out.

    Args:
        path: `.mp4`; an existing file is replaced.
        fps: frames per second.
        size: (width, height) in pixels, at least 2 each.

    Raises:
        UserError: another suffix, a picture too small, or the file can't be written.
    """
    target = Path(path)
    if target.suffix != ".mp4" or min(size) < 2:
        raise UserError(f"a preview that grows is an .mp4 of at least 2x2 pixels, not {target.name}")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a folder; make it first, or choose another preview")
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
        # Without the encoder's look ahead, every frame leaves it at once.
        stream = container.add_stream("libx264", rate=rate, options=codec.options | {"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = size[0] // 2 * 2, size[1] // 2 * 2, "yuv420p"
        stream.codec_context.thread_count = THREADS["libx264"]
        colour.tag_stream(stream)
        yield FragmentedWriter(container, stream, rate)
        container.mux(stream.encode())
