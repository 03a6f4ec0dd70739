"""Encoding MP4 and WebM with PyAV, one frame at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from jaxtyping import UInt8

from kinema.media import colour
from kinema.media.formats import Quality

WriteFrame = Callable[[np.ndarray], None]
"""Takes the next frame, uint8 `h w 3`."""

THREADS = {"libx264": 1, "libsvtav1": 4, "libvpx-vp9": 4}
"""Threads of each encoder. Fixed, so that a video has the same bytes on every machine.

x264 with several threads gave other bytes about once in 5,000 videos of 32 x 32, and never with one thread
and no lookahead thread.
"""

_MBTREE_MIN_SIDE = 128
"""Smallest side with x264's macroblock tree, which reads uninitialised memory for frames of few blocks. After
the process had read a video, half of the videos of 32 x 32 had other bytes, 1 in 25 of 64 x 32, and none in
75 of 64 x 64 and more."""

VISIBLE_SIZE_KEY = "kinema visible size "
"""Prefix of WIDTHxHEIGHT in an MP4's keywords, where the coded frame is larger."""


@dataclass(frozen=True, kw_only=True)
class Codec:
    """The encoder of a format and its settings."""

    container: str
    encoder: Literal["libx264", "libsvtav1", "libvpx-vp9"]
    pixel_format: str
    options: dict[str, str]


def select_codec(kind: Literal["mp4", "av1", "webm"], quality: Quality) -> Codec:
    """The encoder of a format at a quality."""
    if kind == "mp4":
        crf = {"small": "28", "good": "18", "best": "12"}[quality]
        return Codec(
            container="mp4",
            encoder="libx264",
            pixel_format="yuv420p",
            options={"crf": crf, "preset": "medium", "x264-params": "sync-lookahead=0"},
        )
    if kind == "av1":
        crf = {"small": "45", "good": "28", "best": "16"}[quality]
        return Codec(
            container="mp4", encoder="libsvtav1", pixel_format="yuv420p", options={"crf": crf, "preset": "8"}
        )
    options = {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
    if quality == "lossless":
        return Codec(
            container="webm", encoder="libvpx-vp9", pixel_format="gbrp", options=options | {"lossless": "1"}
        )
    crf = {"small": "42", "good": "28", "best": "16"}[quality]
    return Codec(
        container="webm", encoder="libvpx-vp9", pixel_format="yuv420p", options=options | {"crf": crf}
    )


@contextlib.contextmanager
def _preserve_scheduling_policy() -> Generator[None]:
    """Restore the scheduling policy of this thread, which SVT-AV1 sets to FIFO for root.

    New threads and processes inherit the policy. Under FIFO, a thread that waits in a spin lock (OpenBLAS,
    OpenMP) can keep the thread that it waits for from running.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, parameters)


@contextlib.contextmanager
def video_encoder(
    path: Path,
    *,
    kind: Literal["mp4", "av1", "webm"],
    rate: Fraction,
    size: tuple[int, int],
    quality: Quality,
    comment: str,
) -> Generator[WriteFrame]:
    """Yield a function that takes the next frame; the file is finished at the end of the block.

    H.264 in 4:2:0 has even sides only. Frames of odd size are padded by repeating the last row or column. The
    true size is stored in the file's keywords, and our reader crops to it; other players show the repeated
    row or column. VP9 and AV1 support odd sizes.
    """
    width, height = size
    codec = select_codec(kind, quality)
    right, below = (width % 2, height % 2) if kind == "mp4" else (0, 0)
    options = {"fflags": "+bitexact"}
    if codec.container == "mp4":
        options["movflags"] = "+faststart"
    if kind == "av1":
        # SVT-AV1 prints its settings to stderr; this variable is the only way to turn that off.
        os.environ.setdefault("SVT_LOG", "1")
    container = av.open(f"file:{path}", "w", format=codec.container, options=options)
    try:
        if comment:
            container.metadata["comment"] = comment
        if right or below:
            container.metadata["keywords"] = f"{VISIBLE_SIZE_KEY}{width}x{height}"
        settings = dict(codec.options)
        if kind == "mp4" and min(size) < _MBTREE_MIN_SIDE:
            settings["x264-params"] += ":mbtree=0"
        stream = container.add_stream(codec.encoder, rate=rate, options=settings)
        stream.width, stream.height, stream.pix_fmt = width + right, height + below, codec.pixel_format
        # A keyframe every two seconds, so that players can seek.
        stream.codec_context.gop_size = max(1, round(2 * rate))
        stream.codec_context.thread_count = THREADS[codec.encoder]
        colour.tag_stream(stream)
        with _preserve_scheduling_policy():
            stream.codec_context.open()
        number = 0

        def write(image: UInt8[np.ndarray, "h w 3"]) -> None:
            nonlocal number
            if right or below:
                image = np.pad(image, ((0, below), (0, right), (0, 0)), mode="edge")
            frame = colour.rgb_to_frame(image, codec.pixel_format)
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
            number += 1

        yield write
        container.mux(stream.encode())
    except BaseException:
        # The file is deleted, so errors about its missing end do not matter.
        with contextlib.suppress(av.FFmpegError, ValueError):
            container.close()
        raise
    container.close()
