"""Reading film containers (MP4, WebM, AVI, MOV, ...) with PyAV."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.stream import Disposition
from av.video.stream import VideoStream
from jaxtyping import UInt8

from kinema.errors import UserError
from kinema.media import colour
from kinema.media.encode import VISIBLE_SIZE_KEY
from kinema.media.images import check_pixels, resize
from kinema.media.types import Frame, Limits, ReadResult

DEMUXERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,ogg,flv,asf,ivf,obu,h264,hevc,av1,mjpeg,mxf,nut,dv,rm,"
    "yuv4mpegpipe,swf,wtv,gxf,roq,vc1,bink,smk,flic"
)
"""What FFmpeg may take a file for. Left out on purpose: playlists and manifests (hls, dash, concat), which
would read other files or addresses, and text art (tty), which would make a film of any text file."""


DisplayMatrix = tuple[int, int, int, int]
"""a, b, c, d of a display matrix: x' = a·x + c·y, y' = b·x + d·y, y downwards, up to scale."""


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """What a file says of itself before anything is decoded; None where it doesn't."""

    width: int
    height: int
    """Upright, with square pixels, as frames will come."""
    fps: float | None
    num_frames: int | None
    duration: float | None
    codec: str
    comment: str


@contextlib.contextmanager
def open_container(path: Path, limits: Limits) -> Generator[tuple[InputContainer, VideoStream]]:
    """The file and its first video stream that is not a cover picture.

    Raises:
        UserError: not a film, no picture in it, or frames beyond the limits.
    """
    try:
        container = av.open(
            f"file:{path}",
            "r",
            options={"protocol_whitelist": "file", "format_whitelist": DEMUXERS},
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError):
        raise UserError(
            f"{path} is not a film or picture that can be read, or it was cut off before its index; "
            "give MP4, WebM, MOV, MKV, AVI, GIF, WebP, PNG or JPEG"
        ) from None
    with container:
        covers = Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & covers]
        if not streams:
            raise UserError(
                f"{path} holds no moving picture, only sound or data; give a file with a film in it"
            )
        stream = streams[0]
        # PyAV gives a stream whose codec it does not know no context, whatever its types say.
        if getattr(stream, "codec_context", None) is None:
            raise UserError(f"{path} has a film in a codec that can't be decoded; convert it to MP4 or WebM")
        check_pixels(path, stream.width, stream.height, limits)
        stream.thread_type = "AUTO"
        yield container, stream


def probe_stream(path: Path, limits: Limits) -> StreamInfo:
    """What the file says of itself. Decodes one frame, for its rotation.

    Raises:
        UserError: as `open_container`.
    """
    with open_container(path, limits) as (container, stream):
        width, height = _visible_size(container, stream) or _square_pixel_size(
            stream, stream.width, stream.height
        )
        first = next(_decode(container, stream, _DemuxState()), None)
        if first is not None and _is_rotated(_display_matrix(first)):
            width, height = height, width
        rate = stream.average_rate or stream.guessed_rate
        length = None
        if stream.duration and stream.time_base:
            length = float(stream.duration * stream.time_base)
        elif container.duration:
            length = container.duration / av.time_base
        return StreamInfo(
            width=width,
            height=height,
            fps=float(rate) if rate else None,
            num_frames=stream.frames or None,
            duration=length,
            codec=stream.codec_context.codec.canonical_name,
            comment=_read_comment(container),
        )


def frames(path: Path, size: tuple[int, int] | None, limits: Limits) -> Generator[Frame, None, ReadResult]:
    """Yield the frames in the order they are shown, one held back to know how long it lasts.

    Raises:
        UserError: as `open_container`; or not one frame can be decoded.
    """
    tally = _DemuxState()
    count = 0
    with open_container(path, limits) as (container, stream):
        visible = _visible_size(container, stream)
        rate = _frame_rate(stream)
        tick = stream.time_base or 1 / rate
        origin: Fraction | None = None
        native: tuple[int, int] | None = None
        matrix: DisplayMatrix | None = None
        held: Frame | None = None
        for decoded in _decode(container, stream, tally):
            check_pixels(path, decoded.width, decoded.height, limits)
            # Some streams change their size on the way; the film keeps the first.
            if native is None:
                native = _square_pixel_size(stream, decoded.width, decoded.height)
                check_pixels(path, *native, limits)
            # Once only: a frame whose side data was looked at is freed late, by the cycle collector.
            matrix = matrix or _display_matrix(decoded)
            stamp = None if decoded.pts is None else decoded.pts * tick
            origin = stamp if origin is None else origin
            time = 0.0 if stamp is None or origin is None else float(stamp - origin)
            if held is not None:
                if time <= held.time:  # no time of its own, or out of order: it follows the one before
                    time = held.time + held.duration
                yield Frame(image=held.image, time=held.time, duration=time - held.time)
                held = None
                count += 1
                if count == limits.max_frames:
                    break
            length = decoded.duration * tick if decoded.duration else 1 / rate
            try:
                image = _to_upright_rgb(decoded, matrix, native, visible, size)
            except (av.FFmpegError, OSError, ValueError):
                tally.damaged = True
                continue
            held = Frame(image=image, time=time, duration=float(length))
        if held is not None:
            yield held
            count += 1
        if not count:
            raise UserError(f"{path} has not one frame that can be decoded; the file is cut off or damaged")
        whole = count == limits.max_frames or _is_complete(path, container, stream, tally)
        return ReadResult(num_frames=count, complete=whole and not tally.damaged)


