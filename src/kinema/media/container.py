"""Reading video containers (MP4, WebM, AVI, MOV, ...) with PyAV."""

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
"""The demuxers that FFmpeg may use. Playlists and manifests (hls, dash, concat) are excluded because they
read other files or addresses, and text art (tty) because it reads any text file as a video."""


DisplayMatrix = tuple[int, int, int, int]
"""a, b, c, d of a display matrix: x' = a·x + c·y, y' = b·x + d·y, y downwards, up to scale."""


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """Metadata of a video stream; None where the file does not declare it."""

    width: int
    height: int
    """Size of the frames that are read: upright, with square pixels."""
    fps: float | None
    num_frames: int | None
    duration: float | None
    codec: str
    comment: str


@contextlib.contextmanager
def open_container(path: Path, limits: Limits) -> Generator[tuple[InputContainer, VideoStream]]:
    """The file and its first video stream that is not a cover image.

    Raises:
        UserError: the file is not a video, has no video stream, or its frames exceed the limits.
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
            f"{path} is not a video or image that can be read, or it is truncated before its index; "
            "give MP4, WebM, MOV, MKV, AVI, GIF, WebP, PNG or JPEG"
        ) from None
    with container:
        covers = Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & covers]
        if not streams:
            raise UserError(f"{path} has no video stream; give a file with a video")
        stream = streams[0]
        # A stream with an unknown codec has no context, although PyAV's types say otherwise.
        if getattr(stream, "codec_context", None) is None:
            raise UserError(f"{path} has a codec that can't be decoded; convert it to MP4 or WebM")
        check_pixels(path, stream.width, stream.height, limits)
        stream.thread_type = "AUTO"
        yield container, stream


def probe_stream(path: Path, limits: Limits) -> StreamInfo:
    """Metadata of a video file. Decodes one frame, for its rotation.

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
    """Yield the frames in display order, each once the time of the next one is known.

    Raises:
        UserError: as `open_container`; or no frame can be decoded.
    """
    state = _DemuxState()
    count = 0
    with open_container(path, limits) as (container, stream):
        visible = _visible_size(container, stream)
        rate = _frame_rate(stream)
        tick = stream.time_base or 1 / rate
        origin: Fraction | None = None
        native: tuple[int, int] | None = None
        matrix: DisplayMatrix | None = None
        pending: Frame | None = None
        for decoded in _decode(container, stream, state):
            check_pixels(path, decoded.width, decoded.height, limits)
            # Some streams change their size; the video keeps the first one.
            if native is None:
                native = _square_pixel_size(stream, decoded.width, decoded.height)
                check_pixels(path, *native, limits)
            # Only once: reading the side data of a frame delays its release to the garbage collector.
            matrix = matrix or _display_matrix(decoded)
            stamp = None if decoded.pts is None else decoded.pts * tick
            origin = stamp if origin is None else origin
            time = 0.0 if stamp is None or origin is None else float(stamp - origin)
            if pending is not None:
                if time <= pending.time:  # without a time, or out of order: it follows the previous frame
                    time = pending.time + pending.duration
                yield Frame(image=pending.image, time=pending.time, duration=time - pending.time)
                pending = None
                count += 1
                if count == limits.max_frames:
                    break
            length = decoded.duration * tick if decoded.duration else 1 / rate
            try:
                image = _to_upright_rgb(decoded, matrix, native, visible, size)
            except (av.FFmpegError, OSError, ValueError):
                state.damaged = True
                continue
            pending = Frame(image=image, time=time, duration=float(length))
        if pending is not None:
            yield pending
            count += 1
        if not count:
            raise UserError(f"{path} has no frame that can be decoded; the file is truncated or damaged")
        complete = count == limits.max_frames or _is_complete(path, container, stream, state)
        return ReadResult(num_frames=count, complete=complete and not state.damaged)


@dataclass(kw_only=True)
class _DemuxState:
    """Damage and end time found while demuxing and decoding."""

    damaged: bool = False
    end: float = 0.0
    """The latest end of any packet of any stream, in seconds."""


def _decode(container: InputContainer, stream: VideoStream, state: _DemuxState) -> Iterator[av.VideoFrame]:
    """Every frame that can be decoded; damaged packets are skipped and noted in `state`."""
    default_duration = 1 / _frame_rate(stream)
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, LookupError):
            # PyAV raises LookupError for a packet of a stream that is not in the header.
            state.damaged, packet = True, None
        if packet is None:
            break
        if packet.pts is not None and packet.time_base:
            duration = packet.duration * packet.time_base if packet.duration else default_duration
            state.end = max(state.end, float(packet.pts * packet.time_base + duration))
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
    """Whether the file has all the data that its index or header declares."""
    entries = stream.index_entries
    if container.format.name.startswith("mov") and len(entries):
        last = max(entry.pos + entry.size for entry in (entries[index] for index in range(len(entries))))
        return last <= path.stat().st_size
    if container.duration and container.start_time is not None:
        # FLV counts its duration from zero, everything else from the first frame.
        start = 0 if container.format.name == "flv" else container.start_time
        declared = (start + container.duration) / av.time_base
        return state.end >= declared - 0.6 / float(_frame_rate(stream))
    return True


def _visible_size(container: InputContainer, stream: VideoStream) -> tuple[int, int] | None:
    """(width, height) without the padding to even sides that our writer added; None without padding."""
    found = re.fullmatch(rf"{VISIBLE_SIZE_KEY}(\d+)x(\d+)", container.metadata.get("keywords", ""))
    if not found:
        return None
    width, height = int(found[1]), int(found[2])
    padded = (width + width % 2, height + height % 2)
    # Another program may have kept the keyword and changed the size.
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
    """The frame as displayed: cropped, scaled, rotated by quarter turns and mirrored."""
    a, b, c, d = matrix
    rotated = _is_rotated(matrix)
    scaled = native_size
    if size is not None and visible_size is None:
        scaled = (size[1], size[0]) if rotated else size
    image = colour.frame_to_rgb(frame, scaled)
    if visible_size is not None:
        image = image[: visible_size[1], : visible_size[0]]
    if rotated:
        image = image.transpose(1, 0, 2)
        down, right = b, c
    else:
        down, right = d, a
    image = image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
    if size is not None and image.shape[:2] != (size[1], size[0]):
        image = resize(image, size)
    return np.ascontiguousarray(image)
