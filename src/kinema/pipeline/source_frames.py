"""Reads source videos at the frame rate and size of the result."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from kinema.errors import UserError
from kinema.pipeline.images import resize_and_crop
from kinema.pipeline.request import VideoPath

MAX_SOURCE_BYTES = 4 << 30
"""Size of the frames of a source video."""


def read_source_frames(path: VideoPath, fps: float) -> UInt8[np.ndarray, "f h w 3"]:
    """A video's frames resampled to `fps`: for each time the frame that is on screen then.

    Raises:
        UserError: the file can't be read, or its frames take too much memory.
    """
    from kinema.media.probe import probe
    from kinema.media.read import read_video
    from kinema.media.types import Limits

    info = probe(path)
    _check_source_size(path, (info.duration or 0) * fps, info.width * info.height * 3)
    video = read_video(path, limits=Limits(max_bytes=MAX_SOURCE_BYTES))
    _check_source_size(path, video.duration * fps, video.frames[0].nbytes)
    count = max(1, round(video.duration * fps))
    if count == len(video.frames):
        return video.frames
    # Slightly later than the exact time: time stamps in files are rounded.
    times = (np.arange(count) + 1e-3) / fps
    index = np.searchsorted(video.times, times, side="right") - 1
    return video.frames[np.clip(index, 0, len(video.frames) - 1)]


def _check_source_size(path: VideoPath, num_frames: float, frame_bytes: int) -> None:
    """Refuse a source whose frames do not fit: three frames with hours between them are a small file."""
    if not num_frames * frame_bytes <= MAX_SOURCE_BYTES:
        raise UserError(
            f"{path} has {num_frames:.0f} frames at the frame rate of the result, more than the "
            f"{MAX_SOURCE_BYTES >> 30} GiB allowed; cut a shorter or smaller part of it"
        )


def resize_frames(
    frames: UInt8[np.ndarray, "f h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "f h2 w2 3"]:
    """Frames of another width and height, cropped to its aspect."""
    if (frames.shape[2], frames.shape[1]) == size:
        return frames
    return np.stack([resize_and_crop(frame, size) for frame in frames])