@dataclass(kw_only=True)
class _DemuxState:
    """What demuxing and decoding met on the way."""

    damaged: bool = False
    end: float = 0.0
    """The latest moment any packet of any stream ends at, in seconds of the file's clock."""


def _decode(container: InputContainer, stream: VideoStream, state: _DemuxState) -> Iterator[av.VideoFrame]:
    """Every frame that can be decoded; damaged packets are left out and noted."""
    usual = 1 / _frame_rate(stream)
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, LookupError):
            # LookupError is what PyAV makes of a packet of a stream that the header did not announce.
            state.damaged, packet = True, None
        if packet is None:
            break
        if packet.pts is not None and packet.time_base:
            lasts = packet.duration * packet.time_base if packet.duration else usual
            state.end = max(state.end, float(packet.pts * packet.time_base + lasts))
        if packet.stream_index != stream.index or packet.size == 0:
            continue
        if packet.is_corrupt:
            state.damaged = True
            continue
        try:
            decoded = stream.decode(packet)
        except av.FFmpegError:
            state.damaged = True
            continue
        yield from _drop_corrupt(decoded, state)
    try:
        rest = stream.decode(None)
    except av.EOFError:
        rest = []
    except av.FFmpegError:
        state.damaged, rest = True, []
    yield from _drop_corrupt(rest, state)


def _drop_corrupt(decoded: list[av.VideoFrame], state: _DemuxState) -> Iterator[av.VideoFrame]:
    for frame in decoded:
        if frame.is_corrupt:
            state.damaged = True
        else:
            yield frame


def _is_complete(path: Path, container: InputContainer, stream: VideoStream, state: _DemuxState) -> bool:
    """Whether the file holds all that its index or its header promises."""
    entries = stream.index_entries
    if container.format.name.startswith("mov") and len(entries):
        last = max(entry.pos + entry.size for entry in (entries[at] for at in range(len(entries))))
        return last <= path.stat().st_size
    if container.duration and container.start_time is not None:
        # FLV counts its duration from zero, everything else from the first frame.
        start = 0 if container.format.name == "flv" else container.start_time
        promised = (start + container.duration) / av.time_base
        return state.end >= promised - 0.6 / float(_frame_rate(stream))
    return True


def _visible_size(container: InputContainer, stream: VideoStream) -> tuple[int, int] | None:
    """(width, height) of the picture inside the coded one, where our writer padded it to even sides."""
    found = re.fullmatch(rf"{VISIBLE_SIZE_KEY}(\d+)x(\d+)", container.metadata.get("keywords", ""))
    if not found:
        return None
    width, height = int(found[1]), int(found[2])
    padded = (width + width % 2, height + height % 2)
    # Another program may have kept the keyword and changed the picture.
    return (width, height) if padded == (stream.width, stream.height) else None


def _frame_rate(stream: VideoStream) -> Fraction:
    return stream.average_rate or stream.guessed_rate or Fraction(24)


def _read_comment(container: InputContainer) -> str:
    for name in ("comment", "COMMENT"):
        if name in container.metadata:
            return container.metadata[name]
    return ""


def _square_pixel_size(stream: VideoStream, width: int, height: int) -> tuple[int, int]:
    """(width, height) with square pixels: the width follows the sample aspect ratio."""
    aspect = stream.sample_aspect_ratio
    return (max(1, round(width * aspect)), height) if aspect else (width, height)


def _display_matrix(frame: av.VideoFrame) -> DisplayMatrix:
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return 1, 0, 0, 1
    values = np.frombuffer(bytes(data), dtype=np.int32)
    return int(values[0]), int(values[1]), int(values[3]), int(values[4])


def _is_rotated(matrix: DisplayMatrix) -> bool:
    return abs(matrix[1]) > abs(matrix[0])


def _to_upright_rgb(
    frame: av.VideoFrame,
    matrix: DisplayMatrix,
    native_size: tuple[int, int],
    visible_size: tuple[int, int] | None,
    size: tuple[int, int] | None,
) -> UInt8[np.ndarray, "h w 3"]:
    """The frame as it is meant to be seen: cropped, scaled, turned and mirrored in quarter turns."""
    a, b, c, d = matrix
    turned = _is_rotated(matrix)
    scaled = native_size
    if size is not None and visible_size is None:
        scaled = (size[1], size[0]) if turned else size
    image = colour.frame_to_rgb(frame, scaled)
    if visible_size is not None:
        image = image[: visible_size[1], : visible_size[0]]
    if turned:
        image = image.transpose(1, 0, 2)
        down, right = b, c
    else:
        down, right = d, a
    image = image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
    if size is not None and image.shape[:2] != (size[1], size[0]):
        image = resize(image, size)
    return np.ascontiguousarray(image)
