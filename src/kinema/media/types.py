"""Types of the media layer: a frame, a decoded video, and the limits of reading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """A frame of a video and its time."""

    image: UInt8[np.ndarray, "h w 3"]
    """RGB, upright, with square pixels."""
    time: float
    """Seconds from the first frame of the video."""
    duration: float
    """Seconds for which the frame is shown, as far as the file declares it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedVideo:
    """A video in memory. A still image is one frame of one second."""

    frames: UInt8[np.ndarray, "f h w 3"]
    times: Float64[np.ndarray, " f"]
    """Seconds from the first frame, so `times[0]` is 0. Not evenly spaced if the frame rate varies."""
    duration: float
    """Seconds from the first frame to the end of the last one."""
    fps: float
    """Nominal frames per second: as the file declares, or frames divided by `duration`."""
    source: str
    """The path it was read from."""
    complete: bool
    """Whether the file was read to its end; False if it is truncated or damaged."""
    comment: str = ""
    """The text that a writer stored in the file (`open_writer(..., comment=...)`)."""


@dataclass(frozen=True, kw_only=True)
class ReadResult:
    """The return value of the generator `frames`."""

    num_frames: int
    """Number of frames that were read."""
    complete: bool
    """False if the file is truncated or damaged."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of reading, so that a small malicious file can't fill the memory."""

    max_pixels: int = 8192 * 8192
    """Maximum number of pixels of a frame; a larger frame is a `UserError` before it is decoded."""
    max_frames: int | None = None
    """Reading stops after this many frames, without an error."""
    max_bytes: int = 8 << 30
    """Maximum number of bytes that `read_video` returns; more is a `UserError`."""

    def __post_init__(self) -> None:
        if self.max_pixels < 1 or self.max_bytes < 1 or (self.max_frames is not None and self.max_frames < 1):
            raise ValueError("limits are at least 1")
