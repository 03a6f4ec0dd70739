"""What the media layer hands over: one frame, a whole film, and the limits that reading keeps to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture of a film and when it is shown."""

    image: UInt8[np.ndarray, "h w 3"]
    """Red, green, blue, 0..255, upright, with square pixels."""
    time: float
    """Seconds from the first frame of the film to this one."""
    duration: float
    """Seconds this frame stays on screen, as far as the file says."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedVideo:
    """A film in memory. A still picture is one frame that lasts one second."""

    frames: UInt8[np.ndarray, "f h w 3"]
    times: Float64[np.ndarray, " f"]
    """Seconds from the first frame, so `times[0]` is 0. Not evenly spaced when the frame rate varies."""
    duration: float
    """Seconds from the first frame to the moment the last one leaves the screen."""
    fps: float
    """Nominal frames per second: what the file declares, or frames divided by `duration`."""
    source: str
    """The path it was read from."""
    complete: bool
    """False when the file was cut off or damaged: `max_frames` is what could be read."""
    comment: str = ""
    """The text a writer stored in the file (`writer(..., comment=...)`)."""


@dataclass(frozen=True, kw_only=True)
class ReadResult:
    """How reading came to an end; the value that the generator `num_frames` returns."""

    num_frames: int
    """How many frames it yielded."""
    complete: bool
    """False when the file was cut off or damaged."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What reading refuses, so that a small hostile file can't fill the memory."""

    max_pixels: int = 8192 * 8192
    """Most pixels in one frame; a larger one is a `UserError`, before it is decoded."""
    max_frames: int | None = None
    """Read at most this many frames and stop there, without an error."""
    max_bytes: int = 8 << 30
    """Most bytes that `read_video` gathers; more is a `UserError`. Streaming does not need it."""

    def __post_init__(self) -> None:
        if self.max_pixels < 1 or self.max_bytes < 1 or (self.max_frames is not None and self.max_frames < 1):
            raise ValueError("limits are at least 1")
